import numpy as np
import pytest
from scipy import stats

from medjax.errors import InputError
from medjax.statistics.per_patient import missing_test, summarise


def rows(values, patients=None, **columns):
    patients = patients or [f'p{i}' for i in range(len(values))]
    return [{'id': f'c{i}', 'patient': patient, 'dice_tumour': value, **{k: v[i] for k, v in columns.items()}}
            for i, (value, patient) in enumerate(zip(values, patients))]


def one(*args, **kwargs):
    return summarise(rows(*args, **kwargs), ['dice_tumour'])['dice_tumour']


def test_interval_of_two_patients_by_hand():
    # Error 0.3 with one degree of freedom: 12.7 × 0.3 from 0.5; of a Dice on the logit scale, whose slope is 4.
    entry, reach = one([0.2, 0.8]), stats.t.ppf(0.975, 1) * 0.3
    assert entry['ci95'] == pytest.approx([1 / (1 + np.exp(4 * reach)), 1 / (1 + np.exp(-4 * reach))])
    assert entry['value'] == 0.5 and entry['n'] == 2 and entry['method'] == 't'
    gain = summarise([{'id': k, 'gain_dice': k} for k in (0.2, 0.8)], ['gain_dice'])['gain_dice']
    assert gain['ci95'] == pytest.approx([0.5 - reach, 0.5 + reach])
    equal = one([0.7, 0.7, 0.7])
    assert equal['ci95'] is None and equal['sd'] == 0
    assert equal['why'] == 'equal for all patients: no confidence interval'
    assert entry['sd'] == pytest.approx(np.std([0.2, 0.8], ddof=1)) and 'why' not in entry


def test_patients_are_the_unit():
    # Ten cases of one patient at 1 weigh as much as the one case of the other at 0.
    entry = one([1.0] * 10 + [0.0], ['many'] * 10 + ['few'])
    assert entry['value'] == 0.5 and entry['n'] == 2 and entry['cases'] == 11
    assert entry['ci95'] == pytest.approx([0.0, 1.0], abs=1e-9)
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


def test_the_share_of_failures_has_an_exact_interval():
    flags = dict.fromkeys(('missed_tumour', 'spurious_tumour'), [0.0] * 20)
    none = one(list(np.linspace(0.7, 0.9, 20)), **flags)
    assert none['failures95'] == pytest.approx([0, stats.binomtest(0, 20).proportion_ci().high])
    assert none['ci95'][0] > 0.75  # of structures that are neither missed nor spurious
    missed = {**flags, 'missed_tumour': [1.0, *[0.0] * 19]}
    limits = stats.binomtest(1, 18).proportion_ci()  # two cases without a value do not count
    found = one([0.0, *np.linspace(0.7, 0.9, 17), '', ''], **missed)
    assert found['failures95'] == pytest.approx([limits.low, limits.high]) and found['ci95'][0] < 0.6


def test_splits_of_test_cases_are_known_by_their_name():
    assert missing_test(['val', 'test_scanner2']) == missing_test(['test']) == []
    assert missing_test(['val', 'train']) == ['no test cases: no metrics of test cases']
