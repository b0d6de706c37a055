"""Metrics of treatment effects: by hand, with intervals, over realisations; and damaged tables."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.tasks.treatment import summary
from medjax.tasks.treatment.table import read
from tests.tasks.treatment import treatments

ROWS = [dict(split='test', id=f'c{n}', patient=f'p{n}', treatment=t, outcome=y, outcome_if_0=a, outcome_if_1=b,
             propensity=p, matched=m, effect=e) for n, (t, y, a, b, p, m, e) in enumerate([
                 (1, 5.0, 1.0, 4.0, 0.5, 2.0, 2.0), (0, 1.0, 1.0, 2.0, 0.5, 1.0, 1.0),
                 (1, 2.0, 3.0, 2.0, 0.2, 0.0, 0.0), (0, 3.0, 2.0, 1.0, 0.0, 0.0, -3.0)])]


def test_metrics_by_hand():
    """Predicted effects are 3, 1, -1, -1; weights by the inverse propensity 2, 2, 5 and, at the limit, 1 / 0.95."""
    got = {name: float(value) for name, value in summary.compute_metrics(read(ROWS)).items()}
    edge = 1 / 0.95
    assert got == pytest.approx({
        'pehe': np.sqrt((1 + 0 + 1 + 4) / 4), 'ate_error': 0.5, 'ate_true': 0.0, 'ate': 0.5,
        'factual_rmse': np.sqrt(((1 + 0) / 2 + (0 + 1) / 2) / 2), 'pehe_matched': np.sqrt((1 + 0 + 1 + 1) / 4),
        'policy_value': (2 * 5 + edge * 3) / (2 + edge), 'value_if_none': (2 * 1 + edge * 3) / (2 + edge),
        'value_if_all': (2 * 5 + 5 * 2) / 7, 'difference': 3.5 - 2,
        'ate_weighted': 20 / 7 - (2 + edge * 3) / (2 + edge), 'ate_doubly_robust': 0.5 + (2 * 1 - edge * 1) / 4,
        'qini': 0.25 * 1 + 0.5 * (2 + 20 / 7 - (2 + 3 * edge) / (2 + edge)) / 2
                - (20 / 7 - (2 + 3 * edge) / (2 + edge)) / 2})


def test_without_the_truth_only_observable_metrics_are_reported():
    rows = [{**row, 'effect': ''} for row in ROWS]
    found = summary.compute_metrics(read(rows))
    assert not {'pehe', 'ate_error', 'ate_true'} & set(found) and float(found['ate']) == 0.5


def test_intervals_contain_the_true_values():
    rows = list(treatments.rows_of('test', 300, np.random.default_rng(0)))
    found = summary.summarise(rows, treatments.TRAINING)
    test = found['metrics']['test']
    low, high = test['pehe']['ci95']
    assert low < 0.3 < high and test['pehe']['n'] == 300 and test['pehe']['method'] == 'jackknife'
    assert test['pehe']['value'] < test['pehe_ols']['value'] and test['pehe']['value'] < test['pehe_trees']['value']
    assert test['qini']['value'] > test['qini_trees']['value'] > test['qini_ols']['value'] == 0
    assert test['difference']['ci95'][0] > 1.3  # treated patients have a better prognosis
    assert test['ate_doubly_robust']['ci95'][0] < 1 < test['ate_doubly_robust']['ci95'][1]
    assert test['policy_value']['value'] > max(test['policy_value_trees']['value'], test['value_if_none']['value'])
    assert found['training'] == treatments.TRAINING and len(found['warnings']) == 2
    assert 'in height' in found['warnings'][0]
    assert 'the effective sample size of the 20 training patients is 8' in found['warnings'][1]


def test_realisations_are_means_over_runs():
    rng = np.random.default_rng(0)
    tables = {f'r{n}': [row for split in ('train', 'val', 'test') for row in treatments.rows_of(split, 30, rng)]
              for n in range(6)}
    results, rows = summary.over_realisations(tables)
    single = {split: [float(summary.compute_metrics(read([row for row in table if row['split'] in splits]))['pehe'])
                      for table in tables.values()] for split, splits in (('test', ('test',)),
                                                                          ('within', ('train', 'val')))}
    for split, values in single.items():
        entry = results[split]['pehe']
        assert entry['value'] == pytest.approx(np.mean(values)) and entry['n'] == 6 and entry['unit'] == 'realisation'
        assert entry['ci95'][0] < entry['value'] < entry['ci95'][1] and entry['sd'] == pytest.approx(
            np.std(values, ddof=1))
        assert [row['pehe'] for row in rows if row['split'] == split] == pytest.approx(values)
    tables['r0'] = [row for row in tables['r0'] if row['split'] != 'train']
    assert list(summary.over_realisations(tables)[0]) == ['test']
    with pytest.raises(InputError, match='r1: no test cases'):
        summary.over_realisations({'r1': [row for row in tables['r1'] if row['split'] == 'val']})


@pytest.mark.parametrize('change, message', [
    ({'treatment': 0.5}, 'case c1: treatment: 0.5; expected 0 or 1'), ({'outcome': ''}, 'case c1: outcome: ;'),
    ({'propensity': 1.5}, 'propensity: 1.5; expected a number from 0 to 1'), ({'matched': 'x'}, 'matched: x'),
    ({'outcome_if_1': None}, 'outcome_if_1: None; expected a number')])
def test_damaged_tables(change, message):
    with pytest.raises(InputError, match=message):
        read([ROWS[0], {**ROWS[1], **change}])
    with pytest.raises(InputError, match='expected at least one'):
        summary.summarise([], treatments.TRAINING)


@pytest.mark.parametrize('interval, want', [
    ((-0.2, 0.5), [0, 0.5]), ((-0.5, 0.2), [0, 0.5]), ((-0.5, -0.2), [0.2, 0.5]), ((0.2, 0.5), [0.2, 0.5])])
def test_the_interval_of_an_ate_error_is_that_of_the_signed_difference(interval, want):
    assert summary._magnitudes(*interval) == want
