"""The fused normalisation equals its formula in value and gradient."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from medjax.ops.norm import EPSILON, moments, normalise

rng = np.random.default_rng(0)


def reference(x, scale, bias, batch, slope):
    axes = tuple(range(0 if batch else 1, x.ndim - 1))
    mean, variance = x.mean(axes, keepdims=True), x.var(axes, keepdims=True)
    z = (x - mean) / jnp.sqrt(variance + EPSILON) * scale + bias
    return jnp.where(z > 0, z, slope * z)


@pytest.mark.parametrize('slope', [0.0, 0.01, 1.0])
@pytest.mark.parametrize('batch', [True, False])
@pytest.mark.parametrize('shape', [(3, 9, 2), (2, 5, 7, 3), (2, 4, 6, 5, 3), (4, 1, 1, 3)])
def test_value_and_gradient(shape, batch, slope):
    x, seed = (jnp.asarray(rng.normal(size=shape) * 3 + 1, jnp.float32) for _ in range(2))
    scale, bias = (jnp.asarray(rng.normal(size=shape[-1]), jnp.float32) for _ in range(2))
    got, back = jax.vjp(lambda *a: normalise(*a, batch, slope)[0], x, scale, bias)
    with jax.enable_x64(True):
        wide = [np.asarray(a, np.float64) for a in (x, scale, bias)]
        want, forth = jax.vjp(lambda *a: reference(*a, batch, slope), *wide)
        want = want, *forth(np.asarray(seed, np.float64))
    for a, b in zip((got, *back(seed)), want):
        np.testing.assert_allclose(a, b, atol=2e-5 * max(1, np.abs(b).max()))


@pytest.mark.parametrize('batch', [True, False])
def test_precomputed_moments_of_concatenated_channels(batch):
    one, two = (jnp.asarray(rng.normal(size=(2, 4, 5, n)) * n + n, jnp.float32) for n in (2, 3))
    scale, bias, seed = (jnp.asarray(rng.normal(size=shape), jnp.float32) for shape in (5, 5, (2, 4, 5, 5)))

    def concatenate_and_normalise(one, two, precomputed):
        x = jnp.concatenate([one, two], -1)
        known = jax.tree.map(lambda a, b: jnp.concatenate([a, b], -1), moments(one, batch), moments(two, batch))
        return normalise(x, scale, bias, batch, 0.0, known if precomputed else None)[0]

    def run(precomputed):
        y, back = jax.vjp(lambda a, b: concatenate_and_normalise(a, b, precomputed), one, two)
        return y, *back(seed)

    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-5), run(True), run(False))


@pytest.mark.parametrize('offset', [0.0, 1e3, -1e5])
def test_moments_far_from_zero(offset):
    x = jnp.asarray(rng.normal(size=(2, 16, 16, 3)) + offset, jnp.float32)
    _, mean, variance = normalise(x, jnp.ones(3), jnp.zeros(3), False, 1.0)
    exact = np.asarray(x, np.float64)
    np.testing.assert_allclose(mean, exact.mean((1, 2)), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(variance, exact.var((1, 2)), rtol=1e-4)


def test_a_constant_image():
    y, back = jax.vjp(lambda x: normalise(x, jnp.ones(2), jnp.zeros(2), False, 0.01)[0], jnp.full((1, 4, 4, 2), 7.0))
    np.testing.assert_array_equal(y, 0)
    assert np.isfinite(back(jnp.ones_like(y))[0]).all()


@pytest.mark.parametrize('batch', [True, False])
def test_eight_devices_equal_one(batch):
    mesh = Mesh(np.array(jax.devices()).reshape(2, 4), ('data', 'space'), axis_types=(AxisType.Auto,) * 2)
    x, seed = (jnp.asarray(rng.normal(size=(4, 8, 6, 3)) + 2, jnp.float32) for _ in range(2))
    scale, bias = jnp.asarray([1.0, 2.0, 3.0]), jnp.asarray([0.5, 0.0, -1.0])

    def run(x, seed):
        (y, *moments), back = jax.vjp(lambda *a: normalise(*a, batch, 0.01), x, scale, bias)
        return y, moments, back((seed, *map(jnp.zeros_like, moments)))
    sharding = NamedSharding(mesh, PartitionSpec('data', 'space'))
    got, want = jax.jit(run)(*(jax.device_put(np.asarray(a), sharding) for a in (x, seed))), jax.jit(run)(x, seed)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-5), got, want)
