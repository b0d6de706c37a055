"""Max pooling equals XLA's pooling in value and gradient."""

import functools
import itertools

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import pool
from medjax.ops.pool import max_pool


def value_and_gradient(x, dy, window, stride, padding):
    """Value and gradient of our and of XLA's pooling."""
    @jax.jit  # one compilation per example
    def run(x):
        out = []
        for function in (functools.partial(max_pool, window=window, stride=stride, padding=padding),
                         functools.partial(pool._native, window=window, stride=stride, padding=padding)):
            value, back = jax.vjp(function, x)
            out.append((value, back(dy(value))[0]))
        return out
    return run(x)


@pytest.mark.parametrize('ties', [False, True])
@hypothesis.given(data=st.data())
@hypothesis.settings(deadline=None, max_examples=12, derandomize=True)
def test_equal_to_the_native_pooling(ties, data):
    dims = data.draw(st.integers(1, 3))
    draw = lambda low, high: tuple(data.draw(st.lists(st.integers(low, high), min_size=dims, max_size=dims)))
    shape, window, stride = draw(4, 9), draw(1, 3), draw(1, 3)
    padding = tuple((data.draw(st.integers(0, w // 2)), data.draw(st.integers(0, w // 2))) for w in window)
    rng = np.random.default_rng(data.draw(st.integers(0, 99)))
    x = rng.integers(0, 3, (2, *shape, 2)) if ties else rng.normal(size=(2, *shape, 2))
    dy = lambda value: jnp.asarray(rng.integers(1, 9, value.shape), value.dtype)
    dtype = data.draw(st.sampled_from(['float32', 'bfloat16']))
    seed = rng.bit_generator.state

    def repeatable_dy(value):
        rng.bit_generator.state = seed
        return dy(value)

    ours, native = value_and_gradient(jnp.asarray(x, dtype), repeatable_dy, window, stride, padding)
    for a, b in zip(ours, native):
        assert a.dtype == b.dtype == dtype
        np.testing.assert_array_equal(np.asarray(a, np.float32), np.asarray(b, np.float32))


def test_values_by_hand():
    x = jnp.asarray([[1.0, 5, 2, 2], [3, 4, 2, 2]])[None, :, :, None]
    value, back = jax.vjp(lambda x: max_pool(x, (2, 2)), x)
    assert value[0, :, :, 0].tolist() == [[5, 2]]
    # Among the four equal values only the first receives the gradient.
    assert back(jnp.full((1, 1, 2, 1), 7.0))[0][0, :, :, 0].tolist() == [[0, 7, 7, 0], [0, 0, 0, 0]]


@pytest.mark.parametrize('place', range(4))
def test_nan_is_propagated(place):
    x = jnp.zeros((1, 2, 2, 1)).at[0, place // 2, place % 2, 0].set(jnp.nan)
    value, back = jax.vjp(jax.jit(lambda x: max_pool(x, (2, 2))), x)
    assert jnp.isnan(value).all()
    assert jnp.isnan(back(jnp.full((1, 1, 1, 1), jnp.nan))[0]).any()


def test_vmap_over_images():
    x = jax.random.normal(jax.random.key(0), (3, 2, 6, 6, 2))
    grad = jax.grad(lambda x: (max_pool(x, (3, 3), (2, 2), ((1, 1), (1, 1))) ** 2).sum())
    np.testing.assert_array_equal(jax.vmap(grad)(x), jnp.stack([grad(one) for one in x]))


@pytest.mark.parametrize('platform, native', [('cpu', False), ('cuda', True), ('tpu', True)])
def test_accelerators_use_the_native_pooling(platform, native):
    step = jax.jit(jax.grad(lambda x: max_pool(x, (2, 2)).sum()))
    text = step.trace(jnp.ones((1, 4, 4, 1))).lower(lowering_platforms=(platform,)).as_text()
    assert ('select_and_scatter' in text) == native


def test_overlapping_windows():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(1, 7, 7, 1)).astype(np.float32)
    grad = jax.grad(lambda x: max_pool(x, (3, 3), (1, 1)).sum())(jnp.asarray(x))
    want = np.zeros((7, 7))
    for i, j in itertools.product(range(5), range(5)):
        place = np.unravel_index(x[0, i:i + 3, j:j + 3, 0].argmax(), (3, 3))
        want[i + place[0], j + place[1]] += 1
    np.testing.assert_array_equal(grad[0, :, :, 0], want)
