"""The numeric test cases of scikit-survival and lifelines: their inputs, and the values that they expect.

Sources: scikit-survival tests/test_metrics.py; lifelines tests/test_estimation.py, tests/test_statistics.py and
tests/utils/test_concordance.py. Cases on data files of these packages are not here.
"""

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from medjax.metrics import concordance, survival
from medjax.tasks.survival.evaluator import breslow_baseline

TIME, RISK = (1, 5, 6, 11, 34, 45, 46, 50), (5, 8, 11, 34, 12, 3, 9, 12)
TIED_TIME, TIED_RISK = (1, 5, 6, 11, 11, 34, 45, 45, 50), (5, 8, 11, 19, 34, 12, 3, 9, 12)

HARRELL = {  # time, event, risk, C
    'all correct': (TIME, [1] * 8, range(8)[::-1], 1.0),
    'all wrong': (TIME, [1] * 8, range(8), 0.0),
    'no ties': (TIME, [0, 1, 1, 0, 0, 1, 0, 0], RISK, 3 / 13),
    'tied times, both events': (TIED_TIME, [0, 1, 1, 0, 1, 0, 1, 0, 0], TIED_RISK, 0.4),
    'tied times, one event': (TIED_TIME, [0, 1, 1, 0, 0, 0, 1, 0, 0], TIED_RISK, 0.2),
    'tied events': (TIED_TIME, [0, 1, 0, 1, 1, 0, 1, 0, 0], TIED_RISK, 0.5294118),
    'tied risks': (TIME, [0, 1, 1, 0, 1, 1, 0, 0], (5, 15, 11, 34, 12, 3, 9, 12), 0.59375),
    'tied events and times': ((34, 11, 11, 5, 1, 89, 13, 45, 7, 13, 9, 13), [1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1],
                              (1, 19, 13, 13, 15, 14, 19, 23, 11, 10, 11, 1), 0.5681818),
    'lifelines, tied times': ((1, 1, 2), [1, 1, 1], (-1, -2, -3), 1.0)}


@pytest.mark.parametrize('name', HARRELL)
def test_harrell(name):
    time, event, risk, want = HARRELL[name]
    got = concordance.harrell(np.array(time), np.array(event, bool), np.array(risk, float))
    assert float(got) == pytest.approx(want, abs=1e-7)


def test_convention_risks_that_are_almost_equal():
    """scikit-survival counts risks within 1e-8 as equal and gives 0.59375; here the numbers count as they are."""
    risk = np.array([5, 15, 11, 34, 12, 3, 9, 12], float)
    risk[[4, -1]] += 4.5e-9, -4.5e-9
    got = concordance.harrell(np.array(TIME), np.array([0, 1, 1, 0, 1, 1, 0, 0], bool), risk)
    assert float(got) == pytest.approx(10 / 16) and float(got) != pytest.approx(0.59375)


def test_lifelines_concordance():
    time, predicted = np.arange(1, 7), np.array([2, 1, 4, 6, 5, 3])
    values = {float(concordance.harrell(time - a, np.ones(6, bool), -(predicted - b).astype(float)))
              for a, b in ((0, 0), (5, 5), (0, 5), (5, 0))}
    assert values == {10 / 15}
    assert np.isnan(concordance.harrell(np.arange(3), np.zeros(3, bool), np.arange(3.0)))  # lifelines raises
    many = np.arange(3000)
    assert float(concordance.harrell(many, np.ones(3000, bool), -many.astype(float))) == 1.0


UNO_TIME, UNO_EVENT = (1, 5, 6, 10, 11, 34, 45, 46, 50, 56), (0, 1, 1, 0, 1, 0, 1, 0, 0, 1)
UNO = {  # time, event, risk, tau, C
    'no ties': (UNO_TIME, UNO_EVENT, (5, 8, 11, 19, 34, 12, 3, 9, 12, 20), None, 0.347890360332615),
    'one pair of tied risks': (UNO_TIME, UNO_EVENT, (5, 8, 11, 11, 34, 12, 3, 9, 12, 20), None, 0.365629810028969),
    'two pairs of tied risks': (UNO_TIME, UNO_EVENT, (5, 8, 11, 11, 34, 12, 11, 9, 12, 20), None, 0.387865723332956),
    'truncated': (UNO_TIME, (0, 1, 1, 0, 1, 0, 1, 1, 1, 1), (5, 8, 11, 19, 34, 12, 3, 9, 12, 18), 45.25,
                  0.347890361949191),
    'tied events': ((1, 5, 6, 11, 11, 34, 45, 45, 50, 55), (0, 1, 0, 1, 1, 0, 1, 0, 0, 1),
                    (5, 8, 11, 19, 34, 12, 3, 9, 12, 18), None, 0.4036321031048623),
    'tied events and times': ((34, 11, 11, 5, 1, 89, 13, 45, 7, 13, 9, 13, 90), (1, 0, 0, 0, 1, 0, 1, 1, 0, 0, 0, 1, 1),
                              (1, 19, 13, 13, 15, 14, 19, 23, 11, 10, 11, 1, 18), None, 0.46795357052737824)}


@pytest.mark.parametrize('name', UNO)
def test_uno(name):
    time, event, risk, tau, want = UNO[name]
    got = concordance.uno(np.array(time), np.array(event, bool), np.array(risk, float), tau)
    assert float(got) == pytest.approx(want, abs=1e-7)


def uno_by_pairs(train, test, risk, tau=np.inf):
    """Uno's C by a loop over pairs, with the censoring distribution of other cases."""
    train_time, train_event = (np.array(part) for part in train)

    def uncensored(when):
        left = 1.0
        for at in np.unique(train_time[(train_event == 0) & (train_time <= when)]):
            lost = ((train_time == at) & (train_event == 0)).sum()
            left *= 1 - lost / ((train_time > at).sum() + lost)
        return left
    time, event = test
    held = total = 0.0
    for i in range(len(time)):
        if event[i] and time[i] < tau:
            for j in range(len(time)):
                if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                    weight = uncensored(time[i])**-2
                    held, total = held + weight * ((risk[i] > risk[j]) + (risk[i] == risk[j]) / 2), total + weight
    return held / total


TRAIN = (2, 4, 6, 8, 10, 11, 15, 19), (0, 1, 0, 1, 0, 0, 0, 0)


@pytest.mark.parametrize('test, risk, tau, want', [
    (((1, 3, 5, 8, 12, 13), (1, 0, 0, 1, 1, 1)), (5, 8, 13, 11, 9, 4), 19, 0.7543736528146774),
    (((1, 3, 5, 7, 12, 13, 20), (1, 0, 0, 1, 1, 0, 0)), (5, 8, 13, 11, 9, 7, 4), np.inf, 0.8126567565914234)])
def test_convention_censoring_distribution(test, risk, tau, want):
    """scikit-survival estimates the censoring distribution on training cases, medjax on the evaluated cases."""
    assert uno_by_pairs(TRAIN, test, risk, tau) == pytest.approx(want)
    got = concordance.uno(np.array(test[0]), np.array(test[1], bool), np.array(risk, float),
                          None if np.isinf(tau) else tau)
    assert float(got) == pytest.approx(uno_by_pairs(test, test, risk, tau)) and float(got) != pytest.approx(want)


AUC_TIME = np.array([10.88, 19.78, 40.92, 98.7, 70.19, 10.15, 28.95, 29.57, 17.9, 63.78, 36.22, 83.14, 13.69, 99.51,
                     3.19])
AUC_EVENT = np.array([1, 0, 1, 0, 1, 1, 1, 1, 1, 0, 0, 1, 0, 0, 1], bool)
AUC_RISK = np.array([-1.019, -0.016, 0.132, 0.269, -0.777, -1.077, 0.894, -1.227, -0.417, 0.072, -1.275, -0.91, -0.825,
                     -0.292, -0.045])


@pytest.mark.parametrize('horizon, want', [(28, 0.362963), (15, 0.3030303), (66, 0.45), (3.19, 0.6428571),
                                           (99.51 - 1e-6, 0.3162996)])
def test_cumulative_dynamic_auc(horizon, want):
    got = survival.cumulative_dynamic_auc(AUC_TIME, AUC_EVENT, AUC_RISK, horizon)
    assert float(got) == pytest.approx(want, abs=1e-6)
    whole = survival.cumulative_dynamic_auc((100 * AUC_TIME).round().astype(int), AUC_EVENT, AUC_RISK,
                                            round(100 * horizon))
    assert horizon == 99.51 - 1e-6 or float(whole) == pytest.approx(want, abs=1e-6)


@pytest.mark.parametrize('scores', [
    [[1, 6, 18, 56, 32, 3, 99, 7, 67, 541], [6, 9, 11, 5, 3, 12, 56, 56.1, 81, 77],
     [13, 11, 12, 76, 55, 134, 70, 78, 75, 99]],
    [[1, 6, 7, 56, 32, 3, 99, 7, 79, 17], [3, 6, 11, 5, 17, 12, 17, 56.1, 81, 77],
     [13, 11, 12, 17, 17, 134, 70, 78, 13, 99]]])
def test_auc_without_censoring_is_that_of_scikit_learn(scores):
    time = np.array([7, 9, 11, 12, 13, 15, 28, 39, 41, 76])
    for horizon, score in zip((10, 14, 40), scores):
        got = survival.cumulative_dynamic_auc(time, np.ones(10, bool), -np.array(score, float), horizon)
        assert float(got) == pytest.approx(roc_auc_score(time > horizon, score))


CONTROL = (1, 1, 2, 2, 3, 4, 4, 5, 5, 8, 8, 8, 8, 11, 11, 12, 12, 15, 17, 22, 23), (1,) * 21
TREATED = (6, 6, 6, 7, 10, 13, 16, 22, 23, 6, 9, 10, 11, 17, 19, 20, 25, 32, 32, 34, 25), (1,) * 9 + (0,) * 12


@pytest.mark.parametrize('time, event, group, chi2, p', [
    ((10, 20, 30, 10, 20, 50), (1,) * 6, (1, 1, 1, 0, 0, 0), 0.254237, 0.614107),  # from R
    ((10, 20, 30, 10, 20, 50), (1, 0, 1, 1, 0, 1), (1, 1, 1, 0, 0, 0), 0.384615, 0.535143),  # from R
    (CONTROL[0] + TREATED[0], CONTROL[1] + TREATED[1], (0,) * 21 + (1,) * 21, 16.79, 4.17e-5)])
def test_logrank(time, event, group, chi2, p):
    got, df, found = survival.logrank(np.array(time), np.array(event, bool), np.array(group))
    assert (got, found) == (pytest.approx(chi2, abs=0.01 if chi2 > 1 else 1e-6), pytest.approx(p, rel=2e-3)) and df == 1


RIT = (53, 28, 69, 58, 54, 25, 51, 61, 57, 57, 50), (1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0)
OTHERS = (34, 32, 9, 19, 50, 48), (1, 1, 1, 1, 0, 0)


def test_glioma_against_r():
    """Grade 3 glioma with and without radioimmunotherapy: Kaplan–Meier, log-log interval and log-rank test by R."""
    value, _, _ = survival.kaplan_meier(np.array(RIT[0]), np.array(RIT[1], bool)).at(np.array([25, 53]))
    np.testing.assert_allclose(value, [0.909, 0.779], rtol=1e-2)
    value, low, high = survival.kaplan_meier(np.array(OTHERS[0]), np.array(OTHERS[1], bool)).at(
        np.array([9, 19, 32, 34]))
    np.testing.assert_allclose(value, [0.833, 0.667, 0.5, 0.333], rtol=1e-2)
    np.testing.assert_allclose(low, [0.2731, 0.1946, 0.1109, 0.0461], rtol=1e-2)
    np.testing.assert_allclose(high, [0.975, 0.904, 0.804, 0.676], rtol=1e-2)
    time, event = np.array(RIT[0] + OTHERS[0]), np.array(RIT[1] + OTHERS[1], bool)
    assert survival.logrank(time, event, np.arange(17) < 11)[2] == pytest.approx(0.0138, abs=1e-4)


@pytest.mark.parametrize('until, want', [(4.0, 1 + 0.8 + 0.6 + 0.4), (4.1, 1 + 0.8 + 0.6 + 0.4 + 0.02), (10.0, 4.0),
                                         (10.001, 4.0)])
def test_lifelines_restricted_mean_survival_time(until, want):
    """The area below the Kaplan–Meier curve of the times 1, 2, 3, 4 and 10; the whole of it is their mean."""
    curve = survival.kaplan_meier(np.array([1, 2, 3, 4, 10]), np.ones(5, bool))
    times = np.append(np.append(0.0, curve.times[curve.times < until]), until)
    assert (np.diff(times) * curve.at(times[:-1])[0]).sum() == pytest.approx(want)


def test_lifelines_nelson_aalen():
    """The baseline hazard of patients with equal risks, summed: events over patients at risk."""
    time, event = np.array([10.0, 8, 7, 12, 4, 2, 4]), np.array([1, 1, 1, 0, 1, 1, 1])
    times = np.unique(time)
    got = breslow_baseline(np.zeros((7, 1, 1)), time, event, times).cumsum(1)[0]
    np.testing.assert_allclose(got, np.cumsum([1 / 7, 2 / 6, 1 / 4, 1 / 3, 1 / 2, 0]))
