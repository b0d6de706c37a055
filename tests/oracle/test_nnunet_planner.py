"""Spacing, patch, batch, strides and kernels of a dozen data sets: equal to those of nnunetv2's planners."""

import json
import os

import numpy as np
import pytest

pytest.importorskip('nnunetv2')

from medjax.plan.fingerprint import Fingerprint
from medjax.plan.memory import FeatureMaps, model_fields
from medjax.plan.rules import order_of_axes, plans, target_spacing

# Spacings and shapes (z, y, x) of some cases, channels and labels.
DATA = {
    'isotropic CT': ([(1.5, 0.8, 0.8)] * 5 + [(1.0, 0.9, 0.9)] * 4, [(320, 512, 512)] * 9, 1, 3),
    'isotropic MR': ([(1.0, 1.0, 1.0)] * 8, [(155, 170, 140)] * 8, 4, 4),
    'anisotropic MR': ([(3.6, 0.6, 0.6)] * 6 + [(3.0, 0.62, 0.62)] * 6, [(20, 320, 320)] * 12, 2, 3),
    'heart': ([(10.0, 1.5, 1.5)] * 9 + [(5.0, 1.4, 1.4)] * 3, [(9, 237, 208)] * 12, 1, 4),
    'hippocampus': ([(1.0, 1.0, 1.0)] * 20, [(36, 50, 35)] * 20, 1, 3),
    'tiny 2D': ([(999.0, 1.0, 1.0)] * 6, [(1, 48, 40)] * 6, 3, 2),
    '2D': ([(999.0, 1.0, 1.0)] * 40, [(1, 1024, 768)] * 40, 3, 2),
    'huge': ([(0.4, 0.3, 0.3)] * 7, [(1200, 1024, 1024)] * 7, 1, 20),
    'one case': ([(2.5, 0.7, 0.7)], [(60, 300, 280)], 1, 2),
    'transposed': ([(0.5, 0.5, 4.0)] * 5, [(400, 380, 24)] * 5, 1, 2),
    'mixed': ([(5.0, 0.7, 0.7), (1.25, 0.8, 0.8), (2.5, 0.9, 0.9), (3.0, 0.75, 0.75)],
              [(45, 512, 512), (200, 512, 512), (101, 480, 500), (77, 512, 430)], 2, 5),
    'flat': ([(2.0, 2.0, 2.0)] * 5, [(12, 130, 131)] * 5, 1, 2),
    'many labels': ([(1.5, 1.5, 1.5)] * 30, [(250, 240, 243)] * 30, 1, 118),
}
PLANNERS = {'plain': ('ExperimentPlanner', 8), 'resenc_m': ('nnUNetPlannerResEncM', 8),
            'resenc_l': ('nnUNetPlannerResEncL', 24)}


def expected(name, preset, gigabytes, tmp_path, monkeypatch):
    """The plans of nnunetv2's planner for a data set."""
    from nnunetv2.experiment_planning.experiment_planners import default_experiment_planner
    from nnunetv2.experiment_planning.experiment_planners.residual_unets import residual_encoder_unet_planners
    spacings, shapes, channels, labels = DATA[name]
    raw, done = tmp_path / 'raw' / 'Dataset001_x', tmp_path / 'pre' / 'Dataset001_x'
    for folder in (raw / 'imagesTr', raw / 'labelsTr', done):
        folder.mkdir(parents=True)
    (raw / 'dataset.json').write_text(json.dumps({
        'channel_names': {str(n): f'MR{n}' for n in range(channels)}, 'numTraining': len(spacings),
        'labels': {'background': 0, **{f'l{n}': n for n in range(1, labels)}}, 'file_ending': '.nii.gz'}))
    (raw / 'imagesTr' / 'a_0000.nii.gz').write_bytes(b'')
    (done / 'dataset_fingerprint.json').write_text(json.dumps({
        'spacings': spacings, 'shapes_after_crop': shapes, 'median_relative_size_after_cropping': 1.0,
        'foreground_intensity_properties_per_channel': {}}))
    for module in (default_experiment_planner, residual_encoder_unet_planners):
        for key, value in (('nnUNet_raw', tmp_path / 'raw'), ('nnUNet_preprocessed', tmp_path / 'pre')):
            if hasattr(module, key):
                monkeypatch.setattr(module, key, str(value))
    monkeypatch.setattr(default_experiment_planner, 'maybe_convert_to_dataset_name', lambda name: 'Dataset001_x')
    planner, _ = PLANNERS[preset]
    make = getattr(residual_encoder_unet_planners if preset != 'plain' else default_experiment_planner, planner)
    planner = make('Dataset001_x', gpu_memory_target_in_gb=gigabytes)
    monkeypatch.setattr(planner, 'determine_reader_writer', lambda: type('SimpleITKIO', (), {}))
    return planner.plan_experiment()


@pytest.mark.parametrize('name', DATA)
@pytest.mark.parametrize('preset', PLANNERS)
def test_plans_equal_those_of_nnunetv2(name, preset, tmp_path, monkeypatch, capsys):
    os.environ.setdefault('nnUNet_n_proc_DA', '1')
    gigabytes = PLANNERS[preset][1]
    with np.errstate(divide='ignore'):
        theirs = expected(name, preset, gigabytes, tmp_path, monkeypatch)
    spacings, shapes, channels, labels = DATA[name]
    found = Fingerprint(tuple(spacings), tuple(shapes), tuple(f'MR{n}' for n in range(channels)), labels)
    ours = {plan.name: plan for plan in plans(found, FeatureMaps(gigabytes, preset))}
    assert list(order_of_axes(target_spacing(found))) == theirs['transpose_forward']
    configurations = {key: value for key, value in theirs['configurations'].items() if 'spacing' in value}
    assert set(ours) == set(configurations)
    for key, one in configurations.items():
        plan, kwargs = ours[key], one['architecture']['arch_kwargs']
        assert plan.spacing == pytest.approx(one['spacing']), key
        assert plan.levels.patch == tuple(one['patch_size']), key
        assert plan.levels.strides == tuple(map(tuple, kwargs['strides'])), key
        assert plan.levels.kernels == tuple(map(tuple, kwargs['kernel_sizes'])), key
        assert plan.batch == one['batch_size'], key
        fields = model_fields(plan.levels, preset)
        assert fields['features'] == tuple(kwargs['features_per_stage'])
        blocks = kwargs['n_conv_per_stage'] if preset == 'plain' else kwargs['n_blocks_per_stage']
        assert fields['convs'] == tuple(blocks)
        assert fields['decoder_convs'] == tuple(kwargs['n_conv_per_stage_decoder'])
