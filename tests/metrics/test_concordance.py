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
    monkeypatch.setattr(concordance, 'BLOCK', 3)
    assert all(value == pytest.approx(whole[name], abs=1e-12) for name, value in concordances(None, data).items())


@pytest.mark.parametrize('block', [1, 7, 1024])
@pytest.mark.parametrize('decimals', [0, 6])
def test_cases_of_one_patient_are_no_pair(monkeypatch, block, decimals):
    """Three cases of each patient, with ties of times and risks, and weights, against two loops."""
    monkeypatch.setattr(concordance, 'BLOCK', block)
    time, kind, risk, *_ = cohort(3, decimals=decimals)
    event, patients, n = kind == 1, np.arange(60) % 20, 60
    weight = np.random.default_rng(0).integers(0, 3, (4, n))
    right, total, plain = np.zeros(4), np.zeros(4), np.zeros(2)
    for i in np.flatnonzero(event):
        for j in range(n):
            if time[j] > time[i] or (time[j] == time[i] and not event[j]):
                score = (risk[i] > risk[j]) + (risk[i] == risk[j]) / 2
                plain += score, 1
                if patients[i] != patients[j]:
                    right, total = right + weight[:, i] * weight[:, j] * score, total + weight[:, i] * weight[:, j]
    np.testing.assert_allclose(concordance.harrell(time, event, risk, weight, patients), right / total, rtol=1e-12)
    np.testing.assert_allclose(concordance.antolini(time, event, lambda at: np.repeat(risk[:, None], len(at), 1),
                                                    weight=weight, patients=patients), right / total, rtol=1e-12)
    assert concordance.harrell(time, event, risk) == pytest.approx(plain[0] / plain[1], abs=1e-12)
    assert plain[0] / plain[1] != pytest.approx(concordance.harrell(time, event, risk, patients=patients), abs=1e-6)
