"""Calibration slope, intercept and smooth curve against scikit-learn's logistic regression, formulas and simulation."""

import warnings

import numpy as np
import pytest
from scipy import optimize, special
from sklearn.linear_model import LogisticRegression

from medjax.statistics import recalibration


def simulated(n, seed=0, intercept=0.4, slope=0.7):
    rng = np.random.default_rng(seed)
    log_odds = rng.normal(-0.5, 1.5, n)
    return rng.random(n) < special.expit(intercept + slope * log_odds), log_odds


def test_slope_and_intercept_equal_those_of_a_logistic_regression():
    positive, log_odds = simulated(120)
    weight = np.random.default_rng(1).multinomial(120, np.full(120, 1 / 120), 6).astype(np.uint8)
    weight[0] = 1
    slopes = recalibration.slope(positive, log_odds, weight)
    intercepts = recalibration.intercept(positive, log_odds, weight)
    for w, slope, intercept in zip(weight.astype(float), slopes, intercepts):
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(log_odds[:, None], positive, w)
        assert slope == pytest.approx(fit.coef_[0, 0], abs=1e-6)

        def loss(a, w=w):  # with the log odds as an offset
            z = a[0] + log_odds
            return (w * (np.logaddexp(0, z) - positive * z)).sum()
        assert intercept == pytest.approx(optimize.minimize(loss, [0.0], method='BFGS', tol=1e-9).x[0], abs=1e-6)
    assert recalibration.slope(positive, log_odds) == pytest.approx(slopes[0], abs=1e-7)


def test_two_predictions_by_hand():
    """Of 10 cases predicted .2 three are positive, of 20 predicted .9 fifteen: the odds are 3/7 and 3."""
    probability = np.repeat([0.2, 0.9], [10, 20])
    positive = np.concatenate([np.arange(10) < 3, np.arange(20) < 15])
    log_odds = recalibration.logit(probability)
    want = np.log(3 / (3 / 7)) / np.log(9 / 0.25)
    assert recalibration.slope(positive, log_odds) == pytest.approx(want, abs=1e-7)
    a = recalibration.intercept(positive, log_odds)
    assert special.expit(a + log_odds).sum() == pytest.approx(18)


@pytest.mark.parametrize('intercept, slope', [(0, 1), (0.8, 1), (0, 0.5), (-0.5, 1.6)])
def test_the_parameters_of_a_simulation_are_found(intercept, slope):
    positive, log_odds = simulated(200_000, 2, intercept, slope)
    assert recalibration.slope(positive, log_odds) == pytest.approx(slope, abs=0.03)
    if slope == 1:
        assert recalibration.intercept(positive, log_odds) == pytest.approx(intercept, abs=0.03)


@pytest.mark.parametrize('positive, log_odds, why', [
    ([0, 0, 1, 1], [-1, 0, 1, 2], recalibration.SEPARATED), ([0, 1, 0, 1], [-1, 1, 0, 0], recalibration.SEPARATED),
    ([1, 1, 0, 0], [-1, 0, 1, 2], recalibration.SEPARATED), ([0, 1, 1], [2, 2, 2], recalibration.EQUAL),
    ([1, 1, 1], [0, 1, 2], recalibration.ONE_CLASS), ([], [], 'no case')])
def test_without_a_finite_slope_it_is_undefined_with_the_reason(positive, log_odds, why):
    positive, log_odds = np.array(positive, bool), np.array(log_odds, float)
    assert recalibration.undefined_reason(positive, log_odds) == why
    assert np.isnan(recalibration.slope(positive, log_odds))
    assert recalibration.smooth_curve(positive, special.expit(log_odds), np.arange(len(positive))) is None
    one_class = why in (recalibration.ONE_CLASS, 'no case')
    assert bool(recalibration.undefined_reason(positive, log_odds, 'intercept')) == one_class
    assert np.isnan(recalibration.intercept(positive, log_odds)) == one_class


def test_resamples_without_a_slope_are_not_a_number():
    positive, log_odds = np.array([0, 1, 0, 1], bool), np.array([-1.0, -0.5, 0.5, 1.0])
    weight = np.array([[1, 1, 1, 1], [2, 1, 0, 1], [0, 2, 0, 2]])
    assert np.isnan(recalibration.slope(positive, log_odds, weight)).tolist() == [False, True, True]
    assert np.isnan(recalibration.intercept(positive, log_odds, weight)).tolist() == [False, False, True]


def test_extreme_probabilities_are_finite():
    probability = np.array([0, 0, 0, 1, 1, 1.0])
    positive = np.array([0, 0, 1, 0, 1, 1], bool)
    assert recalibration.slope(positive, recalibration.logit(probability)) == pytest.approx(
        np.log(2) / recalibration.logit(np.ones(1))[0], abs=1e-6)
    assert np.isfinite(recalibration.intercept(positive, recalibration.logit(probability)))


def natural_spline(x, knots):
    """Harrell's restricted cubic spline (2015, equation 2.25), written out."""
    t, k = knots, len(knots)

    def cube(knot):
        return np.clip(x - knot, 0, None) ** 3
    columns = [x]
    for j in range(k - 2):
        columns.append((cube(t[j]) - cube(t[k - 2]) * (t[k - 1] - t[j]) / (t[k - 1] - t[k - 2])
                        + cube(t[k - 1]) * (t[k - 2] - t[j]) / (t[k - 1] - t[k - 2])) / (t[k - 1] - t[0]) ** 2)
    return np.stack(columns, -1)


@pytest.mark.parametrize('several', [1, 4])
def test_the_smooth_curve_is_a_logistic_regression_on_a_spline(several):
    positive, log_odds = simulated(400, 3)
    patients, probability = np.arange(400) // several, special.expit(log_odds)
    curve = recalibration.smooth_curve(positive, probability, patients, points=9)
    assert curve.knots == 4 and curve.predicted[[0, -1]] == pytest.approx(np.quantile(probability, [0.01, 0.99]))
    knots = np.quantile(log_odds, [0.05, 0.35, 0.65, 0.95])
    basis = natural_spline(log_odds, knots)
    with warnings.catch_warnings():
        warnings.simplefilter('ignore')
        fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=10_000, solver='newton-cg').fit(basis, positive)
    rows = natural_spline(special.logit(curve.predicted), knots)
    np.testing.assert_allclose(curve.observed, fit.predict_proba(rows)[:, 1], atol=1e-5)
    p = fit.predict_proba(basis)[:, 1]
    np.testing.assert_allclose(curve.errors, abs(p - probability), atol=1e-5)
    design, ends = (np.column_stack([np.ones(len(x)), x]) for x in (basis, rows))
    covariance = np.linalg.inv((design.T * p * (1 - p)) @ design)
    if several > 1:
        scores = (design * (positive - p)[:, None]).reshape(100, 4, -1).sum(1)
        covariance = covariance @ scores.T @ scores @ covariance * 100 / 99
    half = 1.96 * np.sqrt(np.diag(ends @ covariance @ ends.T))
    np.testing.assert_allclose(curve.low, special.expit(special.logit(curve.observed) - half), atol=1e-3)
    np.testing.assert_allclose(curve.high, special.expit(special.logit(curve.observed) + half), atol=1e-3)


def test_the_band_contains_the_true_curve():
    """On the true recalibration, linear on the logit, the pointwise coverage is near its nominal value."""
    covered = []
    for seed in range(200):
        positive, log_odds = simulated(300, seed)
        curve = recalibration.smooth_curve(positive, special.expit(log_odds), np.arange(300), points=21)
        true = special.expit(0.4 + 0.7 * special.logit(curve.predicted))
        covered.append((curve.low <= true) & (true <= curve.high))
    assert 0.92 < np.mean(covered) < 0.98


def test_few_distinct_probabilities_have_fewer_knots():
    rng = np.random.default_rng(0)
    for values, knots in (([0.1, 0.7], 0), ([0.1, 0.3, 0.7], 3)):
        probability = rng.choice(values, 300)
        curve = recalibration.smooth_curve(rng.random(300) < probability, probability, np.arange(300))
        assert curve.knots == knots and np.isfinite(curve.low).all()
