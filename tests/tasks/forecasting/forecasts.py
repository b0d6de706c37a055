"""Workdirs as runs of forecasting write them: linear trajectories, with deaths soon after a rise."""

import pathlib

import numpy as np

from medjax import atomic_files
from medjax.tasks.forecasting import summary
from tests.report.runs import write_table
from tests.tasks.survival.survivals import write_metrics

NOTICE = 'These patients are simulated.'
NAMES, EVENTS, WITHIN, LEADS = ('sugar', 'log salt'), ('death',), 2.0, (1.0, 2.0)


def rows_of(split, patients, rng, events=EVENTS, error=0.3):
    """Rows of a predictions table: the network is off by a little, ridge by more; 'log salt' misses here and there."""
    for number in range(patients):
        visits, start, rise = int(rng.integers(1, 5)), rng.normal(), rng.normal()
        end, number_of = visits - 0.5 + 4 * rng.random(), int(rng.integers(0, len(events) + 1)) if rise > -0.5 else 0
        values = np.array([[100 + 10 * (start + rise * time), rng.normal()] for time in range(visits + 1)])
        measured = rng.random((visits + 1, 2)) > (0, 0.3)
        for visit in range(visits):
            more = visit + 1 < visits
            row = {'split': split, 'id': f'{split}{number:03d}_{visit}', 'patient': f'{split}{number:03d}',
                   'sex': 'fm'[number % 2], 'visit': visit, 'time': float(visit), 'ahead': 1.0 if more else ''}
            for k, name in enumerate(NAMES):
                now, after = values[visit, k], values[visit + 1, k]
                there = more and measured[visit + 1, k]
                row |= {name: now if measured[visit, k] else '', f'carried_{name}': now,
                        f'next_{name}': after if there else '',
                        f'forecast_{name}': after + rng.normal(0, error) if more else '',
                        f'ridge_{name}': after + rng.normal(0, 2 * error) if more else ''}
            row |= {'gap': end - visit, 'ended': events[number_of - 1] if number_of else ''}
            chance = 1 / (1 + np.exp(-rise - 2 * (end - visit < WITHIN) * bool(number_of)))
            yield row | {f'{stem}_{name}': float(np.clip(chance + rng.normal(0, noise), 0, 1)) for name in events
                         for stem, noise in (('chance', 0.05), ('logistic', 0.2))}


def make(folder, *, patients=40, splits=('val', 'test'), seed=0, events=EVENTS, **options):
    """Writes a workdir with the functions that a run writes it with, and gives its path."""
    rng = np.random.default_rng(seed)
    return write(folder, [row for split in splits for row in rows_of(split, patients, rng, events)], events, **options)


def write(folder, rows, events=EVENTS, horizon=WITHIN, lead_times=LEADS):
    """The files of a run with these rows."""
    folder = pathlib.Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows, NAMES, events, horizon, lead_times)
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'forecast', 'classes': events, 'step': 40,
        'counts': {split: sum(row['split'] == split for row in rows) for split in {row['split'] for row in rows}},
        'unit': 'years', 'notice': NOTICE, 'conventions': summary.CONVENTIONS})
    atomic_files.write_json(folder / 'config.json', {'seed': 0, 'steps': 60, 'batch': 64, 'model': {'name': 'sequence'},
                                                     'evaluate': {'name': 'forecasting'},
                                                     'checkpoint': {'best': 'loss'}})
    atomic_files.write_json(folder / 'environment.json', {'devices': ['cpu:0'], 'parameters': 4321})
    write_metrics(folder)
    return folder
