"""Workdirs as runs on treatment effects write them: the first covariate determines who benefits."""

import pathlib

import numpy as np

from medjax import atomic_files
from medjax.tasks.treatment import summary
from tests.report.runs import write_table
from tests.tasks.survival.survivals import write_metrics

NOTICE = 'These patients are simulated.'
GROUPS = ('control', 'treated')
TRAINING = {'balance': {'age': [0.6, 0.05], 'height': [-0.2, -0.31], 'site': [float('nan')] * 2},
            'overlap': {'edges': [0.0, 0.5, 1.0], 'control': [30, 10], 'treated': [4, 16]},
            'counts': {'control': 40, 'treated': 20}, 'effective': {'control': 35.0, 'treated': 8.0}}


def rows_of(split, count, rng, known=True, error=0.3):
    """Rows of a predictions table: the network is off by a little, trees by more, least squares has one effect."""
    x = rng.normal(size=(count, 2))
    chance = 1 / (1 + np.exp(-x[:, 0]))
    given = (rng.random(count) < chance).astype(int)
    effect = 1 + x[:, 1]
    outcome = x[:, 0] + given * effect + rng.normal(0, 0.5, count)
    for n in range(count):
        effects = {'': effect[n] + rng.normal(0, error), '_ols': 1.2, '_trees': effect[n] + rng.normal(0, 1)}
        yield {'split': split, 'id': f'{split}{n:03d}', 'patient': f'{split}{n:03d}', 'sex': 'fm'[n % 2],
               'treatment': int(given[n]), 'outcome': float(outcome[n]),
               **{f'outcome_if_{k}{end}': float(x[n, 0] + k * value) for end, value in effects.items() for k in (0, 1)},
               'propensity': float(chance[n]), 'matched': float(effect[n] + rng.normal()),
               **({'effect': float(effect[n])} if known else {})}


def make(folder, *, count=60, splits=('val', 'test'), known=True, seed=0, training=TRAINING):
    """Writes a workdir with the functions that a run writes it with, and gives its path."""
    rng = np.random.default_rng(seed)
    return write(folder, [row for split in splits for row in rows_of(split, count, rng, known)], training)


def write(folder, rows, training=TRAINING):
    """The files of a run with these rows."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows, training)
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'treatment', 'classes': GROUPS, 'step': 40,
        'counts': {split: sum(row['split'] == split for row in rows) for split in {row['split'] for row in rows}},
        'notice': NOTICE, 'conventions': summary.CONVENTIONS})
    atomic_files.write_json(folder / 'config.json', {'seed': 0, 'steps': 60, 'batch': 64, 'model': {'name': 'tarnet'},
                                                     'evaluate': {'name': 'treatment'},
                                                     'checkpoint': {'best': 'factual_rmse'}})
    atomic_files.write_json(folder / 'environment.json', {'devices': ['cpu:0'], 'parameters': 4321})
    write_metrics(folder)
    return folder
