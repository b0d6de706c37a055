import numpy as np
import pytest

from medjax.statistics import intervals
from medjax.tasks.classification import fairness, operating_point
from medjax.tasks.classification.intervals import compute_metrics
from medjax.tasks.classification.table import read


def binary(targets, positive, patients=None):
    rows = [{'id': f'c{i}', 'patient': patients[i] if patients else f'p{i}', 'target': 'sick' if t else 'well',
             'prob_well': 1 - p, 'prob_sick': p} for i, (t, p) in enumerate(zip(targets, positive))]
    return read(rows, 'binary', ('well', 'sick'))


def analysis(cases, group, at=None):
    return fairness.subgroup_analysis(cases, np.array(group), intervals.left_out(cases.patients), at)


def test_gaps_by_hand():
    # In a: 2 of 4 chosen, sensitivity 1/2, false alarms 1/2. In b: 3 of 4, 1 and 1/2.
    cases = binary([1, 1, 0, 0, 1, 1, 0, 0], [0.9, 0.2, 0.8, 0.1, 0.7, 0.9, 0.6, 0.3])
    found = analysis(cases, ['a'] * 4 + ['b'] * 4)
    gaps = {name: entry['value'] for name, entry in found['gaps'].items()}
    assert gaps == {'demographic_parity_difference': pytest.approx(0.25), 'equalised_odds_difference': 0.5}
    assert found['worst']['sensitivity']['group'] == 'a' and found['worst']['sensitivity']['value'] == 0.5
    assert found['worst']['sensitivity']['difference']['value'] == 0.5
    assert found['worst']['brier']['group'] == 'a'  # where a lower figure is the better one
    assert found['groups']['b']['metrics']['accuracy']['value'] == 0.75
    assert found['groups']['b']['metrics']['accuracy']['n'] == found['groups']['b']['cases'] == 4


def test_gaps_at_an_operating_point():
    cases = binary([1, 1, 0, 0, 1, 1, 0, 0], [0.9, 0.2, 0.8, 0.1, 0.7, 0.9, 0.6, 0.3])
    found = analysis(cases, ['a'] * 4 + ['b'] * 4, at={'': 0.15})
    # In a three of four reach .15, in b all.
    assert found['gaps']['demographic_parity_difference_operating']['value'] == 0.25
    assert found['gaps']['equalised_odds_difference_operating']['value'] == 0.5
    assert found['groups']['a']['metrics']['sensitivity_operating']['value'] == 1
    assert found['groups']['a']['metrics']['specificity_operating']['value'] == 0.5


def test_each_group_has_the_metrics_of_its_cases_with_patients_resampled_together():
    rng = np.random.default_rng(0)
    targets, positive = rng.integers(0, 2, 60), rng.random(60)
    cases = binary(targets, positive, [f'p{i // 2}' for i in range(60)])
    group = np.where(np.arange(60) < 40, 'x', 'y')
    found = analysis(cases, group)
    for name in 'xy':
        alone = compute_metrics(cases.take(group == name))
        entries = found['groups'][name]['metrics']
        assert all(entries[metric]['value'] == alone[metric] for metric in alone)
        assert entries['auroc']['n'] == (group == name).sum() // 2
        low, high = entries['accuracy']['ci95']
        assert low < entries['accuracy']['value'] < high
    assert found['warnings'] == analysis(cases, group)['warnings']


def test_a_small_group_is_shown_with_a_warning():
    cases = binary([1] * 12 + [0] * 12 + [1] * 3 + [0] * 12, np.linspace(0, 1, 39))
    found = analysis(cases, ['large'] * 24 + ['small'] * 15)
    assert found['warnings'] == ['small: 3 cases of sick, 12 others: metrics are unreliable with fewer than 10']
    assert not np.isnan(found['groups']['small']['metrics']['auroc']['value'])


def test_a_group_without_positives_is_left_out_of_the_odds():
    cases = binary([1, 0, 1, 0, 0, 0], [0.9, 0.1, 0.2, 0.7, 0.9, 0.9])
    found = analysis(cases, ['a', 'a', 'b', 'b', 'c', 'c'])
    # Sensitivities 1, 0 and none; false alarms 0, 1 and 1.
    assert found['gaps']['equalised_odds_difference']['value'] == 1
    assert found['groups']['c']['metrics']['auroc']['ci95'] is None
    alone = analysis(cases, ['a'] * 6)
    assert np.isnan(alone['gaps']['equalised_odds_difference']['value']) and not alone['worst']
    assert 'two groups' in alone['gaps']['demographic_parity_difference']['why']


def test_several_classes_have_the_largest_gap_of_any():
    rows = [{'id': str(i), 'target': t, **{f'prob_{name}': float(name == p) for name in 'xyz'}}
            for i, (t, p) in enumerate(['xx', 'yy', 'zz', 'xx', 'xx', 'yx', 'zz', 'zx'])]
    found = analysis(read(rows, 'multiclass', 'xyz'), ['a'] * 4 + ['b'] * 4)['gaps']
    # Chosen in a: x 2, y 1, z 1 of four; in b 3, 0, 1. Sensitivity of y: 1 against 0.
    assert [found[f'demographic_parity_difference_{name}']['value'] for name in 'xyz'] == [0.25, 0.25, 0]
    assert found['demographic_parity_difference']['value'] == 0.25
    assert found['equalised_odds_difference_y']['value'] == found['equalised_odds_difference']['value'] == 1


def test_labels_have_gaps_where_they_are_known():
    rows = [{'id': str(i), 'target_u': u, 'target_v': v, 'prob_u': p, 'prob_v': 0.2}
            for i, (u, v, p) in enumerate([(1, '', 0.9), (0, 1, 0.1), (1, 0, 0.3), ('', 1, 0.9), (0, 0, 0.2)])]
    cases = read(rows, 'multilabel', 'uv')
    found = analysis(cases, ['a', 'a', 'b', 'b', 'b'])
    assert found['gaps']['demographic_parity_difference_u']['value'] == 0.5  # 1 of 2 against 0 of 2
    assert found['gaps']['equalised_odds_difference_u']['value'] == 1
    assert found['gaps']['demographic_parity_difference_v']['value'] == 0
    assert found['groups']['b']['counts']['u'] == {'positives': 1, 'negatives': 1}
    at = operating_point.choose_thresholds(cases)
    assert 'sensitivity_operating_u' in analysis(cases, ['a', 'a', 'b', 'b', 'b'], at=at)['groups']['a']['metrics']


def test_an_empty_cell_is_a_group_of_its_own():
    assert fairness.read_groups([{'sex': 'F'}, {'sex': ''}, {}, {'sex': 1}], 'sex').tolist() == [
        'F', 'unknown', 'unknown', '1']


def test_gaps_of_equal_groups_are_those_of_chance():
    rng, p, excess = np.random.default_rng(4), [], []
    for _ in range(20):
        targets = rng.integers(0, 2, 80)
        cases = binary(targets, np.clip(0.2 * targets + 0.8 * rng.random(80), 0, 1))
        found = fairness.subgroup_analysis(cases, rng.choice(list('abcd'), 80),
                                           intervals.left_out(cases.patients))
        gap = found['gaps']['equalised_odds_difference']
        assert gap['value'] > 0.1
        p.append(gap['p'])
        excess.append(gap['value'] - gap['by_chance'])
    assert min(p) > 0.001 and sum(value < 0.05 for value in p) <= 3 and 0.25 < np.mean(p) < 0.75
    assert abs(np.mean(excess)) < 0.06  # the largest difference itself is some .3


def test_a_true_gap_is_beyond_chance():
    rng = np.random.default_rng(5)
    targets, group = rng.integers(0, 2, 400), np.repeat(['a', 'b'], 200)
    score = np.where(group == 'a', targets * 0.6 + 0.3 * rng.random(400), rng.random(400))
    gap = analysis(binary(targets, score), group)['gaps']['equalised_odds_difference']
    assert gap['p'] == pytest.approx(1 / 1001) and gap['excess'] > 0.3 and gap['by_chance95'] < 0.25
