"""Ensembles of classifications by hand."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.metrics import uncertainty
from medjax.tasks.classification.ensemble import average_tables

CLASSES = ('well', 'sick')


def table(targets, positive, split='test'):
    return [{'split': split, 'id': f'c{i}', 'patient': f'p{i}', 'target': CLASSES[t], 'prob_well': 1 - p,
             'prob_sick': p, 'sex': 'F'} for i, (t, p) in enumerate(zip(targets, positive))]


def test_ensemble_is_the_mean_with_the_disagreement_of_members():
    tables = [table([0, 1, 1], p) + table([1], [q], 'val') for p, q in (([0.2, 0.9, 0.5], 0.1), ([0.4, 0.9, 1.0], 0.3))]
    rows = average_tables([tables[0], tables[1][::-1]], 'binary', CLASSES)
    assert [row['prob_sick'] for row in rows] == pytest.approx([0.3, 0.9, 0.75, 0.2])
    members = np.array([[[0.8, 0.2], [0.1, 0.9], [0.5, 0.5]], [[0.6, 0.4], [0.1, 0.9], [0.0, 1.0]]])
    assert [row['uncertainty'] for row in rows[:3]] == pytest.approx(uncertainty.mutual_information(members))
    assert rows[0]['sex'] == 'F' and rows[0]['target'] == 'well' and rows[3]['split'] == 'val'
    np.testing.assert_allclose(average_tables([tables[0]] * 3, 'binary', CLASSES)[0]['prob_sick'], 0.2)


def test_ensemble_of_labels_sums_their_disagreement():
    tables = [[{'split': 'test', 'id': 'c', 'target_u': 1, 'target_v': '', 'prob_u': p, 'prob_v': p}] for p in (0, 1)]
    row, = average_tables(tables, 'multilabel', ('u', 'v'))
    assert row['prob_v'] == 0.5 and row['uncertainty'] == pytest.approx(2 * np.log(2)) and row['target_v'] == ''


def test_ensemble_refuses_members_with_different_cases():
    whole, part = table([0, 1], [0.1, 0.9]), table([0], [0.1])
    with pytest.raises(InputError, match='case c1: not in each table'):
        average_tables([part, whole], 'binary', CLASSES)
    # Folds have other validation cases: those are left out.
    a, b = whole + table([0], [0.2], 'val'), whole
    assert [row['split'] for row in average_tables([a, b], 'binary', CLASSES)] == ['test', 'test']
    with pytest.raises(InputError, match='no table'):
        average_tables([], 'binary', CLASSES)
    with pytest.raises(InputError, match='case c0: the tables disagree'):
        average_tables([part, table([1], [0.1])], 'binary', CLASSES)
