"""Whole cases segmented by a small trained nnU-Net: as nnunetv2's own predictor segments them."""

import json
import pathlib

import nibabel as nib
import numpy as np
import pytest
from scipy import ndimage

torch = pytest.importorskip('torch')
pytest.importorskip('nnunetv2')

from medjax.convert.__main__ import convert_model  # noqa: E402
from medjax.deploy import nnunet_model  # noqa: E402
from medjax.predict import predict  # noqa: E402
from tests.oracle.test_nnunet_networks import torch_network  # noqa: E402

torch.set_num_threads(1)  # tiny networks: more threads wait for each other
FUNCTION, REGIONS = 'resample_data_or_seg_to_shape', {'background': 0, 'whole': [1, 2], 'core': [2]}
# By name: network, its dimensions, spacing x, y, z of the file, that of the plans in their order of axes, that order,
# schemes, masks, labels, orientation.
CASES = {
    'thick slices': ('PlainConvUNet', 3, (1.0, 1.1, 5.0), (4.0, 1.3, 1.2), [0, 1, 2],
                     ['CTNormalization', 'ZScoreNormalization'], [False, False], None, (1, 1, 1)),
    'transposed': ('ResidualEncoderUNet', 3, (3.0, 1.0, 1.2), (2.2, 1.1, 1.0), [2, 0, 1],
                   ['ZScoreNormalization', 'RescaleTo01Normalization'], [True, False], None, (-1, 1, 1)),
    'slices': ('PlainConvUNet', 2, (0.9, 1.0, 3.0), (1.2, 1.1), [0, 1, 2],
               ['NoNormalization', 'ZScoreNormalization'], [False, True], None, (1, -1, 1)),
    'regions': ('PlainConvUNet', 3, (1.0, 1.0, 1.5), (1.5, 1.2, 1.2), [0, 1, 2],
                ['ZScoreNormalization'] * 2, [True, True], REGIONS, (1, 1, 1)),
}
STATISTICS = {'mean': 0.1, 'std': 0.9, 'percentile_00_5': -1.8, 'percentile_99_5': 1.9, 'median': 0.1, 'min': -3.0,
              'max': 3.0}


def image_of(shape, seed):
    """Two smooth channels that are 0 outside of an ellipsoid, and the classes 0 to 2 by a threshold of each."""
    rng = np.random.default_rng(seed)
    channels = np.stack([ndimage.gaussian_filter(rng.normal(size=shape), (1.5, 2, 2)) for _ in range(2)])
    channels /= channels.std((1, 2, 3), keepdims=True)
    inside = sum(((grid - n / 2 + 1) / (0.42 * n)) ** 2 for grid, n in zip(np.indices(shape), shape)) < 1
    channels = np.where(inside, channels, 0).astype(np.float32)
    return channels, np.where(channels[1] > 0.4, 2, channels[0] > 0.2)


def train(net, dims, patch, regions):
    """Trains a network for a few steps, so that its outputs are those of a trained one."""
    torch.manual_seed(1)
    optimiser = torch.optim.Adam(net.parameters(), 1e-2)
    shape = patch if dims == 3 else (8, *patch)
    images, labels = zip(*(image_of(shape, seed) for seed in range(4)))
    x, y = torch.from_numpy(np.stack(images)), torch.from_numpy(np.stack(labels))
    if dims == 2:
        x, y = x.movedim(1, 2).flatten(0, 1), y.flatten(0, 1)
    for _ in range(150):
        out = net(x)[0]
        if regions:
            target = torch.stack([y > 0, y > 1], 1).float()
            loss = torch.nn.functional.binary_cross_entropy_with_logits(out, target)
        else:
            loss = torch.nn.functional.cross_entropy(out, y)
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()
    return net.eval()


def model_folder(root, case):
    """Writes the folder of a small trained model, as nnU-Net's trainer does."""
    name, dims, _, spacing, transpose, schemes, masks, regions, _ = CASES[case]
    net, configured = torch_network(name, dims, classes=2 if regions else 3)
    train(net.train(), dims, tuple(configured['patch_size']), regions)
    kwargs = {'is_seg': False, 'order': 3, 'order_z': 0, 'force_separate_z': None}
    configured |= {
        'data_identifier': 'x', 'preprocessor_name': 'DefaultPreprocessor', 'batch_size': 2, 'spacing': list(spacing),
        'median_image_size_in_voxels': [20, 20, 20], 'normalization_schemes': schemes, 'use_mask_for_norm': masks,
        'resampling_fn_data': FUNCTION, 'resampling_fn_seg': FUNCTION, 'resampling_fn_probabilities': FUNCTION,
        'resampling_fn_data_kwargs': kwargs, 'resampling_fn_seg_kwargs': {**kwargs, 'is_seg': True, 'order': 1},
        'resampling_fn_probabilities_kwargs': {**kwargs, 'order': 1}, 'batch_dice': False}
    plans = {'dataset_name': 'Dataset999_x', 'plans_name': 'nnUNetPlans', 'image_reader_writer': 'SimpleITKIO',
             'transpose_forward': transpose, 'transpose_backward': np.argsort(transpose).tolist(),
             'original_median_spacing_after_transp': [1, 1, 1], 'original_median_shape_after_transp': [20, 20, 20],
             'configurations': {'3d': configured}, 'label_manager': 'LabelManager',
             'foreground_intensity_properties_per_channel': {'0': STATISTICS, '1': STATISTICS}}
    described = {'channel_names': {'0': 'a', '1': 'b'}, 'labels': regions or {'background': 0, 'organ': 1, 'tumour': 2},
                 'numTraining': 4, 'file_ending': '.nii.gz', **({'regions_class_order': [1, 2]} if regions else {})}
    (root / 'fold_0').mkdir(parents=True)
    (root / 'plans.json').write_text(json.dumps(plans))
    (root / 'dataset.json').write_text(json.dumps(described))
    torch.save({'network_weights': net.state_dict(), 'trainer_name': 'nnUNetTrainer', 'current_epoch': 40,
                'init_args': {'configuration': '3d', 'plans': plans, 'fold': 0, 'dataset_json': described,
                              'device': torch.device('cpu')},
                'inference_allowed_mirroring_axes': tuple(range(dims))}, root / 'fold_0' / 'checkpoint_final.pth')
    return root


def expected_label(folder, files):
    """The labels `[X, Y, Z]` of nnunetv2's predictor."""
    from nnunetv2.imageio.simpleitk_reader_writer import SimpleITKIO
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor
    predictor = nnUNetPredictor(device=torch.device('cpu'), allow_tqdm=False)
    predictor.initialize_from_trained_model_folder(str(folder), ('0',))
    image, properties = SimpleITKIO().read_images(list(map(str, files)))
    return np.asarray(predictor.predict_single_npy_array(image, properties)).transpose(2, 1, 0)


@pytest.mark.parametrize('case', CASES)
def test_labels_of_whole_cases_agree_with_nnunetv2(case, tmp_path):
    _, _, spacing, *_, flips = CASES[case]
    folder = model_folder(tmp_path / 'model', case)
    channels, _ = image_of((17, 40, 36) if case != 'transposed' else (40, 38, 17), 9)
    affine = np.diag([*(s * f for s, f in zip(spacing, flips)), 1.0])
    files = [tmp_path / 'in' / f'c_{number:04d}.nii.gz' for number in range(2)]
    files[0].parent.mkdir()
    for file, channel in zip(files, channels):
        nib.save(nib.Nifti1Image(channel.transpose(2, 1, 0), affine), file)
    expected = expected_label(folder, files)
    predict(folder, [str(tmp_path / 'in')], tmp_path / 'out', lambda _: None, nnunet_model.load(folder))
    written = nib.load(tmp_path / 'out' / 'c.nii.gz')
    label = np.asarray(written.dataobj)
    np.testing.assert_allclose(written.affine, affine)
    assert (np.bincount(expected.ravel(), minlength=3) > 100).all()  # not degenerate
    assert (label == expected).mean() >= 0.999
    for number in (1, 2):
        p, t = label == number, expected == number
        assert 2 * (p & t).sum() / (p.sum() + t.sum()) >= 0.999
    if case == 'regions':
        converted = pathlib.Path(tmp_path / 'converted')
        assert [path.name for path in convert_model(folder, converted)] == ['checkpoint_final.npz']
        predict(converted, [str(files[0])], tmp_path / 'again', lambda _: None, nnunet_model.load(converted))
        np.testing.assert_array_equal(np.asarray(nib.load(tmp_path / 'again' / 'c.nii.gz').dataobj), label)
