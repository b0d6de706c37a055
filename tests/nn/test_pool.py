"""Adaptive and spatial pyramid pooling by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.nn.pool import adaptive_pool, max_along_axis, spatial_pyramid_pool


def image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@pytest.mark.parametrize('size, bins, want', [
    (5, 2, [(0, 3), (2, 5)]),  # the middle voxel is in both bins
    (7, 4, [(0, 2), (1, 4), (3, 6), (5, 7)]),
    (6, 3, [(0, 2), (2, 4), (4, 6)]),
    (2, 4, [(0, 1), (0, 1), (1, 2), (1, 2)]),
    (1, 3, [(0, 1)] * 3)])
def test_bins_by_hand(size, bins, want):
    x = image(1, size, 1)
    for ours, reduce in ((max_along_axis, np.max), (jnp.mean, np.mean)):
        got = jax.jit(lambda x, ours=ours: adaptive_pool(x, bins, ours))(x)
        np.testing.assert_allclose(got[0, :, 0], [reduce(np.asarray(x)[0, a:b, 0]) for a, b in want], rtol=1e-6)


def test_the_mean_of_a_bin_is_that_of_its_box():
    x = image(2, 5, 7, 4, 3)
    got = jax.jit(lambda x: adaptive_pool(x, 2, jnp.mean))(x)
    np.testing.assert_allclose(got[:, 1, 0, 1], np.asarray(x)[:, 2:5, 0:4, 2:4].mean((1, 2, 3)), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('space', [(4, 4), (9, 6), (3, 11), (8, 5, 6), (1, 2, 3)])
def test_the_number_of_features_does_not_depend_on_the_size(space):
    x, dims = image(2, *space, 3), len(space)
    got = np.asarray(jax.jit(spatial_pyramid_pool)(x))
    x = np.asarray(x)
    assert got.shape == (2, 3 * (1 + 2**dims + 4**dims))
    largest = x.max(tuple(range(1, dims + 1)))
    np.testing.assert_array_equal(got[:, :3], largest)
    for first, bins in ((3, 2), (3 + 3 * 2**dims, 4)):  # each grid contains the global maximum
        grid = got[:, first:first + 3 * bins**dims].reshape(2, -1, 3)
        np.testing.assert_array_equal(grid.max(1), largest)
    np.testing.assert_array_equal(got[:, 3:6], x[(slice(None), *(slice(-(-n // 2)) for n in space))].max(
        tuple(range(1, dims + 1))))


@pytest.mark.parametrize('axis', [0, 1, -1])
def test_one_maximum_receives_the_gradient(axis):
    x = jnp.array([[1.0, 3.0, 3.0], [-2.0, 3.0, -jnp.inf]])
    value, back = jax.vjp(lambda x: max_along_axis(x, axis), x)
    np.testing.assert_array_equal(value, np.asarray(x).max(axis))
    gradient, = back(jnp.ones_like(value))
    np.testing.assert_array_equal(gradient.sum(axis), np.ones_like(value))
    np.testing.assert_array_equal((gradient * jnp.where(gradient > 0, x, 0)).sum(axis), value)
