"""Metrics of predicted effects: by hand, at their limits, and resamples by weights as by rows."""

import numpy as np
import pytest

from medjax.metrics.treatment import (
    doubly_robust_effect,
    factual_rmse,
    pehe,
    policy_value,
    qini,
    uplift_curve,
)

rng = np.random.default_rng(0)
ONE = np.ones(4)
T, Y = np.array([1, 0, 1, 0]), np.array([5.0, 1, 2, 3])


def test_errors_by_hand():
    assert pehe(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 8]), ONE) == 2
    predicted = np.array([[0.0, 6], [3, 9], [9, 2], [3, 9]])  # off by 1 and 0 of the treated, by 2 and 0 of the others
    assert factual_rmse(predicted, Y, T, ONE) == pytest.approx(np.sqrt((1 / 2 + 4 / 2) / 2))
    # Three of the untreated weigh as one.
    assert factual_rmse(predicted, Y, T, np.array([1.0, 3, 1, 3])) == pytest.approx(np.sqrt(1.25))
    assert np.isnan(factual_rmse(predicted, Y, T, np.array([1.0, 0, 1, 0])))


def test_the_value_of_a_policy_by_hand():
    inverse = np.array([2.0, 4, 1, 1])
    value = policy_value(np.array([1.0, -1, -1, 1]), Y, T, inverse, ONE)  # the first two follow the policy
    assert value == pytest.approx((2 * 5 + 4 * 1) / 6)
    assert np.isnan(policy_value(np.array([-1.0, 1, -1, 1]), Y, T, inverse, ONE))


def test_uplift_by_hand():
    """In the order of the effects: a treated patient of 5, one without of 1, then both others at once."""
    share, gain = uplift_curve(np.array([9.0, 8, 1, 1]), Y, T, ONE, ONE)
    np.testing.assert_allclose(share, [0, 0.25, 0.5, 1])
    np.testing.assert_allclose(gain, [0, 0, 0.5 * (5 - 1), 3.5 - 2])
    assert qini(share, gain) == pytest.approx(0.25 * 1 + 0.5 * (2 + 1.5) / 2 - 0.75)
    weighted = uplift_curve(np.array([9.0, 8, 1, 1]), Y, T, np.array([1.0, 1, 3, 1]), ONE)[1]
    assert weighted[-1] == pytest.approx((5 + 3 * 2) / 4 - 2)
    assert np.isnan(qini(*uplift_curve(Y, Y, np.ones(4, int), ONE, ONE)))


def randomised(n=4000, spread=2.0):
    """Treated by a coin; the effect is a normal number."""
    effect = spread * rng.normal(size=n)
    treatment = rng.integers(0, 2, n)
    return effect, rng.normal(size=n) + treatment * effect, treatment, np.full(n, 2.0), np.ones(n)


def test_the_right_order_gains_and_a_wrong_one_loses():
    effect, *rest = randomised()
    right, wrong = (qini(*uplift_curve(score, *rest)) for score in (effect, -effect))
    # Of a normal effect the mean gain over all shares is spread / (2 sqrt(pi)).
    assert right == pytest.approx(2 / (2 * np.sqrt(np.pi)), abs=0.06) and wrong == pytest.approx(-right, abs=0.06)
    assert qini(*uplift_curve(np.zeros(4000), *rest)) == 0
    assert policy_value(effect, *rest) > policy_value(-effect, *rest) + 1


def test_weights_are_repetitions():
    effect, outcome, treatment, inverse, _ = randomised(60)
    times = rng.multinomial(60, np.full(60, 1 / 60), 3)
    predicted, inverse = rng.normal(size=(60, 2)), inverse + rng.random(60)
    for k in range(3):
        rows = np.repeat(np.arange(60), times[k])
        others = outcome, treatment, inverse
        drawn = [array[rows] for array in others] + [np.ones(len(rows))]
        for weighted, repeated in (
                (qini(*uplift_curve(effect, *others, times)), qini(*uplift_curve(effect[rows], *drawn))),
                (policy_value(effect, *others, times), policy_value(effect[rows], *drawn)),
                (doubly_robust_effect(predicted, *others, times), doubly_robust_effect(predicted[rows], *drawn))):
            assert weighted[k] == pytest.approx(float(repeated))


def test_the_doubly_robust_mean_needs_one_of_both_to_be_right():
    n, x = 40_000, rng.normal(size=40_000)
    propensity = 1 / (1 + np.exp(-x))
    treatment = (rng.random(n) < propensity).astype(int)
    outcome = x + 1.5 * treatment + rng.normal(size=n)
    right, none = np.where(treatment == 1, 1 / propensity, 1 / (1 - propensity)), np.full(n, 2.0)
    known, flat = np.stack([x, x + 1.5], 1), np.zeros((n, 2))
    for predicted, inverse, off in ((known, none, 0), (flat, right, 0), (flat, none, 0.5)):
        got = doubly_robust_effect(predicted, outcome, treatment, inverse, np.ones(n))
        assert abs(got - 1.5) > off if off else got == pytest.approx(1.5, abs=0.08)
