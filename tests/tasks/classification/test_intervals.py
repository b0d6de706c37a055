"""Classification metrics with intervals: DeLong's of AUROCs, exact ones of proportions, else the bootstrap's."""

import numpy as np
import pytest

from medjax.statistics import delong
from medjax.statistics.intervals import left_out
from medjax.tasks.classification import intervals
from medjax.tasks.classification.table import read
from tests.tasks.classification.test_summary import CLASSES, labels, table


def metrics(rows, problem='binary', classes=CLASSES):
    cases = read(rows, problem, classes)
    return intervals.metrics_with_intervals(cases, left_out(cases.patients))


def test_auroc_has_delongs_interval_by_patient():
    rows = table()
    single = metrics(rows)
    positive = np.array([row['target'] == 'sick' for row in rows])
    want = delong.auroc_interval(positive, np.array([row['prob_sick'] for row in rows]))
    assert single['auroc']['method'] == 'DeLong' and single['auroc']['ci95'] == pytest.approx(want['ci95'])
    assert single['f1']['method'] == 'jackknife'
    together = metrics(table(patients=20))
    assert together['auroc']['ci95'] != single['auroc']['ci95'] and together['auroc']['n'] == 20
    assert together['auroc']['value'] == single['auroc']['value'] and together['auroc']['cases'] == 60
    several = metrics(table(classes=('a', 'b', 'c')), 'multiclass', ('a', 'b', 'c'))
    assert several['auroc_b']['method'] == 'DeLong' and several['auroc']['method'] == 'jackknife'


def test_a_label_counts_patients_with_a_known_value():
    rows = labels()
    found = metrics(rows, 'multilabel', ('u', 'v'))
    for name in 'uv':
        known = sum(row[f'target_{name}'] != '' for row in rows)
        assert found[f'accuracy_{name}']['n'] == found[f'auroc_{name}']['n'] == known
        assert found[f'auroc_{name}']['method'] in ('DeLong', 'Newcombe')
    assert found['f1_micro']['n'] == sum(row['target_u'] != '' or row['target_v'] != '' for row in rows)


def test_calibration_errors_have_those_of_calibrated_predictions_and_no_interval():
    rng = np.random.default_rng(0)
    p = rng.random(300)
    rows = [{'id': str(k), 'patient': str(k), 'target': CLASSES[int(rng.random() < p[k])],
             **{f'prob_{CLASSES[0]}': 1 - p[k], f'prob_{CLASSES[1]}': p[k]}} for k in range(300)]
    found = metrics(rows)['ece']
    assert found['ci95'] is None and found['p'] > 0.05 and found['by_chance'] == pytest.approx(found['value'], rel=0.5)
    sharp = [{**row, f'prob_{CLASSES[0]}': float(row[f'prob_{CLASSES[0]}'] > 0.5),
              f'prob_{CLASSES[1]}': float(row[f'prob_{CLASSES[0]}'] <= 0.5)} for row in rows]
    worse = metrics(sharp)['ece']
    assert worse['p'] < 0.01 and worse['by_chance'] == 0  # certain predictions are right where they are calibrated


def test_reported_metrics_depend_on_the_problem():
    classes = ('a', 'b', 'c')
    multiclass, ordinal = (metrics(table(classes=classes), problem, classes) for problem in ('multiclass', 'ordinal'))
    assert set(ordinal) - set(multiclass) == {'kappa_weighted'}
    assert {'auroc_a', 'sensitivity_b', 'specificity_c', 'precision_a'} < set(multiclass) and 'f1_a' not in multiclass


@pytest.mark.parametrize('name, reason', [
    ('auroc', 'one class only in the truth: nothing to rank'),
    ('auroc_sick', 'one class only in the truth: nothing to rank'),
    ('kappa_weighted', 'truth and prediction are one and the same class'), ('ece_adaptive', 'no case'),
    ('unknown', 'not defined')])
def test_reasons_of_undefined_metrics(name, reason):
    assert intervals.undefined_reason(name) == reason
