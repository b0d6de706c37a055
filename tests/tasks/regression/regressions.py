"""Workdirs like those that runs of a regression leave: molecules of which one target was not always measured."""

import pathlib

import numpy as np

from medjax import atomic_files
from medjax.tasks.regression import summary
from tests.report.runs import write_table
from tests.tasks.survival.survivals import write_metrics

NOTICE = 'These molecules are simulated.'
SMILES = ('CCO', 'c1ccccc1', 'CC(=O)O', 'CCN', 'CCCl')


def rows_of(split, count, seed=0, names=('logs',), missing=0.0, error=0.3):
    """Rows of a predictions table: what was measured is by the split, the network's error by the seed too."""
    truth = np.random.default_rng(len(split)).normal(-2, 2, (count, len(names)))
    rng = np.random.default_rng((seed, len(split)))
    for n in range(count):
        row = {'split': split, 'id': f'{split}{n:03d}', 'patient': f'{split}{n:03d}', 'smiles': SMILES[n % 5]}
        for k, name in enumerate(names):
            gone = k and n < missing * count
            row |= {name: '' if gone else float(truth[n, k]), f'predicted_{name}': float(truth[n, k] + rng.normal(
                0, error)), f'predicted_{name}_trees': float(truth[n, k] + (n % 3 - 1) * 0.8)}
        yield row


def make(folder, *, count=40, splits=('val', 'test'), names=('logs',), missing=0.0, seed=0):
    """Writes a workdir with the functions that a run writes it with, and gives its path."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rows = [row for split in splits for row in rows_of(split, count, seed, names, missing)]
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows, names, unit='molecule')
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'regression', 'classes': list(names), 'step': 40,
        'unit': 'log mol/l', 'counts': {split: count for split in splits}, 'notice': NOTICE,
        'conventions': summary.CONVENTIONS.format(unit='molecule', descriptors='logp')})
    atomic_files.write_json(folder / 'config.json', {'seed': seed, 'steps': 60, 'batch': 64, 'model': {'name': 'mpnn'},
                                                     'evaluate': {'name': 'regression'},
                                                     'checkpoint': {'best': 'nrmse'}})
    atomic_files.write_json(folder / 'environment.json', {'devices': ['cpu:0'], 'parameters': 4321})
    write_metrics(folder)
    return folder
