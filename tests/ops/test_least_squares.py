"""Nonlinear least squares, compared with NumPy and on known problems."""

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import least_squares


def test_linear_least_squares_equal_numpy():
    rng = np.random.default_rng(1)
    x, y = rng.normal(size=(20, 3)).astype(np.float32), rng.normal(size=20).astype(np.float32)
    unknowns, cost = least_squares.fit(lambda p: x @ p - y, jnp.zeros(3))
    expected, rest, *_ = np.linalg.lstsq(x, y, rcond=None)
    np.testing.assert_allclose(unknowns, expected, rtol=1e-4)
    assert float(cost) == pytest.approx(float(rest[0]), rel=1e-5)


def test_nonlinear_problems_nan_and_an_unidentifiable_unknown():
    unknowns, cost = least_squares.fit(lambda p: jnp.stack([10 * (p[1] - p[0]**2), 1 - p[0]]), jnp.array([-1.2, 1.0]))
    np.testing.assert_allclose(unknowns, 1, rtol=1e-4)  # Rosenbrock function
    unknowns, cost = least_squares.fit(lambda p: jnp.where(p > 2, jnp.nan, p - 5.0), jnp.array([0.0]))
    assert float(unknowns[0]) <= 2 and np.isfinite(cost)
    unknowns, _ = least_squares.fit(lambda p: jnp.stack([p[0] - 3, p[0] - 3]), jnp.array([0.0, 7.0]))
    np.testing.assert_allclose(unknowns, [3, 7], rtol=1e-5)  # the second unknown has no effect
