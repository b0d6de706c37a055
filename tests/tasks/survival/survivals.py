"""Workdirs like those that a survival run leaves: a cohort whose hazards are constant and known."""

import pathlib

import numpy as np

from medjax import atomic_files
from medjax.core import log
from medjax.tasks.survival import summary
from tests.report.runs import write_table

NOTICE = 'This cohort is simulated: no patients.'
COMMAND = 'python -m medjax.train --config=configs/cohort_deepsurv.py --workdir=runs/cohort_deepsurv'
GRID = np.linspace(5, 60, 12)
HAZARD = (0.02, 0.008)  # of each event a month, of a patient whose covariates are all 0
SLOPE = np.array([[0.9, 0.5, 0.0], [0.0, 0.5, 0.7]])  # of the log hazard of each event by covariate


def cohort(rng, count, events, error=0.3):
    """Times (months), event names, and the risk `[n, E]` and incidence `[n, E, T]` of a network.

    It knows the hazards up to noise of its logarithm; without an `error` it is calibrated, and nothing can be better.
    """
    covariates = rng.normal(size=(count, 3))
    log_hazard = np.log(HAZARD[:len(events)]) + covariates @ SLOPE[:len(events)].T
    times = rng.exponential(1 / np.exp(log_hazard))
    censored = rng.uniform(10, 90, count)
    time = np.minimum(times.min(1), censored)
    names = np.where(times.min(1) <= censored, np.array(events)[times.argmin(1)], '')
    risk = log_hazard + rng.normal(0, error, log_hazard.shape)
    hazard = np.exp(risk)
    total = hazard.sum(1)[:, None, None]
    return time, names, risk, hazard[..., None] / total * (1 - np.exp(-total * GRID))


def rows_of(split, count, events, rng, error=0.3):
    """Rows of a predictions table, one a patient."""
    time, names, risk, incidence = cohort(rng, count, events, error)
    for number in range(count):
        yield {'split': split, 'id': f'{split}{number:04d}', 'patient': f'{split}{number:04d}',
               'stage': 'I' * (1 + number % 3), 'time': round(float(time[number]), 1), 'event': names[number],
               **{f'risk_{name}': float(risk[number, k]) for k, name in enumerate(events)},
               **{f'incidence_{name}_at_{at:g}': float(incidence[number, k, t]) for k, name in enumerate(events)
                  for t, at in enumerate(GRID)}}


def make(folder, events=('death',), *, count=160, splits=('val', 'test'), seed=0, error=0.3):
    """Writes a workdir with the functions that a run writes it with, and gives its path."""
    folder, rng = pathlib.Path(folder), np.random.default_rng(seed)
    folder.mkdir(parents=True, exist_ok=True)
    return write(folder, events, [row for split in splits for row in rows_of(split, count, events, rng, error)])


def write(folder, events, rows):
    """The files of a run with these rows."""
    write_table(folder / 'predictions.csv', rows)
    found = summary.summarise(rows, events, unit='months')
    counts = {split: sum(row['split'] == split for row in rows) for split in found['metrics']}
    atomic_files.write_json(folder / 'results.json', {
        **found.pop('metrics'), 'analysis': found, 'problem': 'survival', 'classes': events, 'unit': 'months',
        'step': 40, 'counts': counts, 'notice': NOTICE, 'conventions': summary.CONVENTIONS})
    atomic_files.write_json(folder / 'config.json', {
        'seed': 0, 'steps': 60, 'batch': 64, 'model': {'name': 'mlp'}, 'data': {'name': 'cohort'},
        'evaluate': {'name': 'survival'}, 'checkpoint': {'best': 'c_index'}})
    atomic_files.write_json(folder / 'environment.json', {'devices': ['cpu:0'], 'command': COMMAND, 'parameters': 4321})
    write_metrics(folder)
    return folder


def write_metrics(folder):
    """60 steps of training, validated at 20, 40 and 60; 40 was best."""
    writer = log.Writer(folder, 0)
    for step in range(5, 65, 5):
        values = {'train/loss': 5 + 2 / step, 'train/grad_norm': 1 / step, 'lr': 1e-3}
        if step % 20 == 0:
            score = {20: 0.62, 40: 0.68, 60: 0.67}[step]
            values |= {'val/c_index': score, 'val/ibs': 1 - score, 'val/loss': 6 - score}
        writer.write(step, values)
    writer.close()
