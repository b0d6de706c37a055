"""Survival curves and metrics by hand, and their invariants."""

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from medjax.metrics import concordance, survival
from tests.metrics import ipcw
from tests.metrics.cohorts import EVENT, TIME, cohort, concordances


def every(weight, data):
    """All scores, by name, as `[..., k]`."""
    time, kind, risk, curves, at = data
    event, other = kind == 1, kind == 2
    each = {**concordances(weight, data),
            'auc': survival.cumulative_dynamic_auc(time, event, risk, 5.0, weight),
            'auc, competing': survival.cumulative_dynamic_auc(time, event, risk, 5.0, weight, other),
            'brier': survival.brier(time, event, curves, at, weight),
            'brier, competing': survival.brier(time, event, curves, at, weight, other),
            'ibs': survival.integrated_brier(time, event, curves, at, weight)}
    for name, curve in (('km', survival.kaplan_meier(time, event, weight)),
                        ('aj', survival.aalen_johansen(time, kind, 2, weight))):
        each |= {f'{name} {part}': array for part, array in zip(('value', 'low', 'high'), curve.at(np.append(at, 0.5)))}
    return each


def test_kaplan_meier_by_hand():
    curve = survival.kaplan_meier(np.array([1.0, 2, 2, 3, 4]), np.array([1, 1, 0, 0, 1], bool))
    assert curve.times.tolist() == [1, 2, 3, 4] and curve.at_risk.tolist() == [5, 4, 2, 1]
    assert curve.values == pytest.approx(np.array([0.8, 0.6, 0.6, 0]))
    assert curve.variance[1] == pytest.approx(0.36 * (1 / 20 + 1 / 12))
    factor = np.exp(1.959964 * np.sqrt(1 / 20 + 1 / 12) / np.log(0.6))
    assert (curve.low[1], curve.high[1]) == pytest.approx((0.6 ** (1 / factor), 0.6 ** factor), rel=1e-6)
    assert (curve.low[3], curve.high[3]) == (0, 0)
    value, _, _ = curve.at(np.array([0, 0.99, 1, 2.5, 9]))
    assert value == pytest.approx(np.array([1, 1, 0.8, 0.6, 0]))
    assert curve.complement().at(0.5)[0] == 0 and curve.complement().low[1] == 1 - curve.high[1]


def test_aalen_johansen_by_hand():
    """The one at risk at last has event 1 for sure, and with it the half that was left."""
    time, event = np.array([1.0, 2, 3, 4]), np.array([1, 2, 0, 1])
    one, two = (survival.aalen_johansen(time, event, of) for of in (1, 2))
    assert one.values == pytest.approx(np.array([0.25, 0.25, 0.25, 0.75]))
    assert two.values == pytest.approx(np.array([0, 0.25, 0.25, 0.25]))


@pytest.mark.parametrize('seed', range(4))
def test_incidences_and_survival_sum_to_one(seed):
    time, kind, *_ = cohort(seed)
    left = survival.kaplan_meier(time, kind > 0).values
    parts = [survival.aalen_johansen(time, kind, of) for of in (1, 2)]
    assert left + parts[0].values + parts[1].values == pytest.approx(np.ones(len(left)))


def test_the_incidence_of_an_only_event_is_one_less_kaplan_meier_with_greenwoods_variance():
    time, kind, *_ = cohort(1, kinds=2)
    estimate, survived = survival.aalen_johansen(time, kind, 1), survival.kaplan_meier(time, kind == 1)
    assert estimate.values == pytest.approx(1 - survived.values)
    assert estimate.variance == pytest.approx(survived.variance, abs=1e-12)


def test_without_censoring_survival_is_the_share_still_without():
    time = cohort(2)[0]
    curve = survival.kaplan_meier(time, np.ones(len(time), bool))
    assert curve.values == pytest.approx(np.array([(time > t).mean() for t in curve.times]), abs=1e-12)
    assert curve.variance == pytest.approx(curve.values * (1 - curve.values) / len(time), abs=1e-12)


def test_logrank_by_hand():
    """Events 1 to 4 in turn in two groups: of group 0 one half, a third, one half and none are expected."""
    chi2, df, p = survival.logrank(np.array([1.0, 2, 3, 4]), np.ones(4, bool), np.array([0, 1, 0, 1]))
    want = (2 - 4 / 3) ** 2 / (1 / 4 + 2 / 9 + 1 / 4)
    assert (chi2, df, p) == pytest.approx((want, 1, stats.chi2.sf(want, 1)))


def test_logrank_leaves_out_a_group_that_was_never_at_risk():
    """One that is censored before the first event says nothing."""
    time, event, group = np.array([1.0, 2, 3, 4, 0.5]), np.array([1, 1, 1, 1, 0], bool), np.array([0, 1, 0, 1, 2])
    assert survival.logrank(time, event, group) == survival.logrank(time[:4], event[:4], group[:4])
    for none in (survival.logrank(time, event, np.zeros(5)), survival.logrank(time, np.zeros(5, bool), group)):
        assert np.isnan(none[0]) and np.isnan(none[2])


def test_scores_at_a_horizon_by_hand():
    """At 2: two events with 1 / G of 1 and 2, one case beyond with 2, and one censored that is not counted."""
    left = np.array([[0.2], [0.6], [0.5], [0.7]])
    got = survival.brier(TIME, EVENT, left, np.array([2.0]))
    assert got == pytest.approx((0.2 ** 2 + 2 * 0.6 ** 2 + 2 * 0.3 ** 2) / 4)
    auc = lambda *score: survival.cumulative_dynamic_auc(TIME, EVENT, np.array(score), 2.0)
    assert auc(0.9, 0.3, 0.0, 0.5) == pytest.approx(1 / 3) and auc(0.9, 0.5, 0.0, 0.5) == pytest.approx(2 / 3)


def test_after_a_competing_event_a_case_never_has_the_event():
    """The second has another event at 2, the third is censored at 3 with one left: G is .5 from there."""
    time, event, other = np.array([1.0, 2, 3, 4]), np.array([1, 0, 0, 1], bool), np.array([0, 1, 0, 0], bool)
    left = np.array([[0.2], [0.6], [0.5], [0.7]])
    got = survival.brier(time, event, left, np.array([3.5]), competing=other)
    assert got == pytest.approx((0.2 ** 2 + 0.4 ** 2 + 2 * 0.3 ** 2) / 4)
    auc = survival.cumulative_dynamic_auc(time, event, np.array([0.5, 0.8, 0.0, 0.1]), 3.5, competing=other)
    assert auc == pytest.approx(2 / 3)
    # Another event censors nobody: with events at 1 and 3, three of four pairs are right, and count the same.
    auc = survival.cumulative_dynamic_auc(time, np.array([1, 0, 1, 0], bool), np.array([0.3, 0.4, 0.9, 0.1]), 3.5,
                                          competing=other)
    assert auc == pytest.approx(3 / 4)


def test_without_censoring_scores_are_those_of_plain_classification():
    time, _, risk, curves, at = cohort(3)
    event = np.ones(len(time), bool)
    assert concordance.uno(time, event, risk) == concordance.harrell(time, event, risk)
    assert survival.brier(time, event, curves, at) == pytest.approx(
        (((time[:, None] > at) - curves) ** 2).mean(0), abs=1e-12)
    assert survival.cumulative_dynamic_auc(time, event, risk, 5.0) == pytest.approx(
        metrics.roc_auc_score(time <= 5, risk))


def test_the_integral_of_a_constant_score_is_that():
    time, event, at = np.arange(1.0, 9), np.ones(8, bool), np.array([1.0, 2, 6])
    assert survival.integrated_brier(time, event, np.full((8, 3), 0.5), at) == pytest.approx(0.25)


@pytest.mark.parametrize('seed', range(3))
def test_a_weight_counts_as_so_many_cases(seed):
    """What a bootstrap does: each of a block of draws is the table with cases left out and repeated."""
    data = cohort(seed)
    weight = np.random.default_rng(seed).multinomial(60, np.full(60, 1 / 60), (2, 3)).astype(np.uint8)
    got = every(weight, data)
    for place in np.ndindex(2, 3):
        times = np.repeat(np.arange(60), weight[place])
        time, kind, risk, curves, at = data
        want = every(None, (time[times], kind[times], risk[times], curves[times], at))
        for name, value in want.items():
            assert got[name][place] == pytest.approx(value, abs=1e-10, nan_ok=True), name
    one = every(weight[1, 2], data)
    assert all(got[name][1, 2] == pytest.approx(one[name], abs=1e-12, nan_ok=True) for name in got)


def test_undefined_metrics_are_nan():
    none, risk, at = np.zeros(4, bool), np.arange(4.0), np.array([2.0])
    for score in (concordance.harrell, concordance.uno):
        assert np.isnan(score(TIME, none, risk)) and np.isnan(score(TIME[:1], EVENT[:1], risk[:1]))
        assert np.isnan(score(np.ones(4), np.ones(4, bool), risk))
    assert np.isnan(survival.cumulative_dynamic_auc(TIME, none, risk, 2.0))
    assert np.isnan(survival.cumulative_dynamic_auc(TIME, EVENT, risk, 3.0))
    assert np.isnan(survival.brier(TIME, EVENT, np.ones((4, 1)), at, np.zeros(4))).all()
    # A draw without any event, beside one with: each by itself.
    both = concordance.harrell(TIME, EVENT, np.array([4.0, 3, 2, 1]), np.array([[0, 0, 2, 0], [1, 1, 1, 1]]))
    assert np.isnan(both[0]) and both[1] == 1


def test_weights_of_a_horizon_by_definition():
    rng = np.random.default_rng(2)
    time, ended = np.ceil(rng.exponential(4, 60)), rng.random(60) < 0.5  # with ties of events and censorings
    np.testing.assert_allclose(survival.horizon_weights(time, ended, 5.0), ipcw.horizon_weights(time, ended, 5.0))
    times = rng.integers(0, 3, 60)
    repeated = np.repeat(np.arange(60), times)
    want = survival.horizon_weights(time[repeated], ended[repeated], 5.0)
    np.testing.assert_allclose(survival.horizon_weights(time, ended, 5.0, times[None])[0, repeated], want)


def test_weights_of_a_horizon_remove_the_bias_of_censoring():
    rng = np.random.default_rng(0)
    event, censored = rng.exponential(4, 20000), rng.uniform(0, 4, 20000)
    time, ended = np.minimum(event, censored), event <= censored
    weight, hit = survival.horizon_weights(time, ended, 2.0), (time <= 2.0) & ended
    truth = 1 - np.exp(-2 / 4)  # .393
    assert np.average(hit, weights=weight) == pytest.approx(truth, abs=0.01)
    assert hit[weight > 0].mean() > truth + 0.05  # of the cases whose outcome is known
