"""nnU-Net's networks with random weights: logits equal to those of dynamic-network-architectures."""

import numpy as np
import pytest

torch = pytest.importorskip('torch')
architectures = pytest.importorskip('dynamic_network_architectures.architectures.unet')

import jax  # noqa: E402
from flax.traverse_util import flatten_dict, unflatten_dict  # noqa: E402

from medjax.models.nnunet import Model  # noqa: E402
from medjax.weights import nnunet  # noqa: E402

STAGES = {
    2: dict(kernel_sizes=[[3, 3]] * 4, strides=[[1, 1], [2, 2], [2, 1], [2, 2]], patch=(32, 24)),
    3: dict(kernel_sizes=[[1, 3, 3], [1, 3, 3], [3, 3, 3], [3, 3, 3]],
            strides=[[1, 1, 1], [1, 2, 2], [2, 2, 2], [1, 2, 2]], patch=(6, 16, 24)),
}


def torch_network(name, dims, classes=3, channels=2):
    """nnU-Net's network of two to three convolutions a level, with random norms, and its configuration."""
    stages = STAGES[dims]
    blocks = {'PlainConvUNet': 'n_conv_per_stage', 'ResidualEncoderUNet': 'n_blocks_per_stage'}[name]
    kwargs = {'n_stages': 4, 'features_per_stage': [4, 8, 12, 12], 'kernel_sizes': stages['kernel_sizes'],
              'strides': stages['strides'], blocks: [1, 3, 2, 2], 'n_conv_per_stage_decoder': [2, 1, 2],
              'conv_bias': True, 'norm_op_kwargs': {'eps': 1e-5, 'affine': True}, 'dropout_op_kwargs': None,
              'nonlin_kwargs': {'inplace': True}}
    ops = {'conv_op': getattr(torch.nn, f'Conv{dims}d'), 'norm_op': getattr(torch.nn, f'InstanceNorm{dims}d'),
           'dropout_op': None, 'nonlin': torch.nn.LeakyReLU}
    torch.manual_seed(0)
    net = getattr(architectures, name)(input_channels=channels, num_classes=classes, deep_supervision=True,
                                       **kwargs, **ops)
    for tensor in net.parameters():
        if tensor.ndim == 1:
            torch.nn.init.normal_(tensor, 1.0, 0.3)
    names = {key: None if op is None else f'{op.__module__}.{op.__name__}' for key, op in ops.items()}
    return net.eval(), {'patch_size': list(stages['patch']), 'architecture': {
        'network_class_name': f'dynamic_network_architectures.architectures.unet.{name}',
        '_kw_requires_import': list(ops), 'arch_kwargs': kwargs | names}}


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('name', ['PlainConvUNet', 'ResidualEncoderUNet'])
def test_logits_of_all_heads_equal_those_of_dynamic_network_architectures(name, dims, tmp_path):
    net, configured = torch_network(name, dims)
    path = tmp_path / 'checkpoint_final.pth'
    torch.save({'network_weights': net.state_dict(), 'current_epoch': 3,
                'init_args': {'configuration': 'x', 'plans': {}, 'device': torch.device('cuda')},
                'optimizer_state': torch.optim.SGD(net.parameters(), 0.01, momentum=0.9).state_dict(),
                'logging': {'losses': [np.float32(0.5), np.float64(-1.25)]},
                'inference_allowed_mirroring_axes': tuple(range(dims))}, path)
    of = nnunet.fold(path)
    assert of.flips == tuple(range(dims)) and of.epoch == 3
    module = Model(classes=3, **nnunet.network(configured, 'plans.json'))
    image = np.random.default_rng(0).normal(size=(2, 2, *STAGES[dims]['patch'])).astype(np.float32)
    channels_last = np.moveaxis(image, 1, -1)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), channels_last, train=False))
    variables = unflatten_dict(nnunet.convert(of, flatten_dict(shapes, sep='/')), sep='/')
    logits, feats = jax.jit(lambda v, x: module.apply(v, x, train=False))(variables, channels_last)
    with torch.no_grad():
        expected = [out.numpy() for out in net(torch.from_numpy(image))]
    found = [logits, *feats['deep'], feats['coarsest']]
    assert len(found) == len(expected) == 3
    for ours, theirs in zip(found, expected):
        assert np.ptp(theirs) > 0.1
        np.testing.assert_allclose(np.moveaxis(np.asarray(ours), -1, 1), theirs, atol=1e-4)
