"""Bootstrap multiplicities, and the entry of a metric with its interval."""

import numpy as np
import pytest

from medjax.statistics import intervals


def test_all_cases_of_a_patient_are_drawn_together():
    for drawn in intervals.multiplicities(np.array([3, 3, 8, 1, 8]), 50, 0):
        assert drawn[0] == drawn[1] and drawn[2] == drawn[4] and drawn[[0, 2, 3]].sum() == 3
    a, b = (intervals.multiplicities(np.arange(9), 4, 0) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert intervals.multiplicities(np.zeros(0, int), 4, 0).shape == (4, 0)


def test_blocks_draw_the_same(monkeypatch):
    whole = intervals.multiplicities(np.arange(9), 20, 3)
    monkeypatch.setattr(intervals, 'BLOCK', 30)
    np.testing.assert_array_equal(intervals.multiplicities(np.arange(9), 20, 3), whole)


def test_an_entry_has_percentiles_and_counts():
    samples, patients = np.linspace(0, 1, 101), np.array([0, 0, 1, 2])
    entry = intervals.entry(0.5, samples, patients, 'no case')
    assert entry['ci95'] == pytest.approx([0.025, 0.975]) and entry['method'] == 'bootstrap'
    assert (entry['value'], entry['n'], entry['cases']) == (0.5, 3, 4)
    assert (entry['unit'], entry['resamples']) == ('patient', 101)


@pytest.mark.parametrize('value, undefined, patients, why', [
    (np.nan, 0, [0, 1], 'no case'), (0.5, 0, [4, 4], 'one patient: no confidence interval'),
    (0.5, 30, [0, 1], 'not defined in 30 of 100 resamples (no case): no confidence interval')])
def test_an_entry_without_an_interval_has_the_reason(value, undefined, patients, why):
    samples = np.r_[np.full(undefined, np.nan), np.ones(100 - undefined)]
    entry = intervals.entry(value, samples, np.array(patients), 'no case')
    assert entry['ci95'] is None and entry['why'] == why and 'method' not in entry
