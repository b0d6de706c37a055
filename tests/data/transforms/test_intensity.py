"""Intensity transforms against SciPy and values computed by hand."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.data.transforms.intensity import blur, gamma, low_resolution

rng = np.random.default_rng(0)


def test_blur_equals_scipy():
    image = rng.normal(size=(9, 1, 12, 2)).astype(np.float32)
    got = blur(jnp.asarray(image), jnp.array([0.6, 1.4]))
    for channel, sigma in enumerate((0.6, 1.4)):
        want = ndimage.gaussian_filter(image[..., channel], (sigma, 0, sigma), mode='nearest', radius=(6, 0, 6))
        np.testing.assert_allclose(got[..., channel], want, atol=1e-5)


def test_low_resolution_by_two_is_every_other_voxel_and_cubics():
    line = rng.normal(size=(16, 1)).astype(np.float32)
    got = np.asarray(low_resolution(jnp.asarray(line), jnp.array([2.0]), [0]))[:, 0]
    coarse = line[[int(np.round(2 * i + 0.5)) for i in range(8)], 0]
    # Halfway between two coarse voxels at a quarter: Keys' weights at 0.25 are (-9, 111, 29, -3) / 128.
    i = 3  # voxel 7 lies a quarter above coarse voxel 3
    want = (-9 * coarse[i - 1] + 111 * coarse[i] + 29 * coarse[i + 1] - 3 * coarse[i + 2]) / 128
    assert got[7] == pytest.approx(want, abs=1e-5)
    flat = jnp.ones((10, 6, 1))
    np.testing.assert_allclose(low_resolution(flat, jnp.array([1.7]), [0, 1]), flat, atol=1e-5)


def test_gamma_keeps_the_range():
    image = jnp.asarray(rng.normal(size=(10, 10, 2)), jnp.float32)
    for power in (0.7, 1.5):
        out = gamma(image, power)
        np.testing.assert_allclose(out.min((0, 1)), image.min((0, 1)), atol=1e-5)
        np.testing.assert_allclose(out.max((0, 1)), image.max((0, 1)), atol=1e-5)
        assert (np.sign(out - image)[np.abs(out - image) > 1e-5] == (1 if power < 1 else -1)).all()
    np.testing.assert_allclose(gamma(jnp.zeros((3, 3, 1)), 0.7), 0)  # a constant patch stays what it is
