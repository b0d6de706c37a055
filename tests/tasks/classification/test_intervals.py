"""Classification metrics with intervals: DeLong's where each patient has one case, else the bootstrap's."""

import numpy as np
import pytest

from medjax.statistics import delong
from medjax.statistics.intervals import multiplicities
from medjax.tasks.classification import intervals
from medjax.tasks.classification.table import read
from tests.tasks.classification.test_summary import CLASSES, labels, table


def metrics(rows, problem='binary', classes=CLASSES):
    cases = read(rows, problem, classes)
    return intervals.metrics_with_intervals(cases, multiplicities(cases.patients, 100, 0))


def test_auroc_has_delongs_interval_where_each_patient_has_one_case():
    rows = table()
    single = metrics(rows)
    positive = np.array([row['target'] == 'sick' for row in rows])
    area = delong.auroc_and_variance(positive, np.array([row['prob_sick'] for row in rows]))
    want = delong.auroc_interval(*area)
    assert single['auroc']['method'] == 'DeLong' and single['auroc']['ci95'] == pytest.approx(want['ci95'])
    assert single['f1']['method'] == 'bootstrap'
    together = metrics(table(patients=20))
    assert together['auroc']['method'] == 'bootstrap' and together['auroc']['n'] == 20
    assert together['auroc']['value'] == single['auroc']['value'] and together['auroc']['cases'] == 60
    several = metrics(table(classes=('a', 'b', 'c')), 'multiclass', ('a', 'b', 'c'))
    assert several['auroc_b']['method'] == 'DeLong' and several['auroc']['method'] == 'bootstrap'


def test_a_label_counts_patients_with_a_known_value():
    rows = labels()
    found = metrics(rows, 'multilabel', ('u', 'v'))
    for name in 'uv':
        known = sum(row[f'target_{name}'] != '' for row in rows)
        assert found[f'accuracy_{name}']['n'] == found[f'auroc_{name}']['n'] == known
        assert found[f'auroc_{name}']['method'] == 'DeLong'
    assert found['f1_micro']['n'] == sum(row['target_u'] != '' or row['target_v'] != '' for row in rows)


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
