import numpy as np
import pytest
from scipy import special, stats
from sklearn.linear_model import LogisticRegression

from medjax.metrics import classification
from medjax.statistics import calibration


def simulated(n, classes, seed, temperature=1.0, spread=2.0):
    """Cases whose classes are drawn from probabilities, and the probabilities of an overconfident network."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(0, spread, (n, classes))
    true = special.softmax(logits, 1)
    targets = (rng.random((n, 1)) > true.cumsum(1)).sum(1).clip(max=classes - 1)
    return targets, special.softmax(logits * temperature, 1)


def test_errors_by_hand():
    # Of the positive class .1, .4, .6 and .9, in four of 15 bins. Of the predicted class confidences .9 .9 .6 .6 .6 in
    # two; right 1 of 2, and 3 of 3.
    p = np.array([0.9, 0.1, 0.6, 0.4, 0.6])
    targets = np.array([1, 1, 1, 0, 1])
    probs = np.stack([1 - p, p], -1)
    of_predicted = 2 / 5 * abs(0.9 - 0.5) + 3 / 5 * abs(0.6 - 1)
    assert calibration.expected_calibration_error(targets, probs, predicted_class=True) == pytest.approx(of_predicted)
    three = np.column_stack([probs, 0 * p])
    assert calibration.expected_calibration_error(targets, three) == pytest.approx(of_predicted)
    want = (abs(0.9 - 1) + abs(0.1 - 1) + 2 * abs(0.6 - 1) + 0.4) / 5
    assert calibration.expected_calibration_error(targets, probs) == pytest.approx(want)
    # Equal probabilities stay together, so that here the bins of equal mass are the same four.
    assert calibration.expected_calibration_error(targets, probs, equal_mass=True) == pytest.approx(want)
    weight = np.array([[1, 1, 1, 1, 1], [0, 0, 2, 0, 0], [0, 0, 0, 0, 0]])
    np.testing.assert_allclose(calibration.expected_calibration_error(targets, probs, weight), [want, 0.4, np.nan])


def test_the_error_of_the_positive_class_sees_what_that_of_the_predicted_one_hides():
    """Of 50 cases predicted .3 30 are positive, and all of 50 predicted .7: the confidence of .7 is right 70 times."""
    probs = np.repeat([[0.7, 0.3], [0.3, 0.7]], 50, axis=0)
    targets = np.concatenate([np.arange(50) < 30, np.ones(50, bool)]).astype(int)
    assert calibration.expected_calibration_error(targets, probs) == pytest.approx(0.3)
    assert calibration.expected_calibration_error(targets, probs, predicted_class=True) == pytest.approx(0)


def test_adaptive_bins_hold_the_same_number_of_cases():
    rng = np.random.default_rng(0)
    confidence = rng.uniform(0.98, 1, 150)  # of equal width, all would be in the last
    probs, targets = np.stack([1 - confidence, confidence], -1), (rng.random(150) < 0.9).astype(int)
    order = np.argsort(confidence).reshape(15, 10)
    want = np.abs((confidence - targets)[order].mean(1)).mean()
    assert calibration.expected_calibration_error(targets, probs, equal_mass=True) == pytest.approx(want)
    assert calibration.expected_calibration_error(targets, probs) == pytest.approx(abs((confidence - targets).mean()))


def test_errors_of_resamples_are_those_of_repeated_cases():
    targets, probs = simulated(50, 3, 1)
    weight = np.random.default_rng(2).integers(0, 3, (3, 50))
    got = calibration.expected_calibration_error(targets, probs, weight)
    for row, value in zip(weight, got):
        again = np.repeat(np.arange(50), row)
        assert value == pytest.approx(calibration.expected_calibration_error(targets[again], probs[again]))


def test_reliability_bins_hold_each_case_once():
    # A bin's upper end is in it; 0 is in the first.
    bins = calibration.reliability_bins(np.array([0.0, 1 / 15, 0.2, 0.2001, 1.0]), np.array([0, 1, 0, 1, 1], bool))
    assert [(round(b['high'] * 15), b['n'], b['observed']) for b in bins] == [
        (1, 2, 0.5), (3, 1, 0), (4, 1, 1), (15, 1, 1)]
    assert bins[0]['predicted'] == pytest.approx(1 / 30)


def test_mean_calibration_error_is_weighted_by_cases():
    bins = [{'predicted': 0.2, 'observed': 0.1, 'n': 30}, {'predicted': 0.6, 'observed': 0.8, 'n': 10},
            {'predicted': 0.9, 'observed': float('nan'), 'n': 50}]
    assert calibration.mean_calibration_error(bins) == pytest.approx((0.1 * 30 + 0.2 * 10) / 40)
    assert np.isnan(calibration.mean_calibration_error(bins[2:]))


@pytest.mark.parametrize('classes', [2, 4])
def test_a_temperature_of_two_is_recovered(classes):
    fitted = calibration.fit_temperature(*simulated(20_000, classes, 0, 2.0))
    assert fitted.parameters['temperature'] == pytest.approx(2, rel=0.04)
    targets, probs = simulated(20_000, classes, 1, 2.0)
    calibrated = fitted(probs)
    np.testing.assert_allclose(calibrated.sum(1), 1)
    np.testing.assert_array_equal(calibrated.argmax(1), probs.argmax(1))
    before, after = (calibration.expected_calibration_error(targets, p) for p in (probs, calibrated))
    assert before > 0.05 and after < 0.02


@pytest.mark.parametrize('method', calibration.METHODS)
@pytest.mark.parametrize('classes', [2, 4])
def test_each_method_improves_new_cases(method, classes):
    fitted = calibration.METHODS[method](*simulated(4000, classes, 0, 2.0))
    targets, probs = simulated(4000, classes, 1, 2.0)
    calibrated = fitted(probs)
    np.testing.assert_allclose(calibrated.sum(1), 1)
    losses = (classification.case_losses(targets, p) for p in (calibrated, probs))
    for after, before in zip(*losses):
        assert after.mean() < before.mean() or (method == 'isotonic' and after.mean() < 1.2 * before.mean())
    before, after = (calibration.expected_calibration_error(targets, p) for p in (probs, calibrated))
    assert after < 0.5 * before


def test_calibrated_probabilities_stay():
    val = simulated(20_000, 2, 3)
    p = np.linspace(0.05, 0.95, 10)
    for method, tolerance in (('temperature', 0.02), ('platt', 0.02), ('isotonic', 0.05)):
        calibrated = calibration.METHODS[method](*val)(np.stack([1 - p, p], -1))
        np.testing.assert_allclose(calibrated[:, 1], p, atol=tolerance)


def test_temperature_is_the_best_one():
    targets, probs = simulated(300, 3, 4, 1.7)
    fitted = calibration.fit_temperature(targets, probs).parameters['temperature']
    loss = [-special.log_softmax(np.log(probs) / t, 1)[np.arange(300), targets].mean()
            for t in (fitted * 0.99, fitted, fitted * 1.01)]
    assert loss[1] < min(loss[0], loss[2])


def test_temperature_without_a_minimum_is_limited():
    probs = np.array([[0.8, 0.2], [0.3, 0.7]])
    assert calibration.fit_temperature(np.array([0, 1]), probs).parameters == {'temperature': 0.01}
    assert calibration.fit_temperature(np.array([1, 0]), probs).parameters == {'temperature': pytest.approx(100)}


def test_certain_probabilities_are_accepted():
    targets, probs = np.array([0, 1, 1, 0]), np.array([[1.0, 0.0], [0.0, 1.0], [1.0, 0.0], [0.6, 0.4]])
    for method in calibration.METHODS.values():
        assert np.isfinite(method(targets, probs)(probs)).all()


def test_platt_is_logistic_regression_on_his_targets():
    targets, probs = simulated(200, 2, 5, 2.0)
    got = calibration.fit_platt(targets, probs).parameters
    m, n = targets.sum(), (1 - targets).sum()
    # A case with target q is q of a positive and 1 - q of a negative.
    aim = np.where(targets == 1, (m + 1) / (m + 2), 1 / (n + 2))
    x = np.tile(special.logit(probs[:, 1]), 2)[:, None]
    fit = LogisticRegression(C=np.inf, tol=1e-10, max_iter=1000).fit(
        x, np.repeat([1, 0], 200), sample_weight=np.concatenate([aim, 1 - aim]))
    assert got['a'] == pytest.approx(fit.coef_[0, 0], abs=1e-5)
    assert got['b'] == pytest.approx(fit.intercept_[0], abs=1e-5)


def test_conformal_threshold_by_hand():
    # Nine cases: ⌈10 · .9⌉ = 9, the least probability that a truth had; ⌈10 · .8⌉ = 8, the last but one.
    true = np.array([0.9, 0.8, 0.95, 0.6, 0.7, 0.3, 0.99, 0.85, 0.5])
    probs, targets = np.stack([1 - true, true], -1), np.ones(9, int)
    assert calibration.conformal_threshold(targets, probs, 0.9) == 0.3
    assert calibration.conformal_threshold(targets, probs, 0.8) == 0.5
    # Of eight cases none can promise 90 %: all classes are in each set.
    assert calibration.conformal_threshold(targets[:8], probs[:8], 0.9) == 0.0


def test_patients_with_several_cases_count_once_in_a_conformal_threshold():
    # Four patients, one with four cases: 5 × .6 = 3 patients have .9, .8 and .7; by cases it is the fifth, .1.
    true = np.array([0.1, 0.9, 0.1, 0.8, 0.1, 0.7, 0.1])
    probs, targets, patients = np.stack([1 - true, true], -1), np.ones(7, int), np.array(list('abacada'))
    assert calibration.conformal_threshold(targets, probs, 0.6, patients) == 0.7
    assert calibration.conformal_threshold(targets, probs, 0.6) == 0.1
    # 5 × .7 = 3.5: half of the cases of the fourth patient too.
    assert calibration.conformal_threshold(targets, probs, 0.7, patients) == 0.1
    assert calibration.conformal_threshold(targets, probs, 0.9, patients) == 0.0


def test_conformal_sets_cover_a_random_case_of_a_new_patient():
    rng, covered = np.random.default_rng(0), []
    for _ in range(400):
        cases = rng.integers(1, 7, 139)  # the more cases a patient has, the easier they are
        patients = np.repeat(np.arange(139), cases)
        score = rng.normal(0, 1, 139)[patients] + rng.normal(0, 0.5, len(patients)) + 0.5 * cases[patients]
        true = stats.norm.cdf(score)
        fit, probs = patients < 39, np.stack([1 - true, true], -1)
        threshold = calibration.conformal_threshold(np.ones(fit.sum(), int), probs[fit], 0.9, patients[fit])
        held = np.bincount(patients[~fit] - 39, true[~fit] >= threshold, 100) / cases[39:]
        covered.append(held.mean())
    assert 0.9 - 2 * np.std(covered) / 20 < np.mean(covered) < 0.92


@pytest.mark.parametrize('temperature', [1.0, 3.0])
def test_conformal_sets_have_their_nominal_coverage_for_any_network(temperature):
    # Over calibration sets of n the coverage is beta distributed: of 300 such draws the mean is near the promise.
    n, covered = 99, []
    for seed in range(300):
        targets, probs = simulated(n + 200, 5, seed, temperature)
        threshold = calibration.conformal_threshold(targets[:n], probs[:n], 0.9)
        covered.append((probs[n:][np.arange(200), targets[n:]] >= threshold).sum())
    # (n + 1) · .9 = 90 is whole, so that the coverage is .9 exactly, and the count beta-binomial.
    law = stats.betabinom(200, 90, 10)
    low, high = stats.norm.interval(0.999, law.mean() * 300, law.std() * np.sqrt(300))
    assert low < sum(covered) < high
