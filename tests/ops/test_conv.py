"""Every implementation of convolution equals XLA's convolution in value and gradient."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import conv as conv_ops
from medjax.ops.conv import conv

rng = np.random.default_rng(0)


def arrays(shape, kernel, channels, features):
    x = rng.normal(size=(2, *shape, channels)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.normal(size=(*kernel, channels, features)).astype(np.float32))


def close(got, want, digits=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(
        np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=0, atol=digits * max(float(jnp.abs(b).max()), 1)),
        got, want)


def value_and_gradients(x, kernel, *options):
    """Value and gradients of our and of XLA's convolution."""
    native = functools.partial(conv_ops._native, stride=options[0], padding=options[1], dilation=options[2])

    @jax.jit  # one compilation per example
    def run(x, kernel):
        out = []
        for function in (lambda x, k: conv(x, k, *options), native):
            value, back = jax.vjp(function, x, kernel)
            out.append((value, back(jnp.asarray(np.random.default_rng(1).normal(size=value.shape), value.dtype))))
        return out
    return run(x, kernel)


@pytest.mark.parametrize('min_products', [0, conv_ops.MIN_PRODUCTS])
@hypothesis.given(data=st.data())
@hypothesis.settings(deadline=None, max_examples=8, derandomize=True,
                     suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_equal_to_the_native_convolution(monkeypatch, min_products, data):
    monkeypatch.setattr(conv_ops, 'MIN_PRODUCTS', min_products)
    monkeypatch.setattr(conv_ops, 'MAX_NARROW', 0)
    dims = 3
    draw = lambda low, high: tuple(data.draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims)))
    shape, kernel, stride, dilation = draw(5, 9), draw(1, 3), draw(1, 3), draw(1, 2)
    padding = tuple(zip(draw(0, 2), draw(0, 2)))
    x, k = arrays(shape, kernel, *draw(1, 4)[:1], data.draw(st.integers(1, 4)))
    close(*value_and_gradients(x, k, stride, padding, dilation))


@pytest.mark.parametrize('tile', [1, 4000, 1 << 30])
@pytest.mark.parametrize('stride', [(1, 1, 1), (2, 2, 2), (1, 2, 1), (2, 1, 2)])
def test_tiles_of_any_size(tile, stride, monkeypatch):
    monkeypatch.setattr(conv_ops, 'TILE_BYTES', tile)
    monkeypatch.setattr(conv_ops, 'MIN_PRODUCTS', 0)
    monkeypatch.setattr(conv_ops, 'MAX_NARROW', 0)
    x, k = arrays((6, 4, 10), (3,) * 3, 3, 5)
    close(*value_and_gradients(x, k, stride, ((1, 1),) * 3, (1,) * 3))


def test_narrow_dtypes_use_the_native_convolution():
    x, k = (a.astype(jnp.bfloat16) for a in arrays((6, 6, 6), (3, 3, 3), 3, 4))
    got, want = value_and_gradients(x, k, (1,) * 3, ((1, 1),) * 3, (1,) * 3)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(np.float32), b.astype(np.float32)), got, want)


@pytest.mark.parametrize('platform, native', [('cpu', False), ('tpu', True), ('cuda', True)])
def test_accelerators_use_the_native_convolution(platform, native):
    x, k = arrays((6, 6, 6), (3, 3, 3), 3, 4)
    gradient = jax.jit(jax.grad(lambda x, k: (conv(x, k, padding=((1, 1),) * 3) ** 2).sum(), (0, 1)))
    text = gradient.trace(x, k).lower(lowering_platforms=(platform,)).as_text()
    assert ('[b, 0, 1, 2, f]' in text) == native
    assert not native or text.count('stablehlo.convolution') == 3


def test_second_derivatives():
    x, k = arrays((5, 6, 4), (3, 3, 3), 2, 3)
    options = dict(stride=(1,) * 3, padding=((1, 1),) * 3, dilation=(1,) * 3)

    def penalty(convolve, k):
        return (jax.grad(lambda x: jnp.tanh(convolve(x, k)).sum())(x) ** 2).sum()
    got = jax.grad(functools.partial(penalty, lambda x, k: conv(x, k, **options)))(k)
    close(got, jax.grad(functools.partial(penalty, lambda x, k: conv_ops._native(x, k, **options)))(k))


def test_vmap_over_kernels():
    x, k = arrays((5, 6, 4), (3, 3, 3), 2, 3)
    many = jnp.stack([k, 2 * k])
    close(jax.vmap(lambda k: conv(x, k))(many), jnp.stack([conv(x, k), conv(x, 2 * k)]))
