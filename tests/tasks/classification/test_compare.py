"""What is compared of classifications: tests by class and by label, and the cases of a label."""

import numpy as np
import pytest

from medjax.statistics import delong
from medjax.tasks.classification.compare import compare, significance_tests
from medjax.tasks.classification.table import read


class Run:
    def __init__(self, problem, classes):
        self.results, self.classes = {'problem': problem}, classes


def several_classes(seed, patients=60):
    rng = np.random.default_rng(seed)
    return [{'split': 'test', 'id': str(i), 'patient': str(i % patients), 'target': 'xyz'[i % 3],
             **dict(zip(('prob_x', 'prob_y', 'prob_z'), row))} for i, row in enumerate(rng.dirichlet(np.ones(3), 60))]


def test_several_classes_are_tested_one_by_one():
    a, b = (read(several_classes(seed), 'multiclass', 'xyz') for seed in range(2))
    found = significance_tests(a, b)
    assert set(found['delong']) == set('xyz')
    assert found['delong']['y'] == delong.auroc_test(a.targets == 1, a.probs[:, 1], b.probs[:, 1])
    right = [of.probs.argmax(1) == of.targets for of in (a, b)]
    assert found['mcnemar'] == {'': delong.mcnemar_test(*right)}


def test_labels_are_tested_one_by_one_on_the_cases_that_have_them():
    rows = [{'split': 'test', 'id': str(i), 'target_u': u, 'target_v': v, 'prob_u': p, 'prob_v': 0.3}
            for i, (u, v, p) in enumerate([(0, 1, 0.2), (1, '', 0.6), (1, 0, 0.3), (0, 1, 0.4)])]
    other = [{**row, 'prob_u': 1 - row['prob_u']} for row in rows]
    found = compare([Run('multilabel', ('u', 'v'))] * 2, [rows, other])
    tests = found.tests(*found.tables)
    assert tests['mcnemar']['u']['only_a'] == 3 and tests['mcnemar']['u']['only_b'] == 1
    assert tests['mcnemar']['v']['p'] == 1 and tests['delong']['u']['difference'] == 0.5
    assert found.counted(found.tables[0], 'auroc_v').tolist() == [True, False, True, True]
    assert found.counted(found.tables[0], 'auroc').all() and found.known('target_v') and not found.known('prob_v')


@pytest.mark.parametrize('patients, warned', [(60, 0), (20, 1)])
def test_several_cases_of_a_patient_have_a_warning(patients, warned):
    rows = [several_classes(seed, patients) for seed in range(2)]
    found = compare([Run('multiclass', 'xyz')] * 2, rows)
    assert len(found.warnings) == warned and all('60 cases of 20 patients' in line for line in found.warnings)
