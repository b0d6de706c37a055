"""The jackknife and the entry of a metric with its interval, against textbook formulas."""

import numpy as np
import pytest
from scipy import stats

from medjax.statistics import intervals, scales


def test_all_cases_of_a_patient_are_left_out_together():
    rows = intervals.left_out(np.array([3, 3, 8, 1, 8]))
    assert rows.tolist() == [[1] * 5, [1, 1, 1, 0, 1], [0, 0, 1, 1, 1], [1, 1, 0, 1, 0]]
    many = intervals.left_out(np.arange(250))[1:]
    assert len(many) == intervals.LEFT_OUT and set((many == 0).sum(1)) == {2, 3}
    assert (many == 0).sum(0).tolist() == [1] * 250
    assert intervals.left_out(np.zeros(0, int)).shape == (1, 0)


def means(values, weight):
    return (weight * values).sum(-1) / weight.sum(-1)


def test_error_and_freedom_of_a_mean_by_the_textbook():
    values = np.random.default_rng(3).lognormal(0, 0.7, 30)
    error, freedom = intervals.jackknife(means(values, intervals.left_out(np.arange(30))), 30)
    assert error == pytest.approx(values.std(ddof=1) / np.sqrt(30))
    # Satterthwaite: 2 / (variance of s² / σ⁴), by SciPy's kurtosis that is unbiased for normal values.
    assert freedom == pytest.approx(2 / (stats.kurtosis(values, bias=False) / 30 + 2 / 29))
    assert (error, freedom) == pytest.approx(intervals.mean_error(values)) and freedom < 20
    flat = np.linspace(0, 1, 30)  # lighter tails than normal: Student's degrees of freedom
    assert intervals.mean_error(flat)[1] == 29
    assert intervals.mean_error(np.r_[np.zeros(29), 1.0])[1] == intervals.LEAST_FREEDOM


def test_groups_of_many_patients_and_cases_that_do_not_count():
    values = np.random.default_rng(4).normal(0, 1, 2500)
    error, _ = intervals.jackknife(means(values, intervals.left_out(np.arange(2500))), 2500)
    assert error == pytest.approx(values.std() / 50, rel=0.15)
    # Of 40 patients 12 count: leaving out the others has no influence, and does not make the error smaller.
    weight = intervals.left_out(np.arange(40))
    error, freedom = intervals.jackknife(means(values[:12], weight[:, :12]), 12)
    assert (error, freedom) == pytest.approx(intervals.mean_error(values[:12]))
    assert np.isnan(intervals.jackknife(np.array([0.5, 0.4, np.nan, 0.6]), 3)).all()


def test_columns_are_computed_together():
    samples = np.random.default_rng(5).normal(size=(21, 4))
    samples[1:9, 1] = samples[0, 1]  # patients without influence on one of the metrics
    error, freedom = intervals.jackknife(samples, 14)
    for place in range(4):
        np.testing.assert_allclose((error[place], freedom[place]), intervals.jackknife(samples[:, place], 14))


@pytest.mark.parametrize('name, low, high', [
    ('bias_x', 0.6 - 0.2, 0.6 + 0.2), ('gain_dice_ridge', 0.4, 0.8),
    ('dice_liver', *1 / (1 + np.exp(-(np.log(1.5) + np.array([-1, 1]) * 0.2 / 0.24)))),
    ('rmse', 0.6 * np.exp(-1 / 3), 0.6 * np.exp(1 / 3)),
    ('false_positives', (0.6**0.5 - 0.1 / 0.6**0.5)**2, (0.6**0.5 + 0.1 / 0.6**0.5)**2),
    ('pearson', *np.tanh(np.arctanh(0.6) + np.array([-1, 1]) * 0.2 / 0.64)),
    ('r2_size', 1 - 0.4 * np.exp(0.5), 1 - 0.4 * np.exp(-0.5))])
def test_limits_on_the_scale_of_a_metric(name, low, high):
    found = scales.of_metric(name).limits(np.array([0.6, 0.6]), np.array([0.2, 0.0]))
    np.testing.assert_allclose(found[:, 0], [low, high])
    np.testing.assert_allclose(found[:, 1], [0.6, 0.6])


def test_limits_at_an_end_of_the_scale_are_cut_off():
    assert scales.LOGIT.limits(1.0, 0.2).tolist() == [0.8, 1.0]
    assert scales.LOG.limits(0.0, 0.2).tolist() == [0.0, 0.2]


def test_an_interval_over_more_than_a_factor_of_ten_is_none():
    assert scales.LOG.limits(1.0, 2.3).round(2).tolist() == [0.1, 9.97]
    for name, value in (('hd95_liver', 1.0), ('r2', 0.0)):
        entry = intervals.entry(value, np.array([value, value - 1, value + 1]), np.arange(2), '', name)
        assert entry['ci95'] is None and entry['why'] == 'too few patients for their spread: no confidence interval'


def test_an_interval_of_normal_values_is_students():
    values = np.array([1.0, 2.0, 4.0, 5.0])
    entry = intervals.entry(3.0, means(values, intervals.left_out(np.arange(4))), np.arange(4), 'no case')
    want = stats.t.interval(0.95, 3, 3.0, values.std(ddof=1) / 2)
    assert entry['ci95'] == pytest.approx(want) and entry['method'] == 'jackknife'
    assert (entry['value'], entry['n'], entry['cases'], entry['unit']) == (3.0, 4, 4, 'patient')


def test_entries_in_another_unit():
    one = intervals.entry(0.5, np.full(2, 0.5), np.zeros(3), 'no case')
    found = {'test': {'auroc': one, 'ape': {'value': 1.0, 'unit': 'molecule'}},
             'analysis': {'groups': [one], 'unit': 3}}
    other = intervals.in_unit(found, 'image')
    assert other['test']['auroc'] == {**one, 'unit': 'image', 'why': 'one image: no confidence interval'}
    assert other['analysis'] == {'groups': [other['test']['auroc']], 'unit': 3}
    assert other['test']['ape'] == found['test']['ape'] and one['unit'] == 'patient'


@pytest.mark.parametrize('value, without, patients, why', [
    (np.nan, [0.4, 0.6], [0, 1], 'no case'), (0.5, [np.nan], [4, 4], 'one patient: no confidence interval'),
    (0.5, [0.5, 0.5], [0, 1], 'equal without each patient: no confidence interval'),
    (0.5, [0.4, np.nan, 0.6], [0, 1, 2], 'not defined without some patient (no case): no confidence interval')])
def test_an_entry_without_an_interval_has_the_reason(value, without, patients, why):
    entry = intervals.entry(value, np.array([0.5, *without]), np.array(patients), 'no case')
    assert entry['ci95'] is None and entry['why'] == why and 'method' not in entry


def coverage(draw, truth, name, sets=1500):
    rng, held = np.random.default_rng(7), []
    for _ in range(sets):
        values = draw(rng)
        reach = intervals.limits(values.mean(), *intervals.mean_error(values), scales.of_metric(name))
        held.append(reach[0] <= truth <= reach[1])
    return np.mean(held)


@pytest.mark.parametrize('name, draw, truth', [
    ('dice', lambda rng: rng.beta(12, 2, 20), 12 / 14), ('hd95', lambda rng: rng.lognormal(1, 0.5, 20), np.exp(1.125)),
    ('psnr', lambda rng: rng.normal(30, 2, 20), 30.0), ('brier', lambda rng: rng.beta(0.4, 1.5, 20), 0.4 / 1.9),
    ('mae', lambda rng: rng.normal(0, 0.7, 20)**2, 0.49)])
def test_intervals_of_twenty_patients_contain_the_truth(name, draw, truth):
    """Of means of bounded, skewed and normal values, and of squares; their standard error here is 0.006."""
    assert 0.93 < coverage(draw, truth, name) < 0.97
