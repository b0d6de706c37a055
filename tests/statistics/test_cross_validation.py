"""Folds and seeds merged: rounds, means over them, and metrics against those of the pooled table."""

import numpy as np
import pytest

from medjax.errors import InputError
from medjax.statistics import cross_validation
from medjax.tasks.classification.intervals import compute_metrics, metric_entries
from medjax.tasks.classification.table import read

CLASSES = ('no', 'yes')


def table(ids, seed):
    """Noisy probabilities of cases whose number's parity is their class."""
    rng = np.random.default_rng((seed, *ids))
    chance = {i: float(np.clip(0.3 + 0.4 * (i % 2) + rng.normal(0, 0.3), 0.01, 0.99)) for i in ids}
    return [dict(split='test', id=f'c{i:02d}', patient=f'p{i // 2}', target=CLASSES[i % 2], prob_yes=p, prob_no=1 - p)
            for i, p in chance.items()] + [
        dict(split='val', id='v', patient='v', target='no', prob_yes=0.5, prob_no=0.5)]


def merged(tables, resamples):
    return cross_validation.pooled(tables, lambda rows: read(rows, 'binary', CLASSES), compute_metrics, metric_entries,
                                   resamples=resamples)


def test_folds_are_pooled_and_seeds_averaged():
    tables = {f'fold{k}_seed{s}': table(range(k, 40, 4), s) for s in range(3) for k in range(4)}
    parts = cross_validation.rounds(tables)
    assert len(parts) == 3 and all([row['id'] for row in part] == [f'c{i:02d}' for i in range(40)] for part in parts)
    found = merged(tables, 200)
    pooled = [compute_metrics(read(part, 'binary', CLASSES)) for part in parts]
    for name in ('auroc', 'accuracy', 'brier'):
        assert np.isclose(found[name]['value'], np.mean([one[name] for one in pooled]))
        low, high = found[name]['ci95']
        assert low < found[name]['value'] < high and found[name]['n'] == 20
    single = [float(compute_metrics(read(rows[:-1], 'binary', CLASSES))['accuracy']) for rows in tables.values()]
    assert found['accuracy']['runs'] == 12 and np.isclose(found['accuracy']['run_mean'], np.mean(single))
    assert np.isclose(found['accuracy']['run_sd'], np.std(single, ddof=1))


def test_runs_on_the_same_cases_are_rounds_of_their_own():
    tables = {str(seed): table(range(20), seed) for seed in range(3)}
    assert len(cross_validation.rounds(tables)) == 3
    one = merged({'a': tables['0'], 'b': tables['0']}, 100)
    alone = compute_metrics(read(tables['0'][:-1], 'binary', CLASSES))
    assert np.isclose(one['auroc']['value'], alone['auroc']) and one['auroc']['run_sd'] == 0


def test_measures_of_cases_are_averaged_over_rounds():
    tables = {str(s): [dict(split='test', id=f'c{i}', patient=f'c{i}', dice_mean=str((i + s) / 10)) for i in range(5)]
              for s in (0, 2)}
    found = cross_validation.means(tables, ['dice_mean'])['dice_mean']
    assert np.isclose(found['value'], 0.3) and found['n'] == 5
    assert np.isclose(found['run_sd'], np.std([0.2, 0.4], ddof=1))


def test_what_does_not_add_up_is_refused():
    with pytest.raises(InputError, match='expected the same folds for every seed'):
        cross_validation.rounds({'a': table(range(4), 0), 'b': table(range(4, 8), 0), 'c': table(range(4), 1)})
    with pytest.raises(InputError, match='b: no test cases'):
        cross_validation.rounds({'a': table(range(4), 0), 'b': []})
