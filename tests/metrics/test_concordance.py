"""Concordance indices by hand, and their invariants."""

import numpy as np
import pytest

from medjax.metrics import concordance
from tests.metrics.cohorts import EVENT, TIME, cohort, concordances, incidence


def test_concordance_by_hand():
    """The first event is ranked above all three; the second below the censored one, and equal to the last."""
    risk = np.array([4.0, 2, 3, 2])
    assert concordance.harrell(TIME, EVENT, risk) == 3.5 / 5
    # At 2 two are at risk of being censored and one is: G is .5 and a pair of the second event counts 4.
    assert concordance.uno(TIME, EVENT, risk) == (3 + 4 * 0.5) / (3 + 4 * 2)
    assert concordance.uno(TIME, EVENT, risk, tau=2.0) == 1
    assert concordance.uno(TIME, EVENT, risk, tau=2.1) == 5 / 11


def test_antolini_compares_the_curves_at_the_event():
    """Curves that cross between the two events: the first is right at 1, and the second below the last at 2."""
    curves = {1.0: [0.4, 0.3, 0.1, 0.3], 2.0: [0.5, 0.35, 0.35, 0.6], 3.0: [1, 1, 1, 1]}
    at = lambda times: np.array([curves[t] for t in times]).reshape(-1, 4).T
    assert concordance.antolini(TIME, EVENT, at) == (3 + 0.5) / 5
    assert concordance.antolini(TIME, EVENT, at, tau=1.0) == 1


@pytest.mark.parametrize('seed', range(4))
def test_antolini_of_proportional_hazards_is_harrells(seed):
    time, kind, risk, *_ = cohort(seed)
    assert concordance.antolini(time, kind == 1, incidence(risk)) == concordance.harrell(time, kind == 1, risk)


@pytest.mark.parametrize('seed', range(4))
def test_antolini_equals_two_loops(seed):
    time, kind, risk, *_ = cohort(seed)
    event, curve_at = kind == 1, incidence(risk, 1.0)
    right = total = 0
    for i in np.flatnonzero(event & (time <= 13)):
        now = curve_at(time[[i]])[:, 0]
        for j in range(len(time)):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                right, total = right + (now[i] > now[j]) + (now[i] == now[j]) / 2, total + 1
    assert concordance.antolini(time, event, curve_at, tau=13.0) == pytest.approx(right / total, abs=1e-12)


def test_the_right_order_scores_one_and_its_reverse_the_rest():
    time, kind, risk, *_ = cohort(4, decimals=6)
    event = kind == 1
    for score in (concordance.harrell, concordance.uno):
        assert score(time, event, -time) == 1 and score(time, event, np.zeros(len(time))) == 0.5
        assert score(time, event, -risk) == pytest.approx(1 - score(time, event, risk))


def test_a_block_of_pairs_at_a_time_gives_the_same(monkeypatch):
    data = cohort(5)
    whole = concordances(None, data)
    monkeypatch.setattr(concordance, 'PAIRS', 150)
    assert all(value == pytest.approx(whole[name], abs=1e-12) for name, value in concordances(None, data).items())


def test_cases_of_one_patient_are_no_pair():
    rng = np.random.default_rng(3)
    time, event, risk = rng.exponential(10, 40), rng.random(40) < 0.6, rng.normal(size=40)
    patients = np.arange(40) // 2
    pairs = [(i, j) for i in range(40) for j in range(40)
             if event[i] and time[j] > time[i] and patients[i] != patients[j]]
    want = np.mean([risk[i] > risk[j] for i, j in pairs])
    assert concordance.harrell(time, event, risk, patients=patients) == pytest.approx(want)
    assert concordance.antolini(time, event, lambda at: np.repeat(risk[:, None], len(at), 1),
                                patients=patients) == pytest.approx(want)
    assert concordance.harrell(time, event, risk) != pytest.approx(want)
