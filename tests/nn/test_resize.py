"""Resizing by a factor of 2 by hand."""

import jax.numpy as jnp
import numpy as np

from medjax.nn.resize import downsample, upsample


def test_upsample_and_downsample():
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(downsample(x)[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_allclose(downsample(upsample(x)), x)
    assert upsample(x)[0, 1, 1, 0] == x[0, 0, 0, 0] and upsample(x).shape == (1, 8, 8, 1)
