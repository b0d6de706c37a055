"""Bootstrap multiplicities, and the entry of a metric with its interval."""

import numpy as np
import pytest
from scipy import stats

from medjax.statistics import intervals


def test_all_cases_of_a_patient_are_drawn_together():
    for drawn in intervals.multiplicities(np.array([3, 3, 8, 1, 8]), 50, 0)[:50]:
        assert drawn[0] == drawn[1] and drawn[2] == drawn[4] and drawn[[0, 2, 3]].sum() == 3
    a, b = (intervals.multiplicities(np.arange(9), 4, 0) for _ in range(2))
    np.testing.assert_array_equal(a, b)
    assert intervals.multiplicities(np.zeros(0, int), 4, 0).shape == (4 + 1 + intervals.LEFT_OUT, 0)


def test_the_last_rows_leave_out_a_patient_each():
    rows = intervals.multiplicities(np.array([3, 3, 8, 1, 8]), 4, 0)[4:]
    assert rows[:4].tolist() == [[1] * 5, [1, 1, 1, 0, 1], [0, 0, 1, 1, 1], [1, 1, 0, 1, 0]] and (rows[4:] == 1).all()
    many = intervals.multiplicities(np.arange(250), 0, 0)[1:]
    assert (many == 0).sum() == 250 and (many == 0).sum(0).max() == 1 and set((many == 0).sum(1)) == {2, 3}


def test_blocks_draw_the_same(monkeypatch):
    whole = intervals.multiplicities(np.arange(9), 20, 3)
    monkeypatch.setattr(intervals, 'BLOCK', 30)
    np.testing.assert_array_equal(intervals.multiplicities(np.arange(9), 20, 3), whole)


def test_entries_in_another_unit():
    one = intervals.entry(0.5, np.full(200, 0.5), np.zeros(3), 'no case')
    found = {'test': {'auroc': one, 'ape': {'value': 1.0, 'unit': 'molecule'}},
             'analysis': {'groups': [one], 'unit': 3}}
    other = intervals.in_unit(found, 'image')
    assert other['test']['auroc'] == {**one, 'unit': 'image', 'why': 'one image: no confidence interval'}
    assert other['analysis'] == {'groups': [other['test']['auroc']], 'unit': 3}
    assert other['test']['ape'] == found['test']['ape'] and one['unit'] == 'patient'


def samples(drawn, whole, left_out=()):
    return np.concatenate([drawn, [whole], left_out, np.full(intervals.LEFT_OUT - len(left_out), whole)])


def test_limits_are_those_of_bca_with_the_levels_of_t():
    """Against SciPy's BCa interval, at the level whose normal percentile is that of t."""
    values = np.random.default_rng(3).lognormal(0, 0.7, 30)
    draws = intervals.multiplicities(np.arange(30), 20000, 0)

    def spread(x, axis=-1):
        return x.std(axis)
    means, squares = draws @ values / draws.sum(1), draws @ values**2 / draws.sum(1)
    got = intervals.bca_limits(np.sqrt(squares - means**2), 30)
    level = stats.norm.cdf(stats.t.ppf(0.975, 29) * np.sqrt(30 / 29))
    want = stats.bootstrap((values,), spread, confidence_level=2 * level - 1, n_resamples=20000,
                           rng=2).confidence_interval
    np.testing.assert_allclose(got, want, atol=0.05 * (want.high - want.low))
    assert got[1] - values.std() > 1.2 * (values.std() - got[0])


def test_limits_of_a_mean_are_students():
    values = np.random.default_rng(4).normal(0, 1, 15)
    draws = intervals.multiplicities(np.arange(15), 20000, 0)
    low, high = stats.t.interval(0.95, 14, values.mean(), values.std(ddof=1) / np.sqrt(15))
    np.testing.assert_allclose(intervals.bca_limits(draws @ values / draws.sum(1), 15), [low, high],
                               atol=0.08 * (high - low))


def test_an_entry_has_limits_and_counts():
    patients = np.array([0, 0, 1, 2])
    entry = intervals.entry(0.5, samples(np.linspace(0, 1, 101), 0.5), patients, 'no case')
    # The level of t with 2 degrees of freedom, times √(3 / 2).
    level = stats.norm.cdf(-stats.t.ppf(0.975, 2) * np.sqrt(1.5))
    assert entry['ci95'] == pytest.approx([level, 1 - level]) and entry['method'] == 'BCa'
    assert (entry['value'], entry['n'], entry['cases']) == (0.5, 3, 4)
    assert (entry['unit'], entry['resamples']) == ('patient', 101)
    equal = intervals.entry(0.5, samples(np.full(101, 0.5), 0.5), patients, 'no case')
    assert equal['ci95'] is None and equal['why'] == 'equal in all resamples: no confidence interval'
    outside = intervals.entry(2.0, samples(np.linspace(0, 1, 101), 0.5), patients, 'no case')
    assert outside['ci95'][1] == 2.0


@pytest.mark.parametrize('value, undefined, patients, why', [
    (np.nan, 0, [0, 1], 'no case'), (0.5, 0, [4, 4], 'one patient: no confidence interval'),
    (0.5, 30, [0, 1], 'not defined in 30 of 100 resamples (no case): no confidence interval')])
def test_an_entry_without_an_interval_has_the_reason(value, undefined, patients, why):
    drawn = samples(np.r_[np.full(undefined, np.nan), np.linspace(0, 1, 100 - undefined)], value)
    entry = intervals.entry(value, drawn, np.array(patients), 'no case')
    assert entry['ci95'] is None and entry['why'] == why and 'method' not in entry
