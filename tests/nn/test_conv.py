"""Convolution layers and norms, compared with flax and lax and by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import InputError
from medjax.nn.conv import Block, Conv, Norm, Patches, TransposedConv, check_dims

KEY = jax.random.key(0)


def image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize('space, stride', [((5, 4), (2, 2)), ((3, 5), (4, 1)), ((4, 3, 2), (2, 2, 2)),
                                           ((3, 2, 4), (2, 2, 1)), ((2, 3, 2), (1, 3, 2))])
def test_transposed_conv_equals_flax_and_lax(space, stride):
    x = image(2, *space, 3)
    ours, theirs = TransposedConv(5, stride), nn.ConvTranspose(5, stride, stride, padding='VALID')
    weights = ours.init(KEY, x)['params'] | {'bias': image(5)}
    seed, dims = image(2, *(n * s for n, s in zip(space, stride)), 5), 'DHW'[3 - len(space):]

    def flax(weights, x):
        # flax correlates the dilated input with the kernel: its kernel is ours, flipped.
        return theirs.apply({'params': weights | {'kernel': jnp.flip(weights['kernel'], range(len(space)))}}, x)

    def lax(weights, x):
        # The transpose of a convolution from the output to the input channels.
        kernel = jnp.swapaxes(weights['kernel'], -1, -2)
        layout = (f'N{dims}C', f'{dims}IO', f'N{dims}C')
        return jax.lax.conv_transpose(x, kernel, stride, 'VALID', dimension_numbers=layout,
                                      transpose_kernel=True) + weights['bias']

    def value_and_gradients(function):
        out, back = jax.vjp(function, weights, x)
        return out, back(seed)
    got, *want = (jax.jit(value_and_gradients, static_argnums=0)(function) for function in (
        lambda weights, x: ours.apply({'params': weights}, x), flax, lax))
    for other in want:
        jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5, rtol=1e-5), got, other)


def test_instance_norm_by_hand():
    # The first channel, 1, 2, 3, 6, has mean 3 and variance 3.5; the second is constant.
    x = jnp.array([[[1.0, 7.0], [2.0, 7.0]], [[3.0, 7.0], [6.0, 7.0]]])[None]
    got = Norm('instance').apply({'params': {'scale': jnp.array([2.0, 1.0]), 'bias': jnp.array([0.5, -1.0])}}, x, True)
    want = 2 * (np.array([[1.0, 2.0], [3.0, 6.0]]) - 3) / np.sqrt(3.5 + 1e-5) + 0.5
    np.testing.assert_allclose(got[0, ..., 0], want, rtol=1e-6)
    np.testing.assert_array_equal(got[0, ..., 1], -np.ones((2, 2)))


def test_instance_norm_is_precise_far_from_zero():
    x = image(2, 8, 8, 8, 3)
    module = Norm('instance')
    near, far = (module.init_with_output(KEY, x + offset, True)[0] for offset in (0.0, 1000.0))
    np.testing.assert_allclose(far, near, atol=1e-3)
    np.testing.assert_allclose(near.mean((1, 2, 3)), 0, atol=1e-5)
    np.testing.assert_allclose(near.std((1, 2, 3)), 1, atol=1e-4)


def test_instance_norm_of_bfloat16_has_float32_statistics():
    x = (image(1, 16, 16, 2) + 8).astype(jnp.bfloat16)
    got, variables = Norm('instance', dtype='bfloat16').init_with_output(KEY, x, True)
    assert got.dtype == jnp.bfloat16 and variables['params']['scale'].dtype == jnp.float32
    want = Norm('instance').apply(variables, x.astype(jnp.float32), True)
    np.testing.assert_array_equal(got, want.astype(jnp.bfloat16))


def test_batch_norm_uses_running_averages_in_evaluation():
    module = Norm('batch')
    x = 3 * image(4, 6, 6, 2) + 5
    variables = module.init(KEY, x, True)
    trained, new = module.apply(variables, x, True, mutable=['batch_stats'])
    np.testing.assert_allclose(trained.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(new['batch_stats']['mean'], 0.1 * x.mean((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(new['batch_stats']['var'], 0.9 + 0.1 * x.var((0, 1, 2)), rtol=1e-4)
    np.testing.assert_allclose(module.apply(variables, x, False), x / np.sqrt(1 + 1e-5), rtol=1e-5)


@pytest.mark.parametrize('train', [True, False])
def test_batch_norm_equals_flax(train):
    x, ours, theirs = 3 * image(4, 6, 5, 2) + 5, Norm('batch'), nn.BatchNorm(momentum=0.9)
    variables = ours.init(KEY, x, True)
    got, want = (module.apply(variables, x, mutable=['batch_stats'], **options) for module, options in (
        (ours, dict(train=train)), (theirs, dict(use_running_average=not train))))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), got, want)


def test_a_strided_block_is_padded_symmetrically():
    """A window of 3 around every second voxel, as PyTorch pads."""
    block = Block(1, (3,), (2,), 'none', 'none')
    weights = {'conv': {'kernel': jnp.array([1.0, 10.0, 100.0])[:, None, None]}, 'bias': jnp.zeros(1)}
    got = block.apply({'params': weights}, jnp.array([1.0, 2.0, 3.0, 4.0])[None, :, None], False)
    np.testing.assert_allclose(got[0, :, 0], [10 * 1 + 100 * 2, 2 + 10 * 3 + 100 * 4])


@pytest.mark.parametrize('kind, names', [('none', {'conv', 'bias'}), ('instance', {'conv', 'norm'}),
                                         ('batch', {'conv', 'norm'})])
def test_a_block_has_a_bias_only_without_norm(kind, names):
    params = Block(4, (3, 3), None, kind).init(KEY, image(1, 4, 4, 2), True)['params']
    assert set(params) == names and set(params['conv']) == {'kernel'}


@pytest.mark.parametrize('dims, pad', [(2, True), (2, False), (3, True)])
def test_a_depthwise_convolution_processes_channels_separately(dims, pad):
    x, kernel = image(2, 6, 5, 4, 3)[:, :, :, 0] if dims == 2 else image(2, 6, 5, 4, 3), (3,) * dims
    depthwise, single = Conv(3, kernel, groups=3, pad=pad), Conv(1, kernel, pad=pad)
    weights = image(*kernel, 1, 3)
    want = [single.apply({'params': {'kernel': weights[..., c:c + 1]}}, x[..., c:c + 1]) for c in range(3)]
    got = depthwise.apply({'params': {'kernel': weights}}, x)
    assert got.shape[1:3] == (x.shape[1:3] if pad else (4, 3))
    np.testing.assert_allclose(got, jnp.concatenate(want, -1), atol=1e-5)


def test_an_unpadded_convolution_by_hand():
    weights = {'kernel': jnp.array([1.0, 10.0, 100.0])[:, None, None], 'bias': jnp.array([0.5])}
    x = jnp.array([1.0, 2.0, 3.0, 4.0])[None, :, None]
    got = Conv(1, (3,), bias=True, pad=False).apply({'params': weights}, x)
    np.testing.assert_allclose(got[0, :, 0], [321.5, 432.5])


@pytest.mark.parametrize('space, size', [((6, 9), (2, 3)), ((7, 5), (2, 4)), ((4, 6, 5), (2, 3, 2))])
def test_patches_equal_a_convolution_with_stride(space, size):
    x, patches = image(2, *space, 3), Patches(4, size)
    variables = {'params': patches.init(KEY, x)['params'] | {'bias': image(4)}}
    want = Conv(4, size, size, bias=True, pad=False).apply(variables, x)
    got = patches.apply(variables, x)
    assert got.shape == (2, *(n // s for n, s in zip(space, size)), 4)
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_invalid_image_shapes_raise():
    with pytest.raises(InputError, match=r'config\.model\.dims: 3, but images have 2 spatial dimensions'):
        check_dims(image(1, 4, 4, 1), 3)
    with pytest.raises(InputError, match=r'config\.data\.size: \(4, 3\); expected at least 4 along each axis'):
        check_dims(image(1, 4, 3, 1), 2, 4)


@pytest.mark.parametrize('module', [
    Block(2, (3, 3), None, 'none', 'none', 'bfloat16'), TransposedConv(2, (1, 1), 'bfloat16'),
    Patches(2, (1, 1), dtype='bfloat16')])
def test_the_gradient_of_a_bias_is_summed_in_float32(module):
    x = jnp.ones((1, 64, 64, 1))
    run = (lambda v: module.apply(v, x, True)) if isinstance(module, Block) else (lambda v: module.apply(v, x))
    variables = module.init(KEY, x, True) if isinstance(module, Block) else module.init(KEY, x)
    gradient = jax.grad(lambda v: run(v).astype(jnp.float32).sum())(variables)['params']
    np.testing.assert_array_equal(gradient['bias'], [4096, 4096])  # in bfloat16, 256 + 1 = 256
