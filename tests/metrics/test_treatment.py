"""Figures of predicted effects: by hand, at their limits, and resamples by weights as by rows."""

import numpy as np
import pytest

from medjax.metrics import treatment as metrics_treatment

rng = np.random.default_rng(0)
ONE = np.ones(4)
T, Y = np.array([1, 0, 1, 0]), np.array([5.0, 1, 2, 3])


def test_errors_by_hand():
    assert metrics_treatment.pehe(np.array([1.0, 2, 3, 4]), np.array([1.0, 2, 3, 8]), ONE) == 2
    predicted = np.array([[0.0, 6], [3, 9], [9, 2], [3, 9]])  # off by 1 and 0 of the treated, by 2 and 0 of the others
    assert metrics_treatment.factual_rmse(predicted, Y, T, ONE) == pytest.approx(np.sqrt((1 / 2 + 4 / 2) / 2))
    # Three of the untreated weigh as one.
    assert metrics_treatment.factual_rmse(predicted, Y, T, np.array([1.0, 3, 1, 3])) == pytest.approx(np.sqrt(1.25))
    assert np.isnan(metrics_treatment.factual_rmse(predicted, Y, T, np.array([1.0, 0, 1, 0])))


def test_the_value_of_a_policy_by_hand():
    chance = np.array([2.0, 4, 1, 1])
    value = metrics_treatment.policy_value(np.array([1.0, -1, -1, 1]), Y, T, chance, ONE)  # the first two had what it asks for
    assert value == pytest.approx((2 * 5 + 4 * 1) / 6)
    assert np.isnan(metrics_treatment.policy_value(np.array([-1.0, 1, -1, 1]), Y, T, chance, ONE))


def test_gains_by_hand():
    """In the order of the effects: a treated patient of 5, one without of 1, then both others at once."""
    share, gain = metrics_treatment.uplift_curve(np.array([9.0, 8, 1, 1]), Y, T, ONE, ONE)
    np.testing.assert_allclose(share, [0, 0.25, 0.5, 1])
    np.testing.assert_allclose(gain, [0, 0, 0.5 * (5 - 1), 3.5 - 2])
    assert metrics_treatment.qini(share, gain) == pytest.approx(0.25 * 1 + 0.5 * (2 + 1.5) / 2 - 0.75)
    weighted = metrics_treatment.uplift_curve(np.array([9.0, 8, 1, 1]), Y, T, np.array([1.0, 1, 3, 1]), ONE)[1]
    assert weighted[-1] == pytest.approx((5 + 3 * 2) / 4 - 2)
    assert np.isnan(metrics_treatment.qini(*metrics_treatment.uplift_curve(Y, Y, np.ones(4, int), ONE, ONE)))


def randomised(n=4000, spread=2.0):
    """Treated by a coin; the effect is a normal number."""
    effect = spread * rng.normal(size=n)
    treatment = rng.integers(0, 2, n)
    return effect, rng.normal(size=n) + treatment * effect, treatment, np.full(n, 2.0), np.ones(n)


def test_the_right_order_gains_and_a_wrong_one_loses():
    effect, *rest = randomised()
    right, wrong = (metrics_treatment.qini(*metrics_treatment.uplift_curve(score, *rest)) for score in (effect, -effect))
    # Of a normal effect the mean gain over all shares is spread / (2 sqrt(pi)).
    assert right == pytest.approx(2 / (2 * np.sqrt(np.pi)), abs=0.06) and wrong == pytest.approx(-right, abs=0.06)
    assert metrics_treatment.qini(*metrics_treatment.uplift_curve(np.zeros(4000), *rest)) == 0
    assert metrics_treatment.policy_value(effect, *rest) > metrics_treatment.policy_value(-effect, *rest) + 1


def test_weights_are_repetitions():
    effect, outcome, treatment, chance, _ = randomised(60)
    times = rng.multinomial(60, np.full(60, 1 / 60), 3)
    predicted, chance = rng.normal(size=(60, 2)), chance + rng.random(60)
    for k in range(3):
        rows = np.repeat(np.arange(60), times[k])
        same = np.ones(len(rows))
        for whole, part in (
                (metrics_treatment.qini(*metrics_treatment.uplift_curve(effect, outcome, treatment, chance, times)),
                 metrics_treatment.qini(*metrics_treatment.uplift_curve(effect[rows], outcome[rows], treatment[rows], chance[rows], same))),
                (metrics_treatment.policy_value(effect, outcome, treatment, chance, times),
                 metrics_treatment.policy_value(effect[rows], outcome[rows], treatment[rows], chance[rows], same)),
                (metrics_treatment.doubly_robust_effect(predicted, outcome, treatment, chance, times),
                 metrics_treatment.doubly_robust_effect(predicted[rows], outcome[rows], treatment[rows], chance[rows], same))):
            assert whole[k] == pytest.approx(float(part))


def test_the_doubly_robust_mean_needs_one_of_both_to_be_right():
    n, x = 40_000, rng.normal(size=40_000)
    propensity = 1 / (1 + np.exp(-x))
    treatment = (rng.random(n) < propensity).astype(int)
    outcome = x + 1.5 * treatment + rng.normal(size=n)
    right, none = np.where(treatment == 1, 1 / propensity, 1 / (1 - propensity)), np.full(n, 2.0)
    known, flat = np.stack([x, x + 1.5], 1), np.zeros((n, 2))
    for predicted, chance, off in ((known, none, 0), (flat, right, 0), (flat, none, 0.5)):
        got = metrics_treatment.doubly_robust_effect(predicted, outcome, treatment, chance, np.ones(n))
        assert abs(got - 1.5) > off if off else got == pytest.approx(1.5, abs=0.08)
