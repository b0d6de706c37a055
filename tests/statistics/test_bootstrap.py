import numpy as np
import pytest
from scipy import stats

from medjax.errors import InputError
from medjax.statistics import intervals
from medjax.statistics.bootstrap import mean_interval, missing_test, summarise


def rows(values, patients=None, **columns):
    patients = patients or [f'p{i}' for i in range(len(values))]
    return [{'id': f'c{i}', 'patient': patient, 'dice_tumour': value, **{k: v[i] for k, v in columns.items()}}
            for i, (value, patient) in enumerate(zip(values, patients))]


def one(*args, **kwargs):
    return summarise(rows(*args, **kwargs), ['dice_tumour'])['dice_tumour']


def test_interval_of_normal_values_is_students():
    values = np.random.default_rng(1).normal(3, 2, 60)
    low, high = stats.t.interval(0.95, 59, values.mean(), values.std(ddof=1) / np.sqrt(60))
    np.testing.assert_allclose(mean_interval(values, 20000, 0), [low, high], atol=0.06 * (high - low))


def test_interval_is_the_studentised_bootstraps():
    """The same by a loop over resamples, with the values as one more case of the variance."""
    values, draws = np.random.default_rng(2).lognormal(0, 1, 20), intervals.multiplicities(np.arange(20), 500, 0)
    ratios = []
    for times in draws[:500]:
        drawn = np.repeat(values, times)
        ratios.append((drawn.mean() - values.mean()) / np.sqrt((20 * drawn.var() + values.var()) / 21))
    low, high = np.percentile(ratios, [2.5, 97.5])
    want = values.mean() - np.array([high, low]) * values.std()
    np.testing.assert_allclose(mean_interval(values, 500, 0), want, rtol=1e-9)
    assert want[1] - values.mean() > 2 * (values.mean() - want[0])  # it reaches farther to the side of the long tail


def test_interval_of_two_patients_by_hand():
    # Both the same with probability 1/4 each: the variance is then (0 + 0.09) / 3, and the ratio ±√3; 0.3 √3 from 0.5.
    entry = one([0.2, 0.8])
    assert mean_interval(np.array([0.2, 0.8]), 2000, 0) == pytest.approx([0.5 - 0.3 * 3**0.5, 0.5 + 0.3 * 3**0.5])
    assert entry['ci95'] == [0.0, 1.0] and entry['value'] == 0.5 and entry['n'] == 2  # a Dice
    assert summarise([{'id': k, 'gain_dice': k} for k in (0.2, 0.8)], ['gain_dice'])['gain_dice']['ci95'][0] < 0
    equal = one([0.7, 0.7, 0.7])
    assert equal['ci95'] is None and equal['sd'] == 0
    assert equal['why'] == 'equal for all patients: no confidence interval'
    assert entry['sd'] == pytest.approx(np.std([0.2, 0.8], ddof=1)) and 'why' not in entry


def test_an_interval_does_not_depend_on_the_other_metrics():
    table = [{**row, 'iou_tumour': row['dice_tumour'] ** 2} for row in rows([0.1, 0.5, 0.9])]
    alone = summarise(table, ['dice_tumour'])['dice_tumour']
    assert summarise(table, ['iou_tumour', 'dice_tumour'])['dice_tumour'] == alone
    assert summarise(table, ['dice_tumour'], seed=1)['dice_tumour']['value'] == alone['value']


def test_patients_are_the_unit():
    # Ten cases of one patient at 1 weigh as much as the one case of the other at 0.
    entry = one([1.0] * 10 + [0.0], ['many'] * 10 + ['few'])
    assert entry['value'] == 0.5 and entry['n'] == 2 and entry['cases'] == 11 and entry['ci95'] == [0.0, 1.0]
    assert one([0.1, 0.9, 0.9], ['', '', ''])['n'] == 3  # without a patient each case stands for itself


def test_one_patient_has_no_interval_and_says_why():
    entry = one([0.7, 0.9], ['p', 'p'])
    assert entry['ci95'] is None and entry['sd'] is None and entry['value'] == pytest.approx(0.8)
    assert entry['n'] == 1 and entry['cases'] == 2 and entry['why'] == 'one patient: no confidence interval'


@pytest.mark.parametrize('empty', [float('nan'), None, ''])
def test_empty_values_are_left_out_and_lower_n(empty):
    entry = one([0.4, empty, 0.6, empty], ['a', 'a', 'b', 'c'])
    assert entry['value'] == 0.5 and entry['n'] == 2 and entry['cases'] == 2
    nothing = one([empty, empty])
    assert np.isnan(nothing['value']) and nothing['n'] == 0 and nothing['why'] == 'no case has a value'


def test_text_is_not_a_number():
    with pytest.raises(InputError, match="predictions: 'much'; expected a number"):
        one(['much'])


def test_an_infinite_case_has_no_mean():
    entry = one([1.0, float('inf')])
    assert np.isnan(entry['value']) and entry['ci95'] is None and 'infinite' in entry['why']


def test_missed_and_spurious_are_counted_by_class():
    table = [{'id': i, 'patient': i, 'dice_mean': 0.5, 'dice_matter': 0.5, 'dice_grey_matter': 0.5, 'accuracy': 1.0,
              'missed_matter': i < 1, 'spurious_matter': i < 2, 'missed_grey_matter': i < 3, 'spurious_grey_matter': ''}
             for i in range(5)]
    got = summarise(table, ['dice_matter', 'dice_grey_matter', 'dice_mean', 'accuracy'])
    assert {k: (v.get('missed'), v.get('spurious')) for k, v in got.items()} == {
        'dice_matter': (1, 2), 'dice_grey_matter': (3, 0), 'dice_mean': (4, 2), 'accuracy': (None, None)}


def test_splits_of_test_cases_are_known_by_their_name():
    assert missing_test(['val', 'test_scanner2']) == missing_test(['test']) == []
    assert missing_test(['val', 'train']) == ['no test cases: no metrics of test cases']
