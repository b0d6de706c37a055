"""Eight simulated devices for every test, and the real data sets where they lie beside the checkout."""

import os
import pathlib

import pytest

os.environ['XLA_FLAGS'] = os.environ.get('XLA_FLAGS', '') + ' --xla_force_host_platform_device_count=8'
# Compiling is most of the tests' time, and running what was compiled the least.
os.environ['XLA_FLAGS'] += ' --xla_backend_optimization_level=0'
os.environ.setdefault('JAX_PLATFORMS', 'cpu')

ROOT = pathlib.Path(__file__).resolve().parents[1]
BESIDE = ROOT.parent / 'shared' / 'data'
if 'MEDJAX_DATA_DIR' not in os.environ and BESIDE.is_dir():
    os.environ['MEDJAX_DATA_DIR'] = str(BESIDE)


# Tests that others come near to, and that the suite has no minutes for: `launch/test.sh -m slow` runs them.
SLOW = (
    'core/test_cost.py::test_accumulating_as_proposed_takes_less',
    'data/test_augment.py::test_2d_patches_turn_as_nnunet_turns_them[shape2-180]',
    'data/test_augment.py::test_samples_together_or_one_by_one_are_the_same[recipe0-shape0-1]',
    'data/test_augment.py::test_thin_patches_keep_their_slices',
    'models/test_mil.py::test_maps_of_a_volume_lie_as_the_volume_does',
    'models/test_mil.py::test_maps_of_an_image_of_patches',
    'models/test_unet.py::test_remat_changes_no_value[options1]',
    'models/test_unet.py::test_the_gradient_in_bfloat16_is_that_in_float32[options3]',
    'tasks/test_classify.py::test_networks_learn_which_half_is_bright[section1]',
    'tasks/test_detect.py::test_every_family_learns_squares[retinanet]',
    'test_bad_input.py::test_no_space_left[280000]',
    'test_configs.py::test_the_smoke_run_goes_from_config_to_report[classify_pneumonia_resnet18]',
    'test_configs.py::test_the_smoke_run_goes_from_config_to_report[segment_brain_unet3d]',
    'test_configs.py::test_the_smoke_run_goes_from_config_to_report[segment_tumour_unet3d]',
    'test_configs.py::test_the_smoke_run_goes_from_config_to_report[treat_ihdp_tarnet]',
    'test_devices.py::test_eight_devices_train_as_one[pmap-False-True-]',
    'test_devices.py::test_eight_devices_train_as_one[space-True-True-]',
    'test_kill.py::test_killed_in_a_save',
    'test_slices.py::test_slices_of_real_volumes_go_from_pictures_to_report',
    'weights/test_run.py::test_the_first_run_is_not_needed_any_more',
)
LONG = ('tests', 'tests/tasks', 'tests/weights', 'tests/models', 'tests/data')  # folders


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """What takes longest first, that no core waits for another's at the end."""
    for item in items:
        if item.nodeid.removeprefix('tests/') in SLOW:
            item.add_marker(pytest.mark.slow)
    order = {ROOT / folder: number for number, folder in enumerate(LONG)}
    items.sort(key=lambda item: order.get(item.path.parent, len(LONG)))
