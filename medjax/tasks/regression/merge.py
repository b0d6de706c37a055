"""Runs of regression over folds and seeds as one result."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.report.run_files import Run
from medjax.statistics import cross_validation, intervals
from medjax.tasks.family import Combined
from medjax.tasks.regression import summary


def merge(runs: Mapping[str, Run]) -> Combined:
    """Errors and correlations over rounds, and those of the rounds' mean prediction as the method 'ensemble'.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    names, unit = first.classes, next(iter(first.results['test'].values()))['unit']
    found, rows = pooled(tables, names, unit)
    shown = "the mean of all runs' predictions"
    return Combined(rows, {'test': found, 'analysis': {}}, cross_validation.notice(tables, shown=shown, unit=unit),
                    ['test'])


def pooled(tables: cross_validation.Tables, names: Sequence[str], unit: str = 'patient', resamples: int = 2000,
           seed: int = 0) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Metrics of a regression over folds and seeds; see `cross_validation.pooled`.

    Args:
      tables: for each run the rows of its predictions table.
      names: of the targets.
      unit: what a case is.
      resamples: bootstrap draws of patients, the same for all rounds.
      seed: of the draws.

    Returns:
      Entries, among them those of the rounds' mean prediction, whose names end in '_ensemble' and have no spread; and
      a table of that prediction, in the network's columns and in those of 'ensemble'.
    """
    rounds = cross_validation.rounds(tables)
    averaged = {f'{word}_{name}' for name in names for word in ('predicted', 'spread')}
    mean = [{**row, **{f'predicted_{name}_ensemble': row[f'predicted_{name}'] for name in names}}
            for row in cross_validation.mean_rows(rounds, averaged.__contains__)]
    parts = []
    for part in rounds:
        rows = [{**row, **{key: value for key, value in both.items() if key.endswith('_ensemble')}}
                for row, both in zip(part, mean)]
        parts.append({name: summary.read(rows, name) for name in names})
    draws = {name: intervals.multiplicities(table.patients, resamples, seed) for name, table in parts[0].items()}
    single = [summary.figures({name: summary.read([row for row in table if row['split'] == 'test'], name)
                               for name in names}) for table in tables.values()]
    values, samples = [summary.figures(part) for part in parts], [summary.figures(part, draws) for part in parts]
    out = summary.entries(parts[0], {key: np.mean([found[key] for found in values], 0) for key in values[0]},
                          {key: np.mean([found[key] for found in samples], 0) for key in values[0]}, unit)
    for key, entry in out.items():
        if key in single[0]:
            entry.update(cross_validation.spread([found[key] for found in single]))
    return out, mean
