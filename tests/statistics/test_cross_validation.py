"""Folds and seeds merged: rounds, and means over them."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.statistics import cross_validation


def table(ids):
    return [dict(split='test', id=f'c{i:02d}', patient=f'p{i // 2}') for i in ids] + [
        dict(split='val', id='v', patient='v')]


def test_folds_add_up_to_rounds():
    tables = {f'fold{k}_seed{s}': table(range(k, 40, 4)) for s in range(3) for k in range(4)}
    parts = cross_validation.rounds(tables)
    assert len(parts) == 3 and all([row['id'] for row in part] == [f'c{i:02d}' for i in range(40)] for part in parts)
    assert len(cross_validation.rounds({str(seed): table(range(20)) for seed in range(3)})) == 3


def test_measures_of_cases_are_averaged_over_rounds():
    tables = {str(s): [dict(split='test', id=f'c{i}', patient=f'c{i}', dice_mean=str((i + s) / 10)) for i in range(5)]
              for s in (0, 2)}
    found = cross_validation.means(tables, ['dice_mean'])['dice_mean']
    assert np.isclose(found['value'], 0.3) and found['n'] == 5
    assert np.isclose(found['run_sd'], np.std([0.2, 0.4], ddof=1))


def test_folds_that_do_not_fit_are_refused():
    with pytest.raises(InputError, match='expected the same folds for every seed'):
        cross_validation.rounds({'a': table(range(4)), 'b': table(range(4, 8)), 'c': table(range(4))})
    with pytest.raises(InputError, match='b: no test cases'):
        cross_validation.rounds({'a': table(range(4)), 'b': []})


def segmented(*dice, flags=()):
    """Rows with the Dice of a structure, None where it is undefined, and flags of the cases by number."""
    return [{'split': 'test', 'id': f'c{i}', 'patient': f'c{i}', 'dice_a': '' if value is None else str(value),
             'missed_a': '0.0', 'spurious_a': str(float(i in flags))} for i, value in enumerate(dice)]


def test_a_case_that_one_run_leaves_undefined_counts_with_the_others():
    # Two seeds, each with a false positive in another case of which the reference is empty.
    tables = {'0': segmented(0.8, 0.8, 0.0, None, flags=[2]), '1': segmented(0.8, 0.8, None, 0.0, flags=[3])}
    found = cross_validation.means(tables, ['dice_a'])['dice_a']
    assert found['value'] == pytest.approx((0.8 + 0.8 + 0.0 + 0.0) / 4) and found['n'] == 4
    assert found['run_mean'] == pytest.approx(1.6 / 3) and found['spurious'] == 2 and found['missed'] == 0


def test_a_case_that_every_run_leaves_undefined_is_left_out():
    tables = {'0': segmented(0.6, None), '1': segmented(0.8, None)}
    found = cross_validation.means(tables, ['dice_a'])['dice_a']
    assert found['value'] == pytest.approx(0.7) and found['n'] == 1


def test_mean_predictions_are_over_the_rounds_that_have_one():
    parts = [[{'id': 'a', 'risk': cell, 'sex': 'f'}, {'id': 'b', 'risk': '', 'sex': 'm'}] for cell in ('', '0.5', '1')]
    assert cross_validation.mean_rows(parts, 'risk'.__eq__) == [
        {'id': 'a', 'risk': 0.75, 'sex': 'f'}, {'id': 'b', 'risk': '', 'sex': 'm'}]


def ranked(fold, offset):
    return [{'split': 'test', 'id': f'f{fold}c{i:02d}', 'patient': f'f{fold}c{i:02d}', 'score': i + offset,
             'positive': i >= 10} for i in range(20)]


def auroc(part, draws=None):
    draws = np.ones(len(part.patients)) if draws is None else draws
    above = part.score[:, None] > part.score
    pairs = part.positive[:, None] & ~part.positive
    return {'auroc': np.einsum('...i,...j,ij->...', draws, draws, above & pairs)
            / np.einsum('...i,...j,ij->...', draws, draws, pairs)}


class Ranked:
    def __init__(self, rows):
        self.patients = np.array([row['id'] for row in rows])
        self.score, self.positive = (np.array([row[key] for row in rows]) for key in ('score', 'positive'))


@pytest.mark.parametrize('within_folds, value', [(False, 0.75), (True, 1.0)])
def test_scores_of_different_models_are_compared_within_a_fold(within_folds, value):
    tables = {'a': ranked(0, 0.0), 'b': ranked(1, 100.0)}  # each fold ranks perfectly, on a scale of its own
    counted = []

    def pooled_metrics(part, draws=None):
        counted.append(len(part.score))
        return {} if within_folds else auroc(part, draws)

    found = cross_validation.pooled(tables, Ranked, pooled_metrics, lambda part, values, samples: {
        name: {'value': values[name], 'spread': np.std(samples[name])} for name in values},
        ranking=auroc if within_folds else None)['auroc']
    assert found['value'] == value and found['run_mean'] == 1.0
    assert (found['spread'] == 0) == within_folds
    assert counted == [40, 40, 20, 20]  # of the round as it is and resampled, of each run as it is
