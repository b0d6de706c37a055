import json

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.statistics import delong, intervals
from medjax.tasks.classification.compare import compare_tables
from medjax.tasks.classification.intervals import compute_metrics
from medjax.tasks.classification.table import read

CLASSES = ('well', 'sick')


def table(targets, positive, split='test', patients=None):
    return [{'split': split, 'id': f'c{i}', 'patient': patients[i] if patients else f'p{i}', 'target': CLASSES[t],
             'prob_well': 1 - p, 'prob_sick': p, 'sex': 'F'} for i, (t, p) in enumerate(zip(targets, positive))]


def pair(n=80, seed=0, patients=None):
    rng = np.random.default_rng(seed)
    targets = rng.integers(0, 2, n)
    good, poor = (np.clip(skill * targets + (1 - skill) * rng.random(n), 0, 1) for skill in (0.4, 0.15))
    return table(targets, good, patients=patients), table(targets, poor, patients=patients)


def few(a, b, problem='binary', classes=CLASSES):
    return compare_tables(a, b, problem, classes, resamples=200)


def test_differences_are_of_the_same_cases_and_the_same_resamples():
    a, b = pair()
    found = few(a, b[::-1])  # whatever their order
    of_a, of_b = (read(rows, 'binary', CLASSES) for rows in (a, b))
    draws = intervals.multiplicities(of_a.patients, 200, 0)
    sample = compute_metrics(of_a, draws)['brier'] - compute_metrics(of_b, draws)['brier']
    got = found['metrics']['brier']
    assert got['difference']['ci95'] == pytest.approx(intervals.bca_limits(sample, 80))
    assert got['difference']['value'] == pytest.approx(got['a'] - got['b']) and got['difference']['n'] == 80
    positive = of_a.targets == 1
    assert found['delong'] == delong.auroc_test(positive, of_a.probs[:, 1], of_b.probs[:, 1])
    assert found['delong']['p'] < 0.05
    right = [of.probs.argmax(1) == of.targets for of in (of_a, of_b)]
    assert found['mcnemar'] == delong.mcnemar_test(*right)
    assert found['warnings'] == [] and json.loads(json.dumps(found)) == found


def test_a_run_has_no_difference_from_itself():
    a, _ = pair()
    found = few(a, a)
    assert all(of['difference']['value'] == 0 for of in found['metrics'].values())
    assert found['metrics']['brier']['difference']['why'] == 'equal in all resamples: no confidence interval'
    low, high = found['metrics']['accuracy']['difference']['ci95']
    assert low == -high and 0 < high < 0.05  # one half in each cell of 80 cases
    assert found['delong']['p'] == found['mcnemar']['p'] == 1


def test_cases_of_one_table_only_are_left_out_and_counted():
    a, b = pair()
    found = few(a, [*b[:70], {**b[70], 'split': 'val'}])
    assert found['cases'] == 70 and found['warnings'] == [
        '10 test cases of the first table are not in the other: left out']
    assert found['metrics'] == few(a[:70], b[:70])['metrics']


def test_several_cases_of_a_patient_have_a_warning():
    a, b = pair(patients=[f'p{i // 4}' for i in range(80)])
    found = few(a, b)
    assert found['patients'] == 20 and '80 cases of 20 patients' in found['warnings'][0]


def test_several_classes_are_compared_one_by_one():
    classes, rng = ('x', 'y', 'z'), np.random.default_rng(3)
    targets = rng.integers(0, 3, 60)
    a, b = ([{'split': 'test', 'id': str(i), 'target': classes[t], **{f'prob_{c}': p for c, p in zip(classes, row)}}
             for i, (t, row) in enumerate(zip(targets, rng.dirichlet(np.ones(3), 60)))] for _ in range(2))
    found = few(a, b, 'multiclass', classes)
    assert set(found['delong']) == set(classes) and 'p' in found['mcnemar']
    got = found['metrics']['auroc_y']
    assert found['delong']['y']['difference'] == pytest.approx(got['a'] - got['b'])


def test_labels_are_compared_one_by_one():
    a = [{'split': 'test', 'id': str(i), 'target_u': u, 'target_v': v, 'prob_u': p, 'prob_v': 0.3}
         for i, (u, v, p) in enumerate([(0, 1, 0.2), (1, '', 0.6), (1, 0, 0.3), (0, 1, 0.4)])]
    found = few(a, [{**row, 'prob_u': 1 - row['prob_u']} for row in a], 'multilabel', ('u', 'v'))
    assert found['mcnemar']['u']['only_a'] == 3 and found['mcnemar']['u']['only_b'] == 1
    assert found['mcnemar']['v']['p'] == 1 and found['delong']['u']['difference'] == 0.5


@pytest.mark.parametrize('spoil, message', [
    (lambda b: [{**row, 'target': 'sick'} if row['id'] == 'c5' else row for row in b], 'case c5: .* disagree'),
    (lambda b: [{**row, 'id': f'other{row["id"]}'} for row in b], 'no test case is in both tables, as c0 .* otherc0'),
    (lambda b: [*b, b[7]], 'case c7: twice in test')])
def test_tables_that_do_not_match_are_refused(spoil, message):
    a, b = table([0] * 10, [0.4] * 10), table([0] * 10, [0.3] * 10)
    with pytest.raises(InputError, match=message):
        few(a, spoil(b))
