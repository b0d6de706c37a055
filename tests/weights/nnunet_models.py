"""Folders of tiny models of nnU-Net with random weights, converted, so that no PyTorch is needed."""

import json
import pathlib
from typing import Any

import numpy as np

from medjax.weights import nnunet

FEATURES, KERNELS, STRIDES = (4, 6), ((1, 3, 3), (3, 3, 3)), ((1, 1, 1), (1, 2, 2))
PATCH = (4, 8, 8)


def arrays(classes: int = 3, channels: int = 2) -> dict[str, np.ndarray]:
    """Weights of a `PlainConvUNet` of two levels with one convolution each, by PyTorch's names and axes."""
    rng, out = np.random.default_rng(0), {}

    def block(name: str, inner: int, features: int, kernel: tuple[int, ...]) -> None:
        out[f'{name}.conv.weight'] = rng.normal(size=(features, inner, *kernel))
        out[f'{name}.conv.bias'] = rng.normal(size=features)
        out[f'{name}.norm.weight'], out[f'{name}.norm.bias'] = np.ones(features), rng.normal(size=features)

    block('encoder.stages.0.0.convs.0', channels, FEATURES[0], KERNELS[0])
    block('encoder.stages.1.0.convs.0', FEATURES[0], FEATURES[1], KERNELS[1])
    out['decoder.transpconvs.0.weight'] = rng.normal(size=(FEATURES[1], FEATURES[0], *STRIDES[1]))
    out['decoder.transpconvs.0.bias'] = rng.normal(size=FEATURES[0])
    block('decoder.stages.0.convs.0', 2 * FEATURES[0], FEATURES[0], KERNELS[0])
    out['decoder.seg_layers.0.weight'] = rng.normal(size=(classes, FEATURES[0], 1, 1, 1))
    out['decoder.seg_layers.0.bias'] = rng.normal(size=classes)
    return {name: value.astype(np.float32) for name, value in out.items()}


def plans() -> dict[str, Any]:
    """A plans file of one configuration."""
    statistics = {'mean': 50.0, 'std': 20.0, 'percentile_00_5': 0.0, 'percentile_99_5': 300.0}
    return {
        'image_reader_writer': 'SimpleITKIO', 'transpose_forward': [0, 1, 2], 'transpose_backward': [0, 1, 2],
        'foreground_intensity_properties_per_channel': {'0': statistics, '1': statistics},
        'configurations': {'3d_fullres': {
            'patch_size': list(PATCH), 'spacing': [3.0, 1.5, 1.0], 'preprocessor_name': 'DefaultPreprocessor',
            'normalization_schemes': ['CTNormalization', 'ZScoreNormalization'], 'use_mask_for_norm': [False, True],
            'architecture': {'network_class_name': 'dynamic_network_architectures.architectures.unet.PlainConvUNet',
                             'arch_kwargs': {
                                 'n_stages': 2, 'features_per_stage': FEATURES, 'kernel_sizes': KERNELS,
                                 'strides': STRIDES, 'n_conv_per_stage': [1, 1], 'n_conv_per_stage_decoder': [1],
                                 'conv_op': 'torch.nn.Conv3d', 'norm_op': 'torch.nn.modules.InstanceNorm3d',
                                 'dropout_op': None, 'nonlin': 'torch.nn.LeakyReLU'}}}}}


def model(root: pathlib.Path, folds: tuple[int, ...] = (0,)) -> pathlib.Path:
    """Writes a folder of a model."""
    content = json.loads(json.dumps(plans()))
    for number in folds:
        (root / f'fold_{number}').mkdir(parents=True, exist_ok=True)
        path = root / f'fold_{number}' / 'checkpoint_final.npz'
        nnunet.write(path, nnunet.Fold(path, arrays(), '3d_fullres', (0, 1, 2), 10 + number, content))
    (root / 'plans.json').write_text(json.dumps(content))
    (root / 'dataset.json').write_text(json.dumps({
        'channel_names': {'0': 'CT', '1': 'MR'}, 'labels': {'background': 0, 'organ': 1, 'tumour': 2}, 'numTraining': 3,
        'file_ending': '.nii.gz'}))
    return root
