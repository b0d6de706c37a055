"""Folds and seeds of classification merged: metrics of the pooled table, averaged over rounds."""

import pathlib

import numpy as np

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.classification.intervals import compute_metrics
from medjax.tasks.classification.merge import merge
from medjax.tasks.classification.table import read

CLASSES = ('no', 'yes')


def table(ids, seed):
    """Noisy probabilities of cases whose number's parity is their class."""
    rng = np.random.default_rng((seed, *ids))
    chance = {i: float(np.clip(0.3 + 0.4 * (i % 2) + rng.normal(0, 0.3), 0.01, 0.99)) for i in ids}
    return [dict(split='test', id=f'c{i:02d}', patient=f'p{i // 2}', target=CLASSES[i % 2], prob_yes=p, prob_no=1 - p,
                 site='ab'[i % 3 == 0]) for i, p in chance.items()] + [
        dict(split='val', id='v', patient='v', target='no', prob_yes=0.5, prob_no=0.5, site='a')]


def runs(tables, **evaluate):
    """Runs with these predictions, as their files are read."""
    return {name: Run(pathlib.Path(name), {'evaluate': {'name': 'classification', **evaluate}}, {}, {
        'problem': 'binary', 'classes': CLASSES}, [], rows, {}) for name, rows in tables.items()}


def test_folds_are_pooled_and_seeds_averaged():
    tables = {f'fold{k}_seed{s}': table(range(k, 40, 4), s) for s in range(3) for k in range(4)}
    parts = cross_validation.rounds(tables)
    assert len(parts) == 3 and all([row['id'] for row in part] == [f'c{i:02d}' for i in range(40)] for part in parts)
    merged = merge(runs(tables))
    found = merged.results['test']
    pooled = [compute_metrics(read(part, 'binary', CLASSES)) for part in parts]
    for name in ('auroc', 'accuracy', 'brier'):
        assert np.isclose(found[name]['value'], np.mean([one[name] for one in pooled]))
        low, high = found[name]['ci95']
        assert low < found[name]['value'] < high and found[name]['n'] == 20
    single = [float(compute_metrics(read(rows[:-1], 'binary', CLASSES))['accuracy']) for rows in tables.values()]
    assert found['accuracy']['runs'] == 12 and np.isclose(found['accuracy']['run_mean'], np.mean(single))
    assert np.isclose(found['accuracy']['run_sd'], np.std(single, ddof=1))
    assert len(merged.rows) == 120 and merged.rows[0]['run'] == 'fold0_seed0' and merged.results['analysis'] == {}


def test_runs_on_the_same_cases_are_rounds_of_their_own():
    tables = {str(seed): table(range(20), seed) for seed in range(3)}
    assert len(cross_validation.rounds(tables)) == 3
    one = merge(runs({'a': tables['0'], 'b': tables['0']})).results['test']
    alone = compute_metrics(read(tables['0'][:-1], 'binary', CLASSES))
    assert np.isclose(one['auroc']['value'], alone['auroc']) and one['auroc']['run_sd'] == 0


def test_one_round_has_a_subgroup_analysis():
    folds = {f'fold{k}': table(range(k, 40, 4), 0) for k in range(4)}
    analysis = merge(runs(folds, subgroups=('site',))).results['analysis']
    assert sum(group['cases'] for group in analysis['subgroups']['site']['groups'].values()) == 40
    assert all(line.startswith('site, ') for line in analysis['warnings'])
    twice = folds | {'again': table(range(40), 1)}
    assert merge(runs(twice, subgroups=('site',))).results['analysis'] == {
        'warnings': ['every case was tested several times: no subgroup analysis']}
