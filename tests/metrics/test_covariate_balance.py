"""Distances between groups by hand and at their limits."""

import jax
import numpy as np
import pytest

from medjax.metrics.covariate_balance import inverse_propensity, mmd, standardised_difference

rng = np.random.default_rng(0)


def test_mmd_by_hand():
    """Points at 0 and 3 against one at 1: means of the kernel within each group, less twice that between them."""
    x, group = np.array([[0.0], [3.0], [1.0]], np.float32), np.array([0, 0, 1])
    k = {d: np.exp(-d**2 / (2 * 0.8**2)) for d in (0, 1, 2, 3)}
    want = (2 * k[0] + 2 * k[3]) / 4 + k[0] - 2 * (k[1] + k[2]) / 2
    assert mmd(x, group, np.ones(3), 0.8) == pytest.approx(want, rel=1e-5)
    padded = np.concatenate([x, [[7.0], [9.0]]]).astype(np.float32)
    assert mmd(padded, np.array([0, 0, 1, 0, 1]), np.array([1, 1, 1, 0, 0]), 0.8) == pytest.approx(want, rel=1e-5)


def test_mmd_grows_with_the_distance_and_is_0_between_equals():
    x = rng.normal(size=(40, 3)).astype(np.float32)
    group = np.repeat([0, 1], 40)
    far = [float(mmd(np.concatenate([x, x + shift]), group, np.ones(80))) for shift in (0.0, 0.3, 1.0, 30.0)]
    assert far[0] == pytest.approx(0, abs=1e-6) and far == sorted(far) and far[3] < 2
    assert mmd(x, np.zeros(40), np.ones(40)) == 0  # one group alone
    slope = jax.grad(lambda x: mmd(x, group, np.ones(80)))(np.concatenate([x, x]))
    assert np.isfinite(slope).all() and np.abs(slope).max() < 1e-6


def test_standardised_differences_by_hand():
    x = np.array([[0.0, 1, 5, 1], [2.0, 1, 5, np.nan], [4.0, 1, 6, 3], [8.0, 1, 6, 5]])
    treatment = np.array([0, 0, 1, 1])
    spread = np.sqrt((2 + 8) / 2)  # variances of (0, 2) and (4, 8)
    got = standardised_difference(x, treatment)
    np.testing.assert_allclose(got[:2], [5 / spread, 0])
    assert np.isnan(got[2]) and got[3] == pytest.approx(3 / np.sqrt((0 + 2) / 2))
    weighted = standardised_difference(x, treatment, np.array([1.0, 3, 3, 1]))
    assert weighted[0] == pytest.approx((5 - 1.5) / spread)  # the unit stays


def test_weights_by_the_inverse_propensity_balance_the_groups():
    np.testing.assert_allclose(inverse_propensity(np.array([1, 0, 1, 0]), np.array([0.25, 0.2, 0.01, 1.0])),
                               [4, 1.25, 20, 20])
    x = rng.normal(size=20_000)
    chance = 1 / (1 + np.exp(-x))
    treatment = (rng.random(len(x)) < chance).astype(int)
    before = standardised_difference(x[:, None], treatment)
    after = standardised_difference(x[:, None], treatment, inverse_propensity(treatment, chance, 0.001))
    assert before > 0.7 and abs(after) < 0.05
