"""Every way to convolve gives what XLA's own convolution gives, in value and gradient."""

import functools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import conv as ways
from medjax.ops.conv import conv

rng = np.random.default_rng(0)


def arrays(shape, kernel, channels, features):
    x = rng.normal(size=(2, *shape, channels)).astype(np.float32)
    return jnp.asarray(x), jnp.asarray(rng.normal(size=(*kernel, channels, features)).astype(np.float32))


def close(got, want, digits=1e-5):
    jax.tree.map(lambda a, b: np.testing.assert_allclose(
        np.asarray(a, np.float32), np.asarray(b, np.float32), rtol=0, atol=digits * max(float(jnp.abs(b).max()), 1)),
        got, want)


def both(x, kernel, *way):
    """Value and gradients, ours and XLA's."""
    native = functools.partial(ways._native, stride=way[0], padding=way[1], dilation=way[2])

    @jax.jit  # one program: step by step each example would be dozens of them
    def found(x, kernel):
        out = []
        for function in (lambda x, k: conv(x, k, *way), native):
            value, back = jax.vjp(function, x, kernel)
            out.append((value, back(jnp.asarray(np.random.default_rng(1).normal(size=value.shape), value.dtype))))
        return out
    return found(x, kernel)


@pytest.mark.parametrize('worth', [0, ways.WORTH])
@hypothesis.given(data=st.data())
@hypothesis.settings(deadline=None, max_examples=8, derandomize=True,
                     suppress_health_check=[hypothesis.HealthCheck.function_scoped_fixture])
def test_equal_to_the_native_convolution(monkeypatch, worth, data):
    monkeypatch.setattr(ways, 'WORTH', worth)
    monkeypatch.setattr(ways, 'FEW', 0)
    dims = 3
    draw = lambda low, high: tuple(data.draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims)))
    shape, kernel, stride, dilation = draw(5, 9), draw(1, 3), draw(1, 3), draw(1, 2)
    padding = tuple(zip(draw(0, 2), draw(0, 2)))
    x, k = arrays(shape, kernel, *draw(1, 4)[:1], data.draw(st.integers(1, 4)))
    close(*both(x, k, stride, padding, dilation))


@pytest.mark.parametrize('tile', [1, 4000, 1 << 30])
@pytest.mark.parametrize('stride', [(1, 1, 1), (2, 2, 2), (1, 2, 1), (2, 1, 2)])
def test_tiles_of_any_size(tile, stride, monkeypatch):
    monkeypatch.setattr(ways, 'TILE', tile)
    monkeypatch.setattr(ways, 'WORTH', 0)
    monkeypatch.setattr(ways, 'FEW', 0)
    x, k = arrays((6, 4, 10), (3,) * 3, 3, 5)
    close(*both(x, k, stride, ((1, 1),) * 3, (1,) * 3))


def test_narrow_types_are_left_to_the_backend():
    x, k = (a.astype(jnp.bfloat16) for a in arrays((6, 6, 6), (3, 3, 3), 3, 4))
    got, want = both(x, k, (1,) * 3, ((1, 1),) * 3, (1,) * 3)
    jax.tree.map(lambda a, b: np.testing.assert_array_equal(a.astype(np.float32), b.astype(np.float32)), got, want)


@pytest.mark.parametrize('platform, own', [('cpu', False), ('tpu', True), ('cuda', True)])
def test_other_backends_get_one_convolution(platform, own):
    x, k = arrays((6, 6, 6), (3, 3, 3), 3, 4)
    slope = jax.jit(jax.grad(lambda x, k: (conv(x, k, padding=((1, 1),) * 3) ** 2).sum(), (0, 1)))
    text = slope.trace(x, k).lower(lowering_platforms=(platform,)).as_text()
    assert ('[b, 0, 1, 2, f]' in text) == own
    assert not own or text.count('stablehlo.convolution') == 3


def test_gradients_have_gradients():
    x, k = arrays((5, 6, 4), (3, 3, 3), 2, 3)
    way = dict(stride=(1,) * 3, padding=((1, 1),) * 3, dilation=(1,) * 3)

    def penalty(convolve, k):
        return (jax.grad(lambda x: jnp.tanh(convolve(x, k)).sum())(x) ** 2).sum()
    got = jax.grad(functools.partial(penalty, lambda x, k: conv(x, k, **way)))(k)
    close(got, jax.grad(functools.partial(penalty, lambda x, k: ways._native(x, k, **way)))(k))


def test_over_many_kernels_at_once():
    x, k = arrays((5, 6, 4), (3, 3, 3), 2, 3)
    many = jnp.stack([k, 2 * k])
    close(jax.vmap(lambda k: conv(x, k))(many), jnp.stack([conv(x, k), conv(x, 2 * k)]))
