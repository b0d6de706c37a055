"""Runs of classification over folds and seeds as one result."""

from collections.abc import Mapping
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.classification import table
from medjax.tasks.classification.intervals import compute_metrics, metric_entries
from medjax.tasks.classification.summary import summarise
from medjax.tasks.family import Combined


def merge(runs: Mapping[str, Run]) -> Combined:
    """Scores of classification over rounds that test every case once, and subgroups where there is one round.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    problem, classes = first.results['problem'], first.classes
    rows = [{'run': path, **row} for path, run in runs.items() for row in run.rows('test')]
    found = cross_validation.pooled(tables, lambda some: table.read(some, problem, classes), compute_metrics,
                                    metric_entries)
    return Combined(rows, {'test': found, 'analysis': _subgroups(tables, first)}, cross_validation.notice(tables),
                    ['test'])


def _subgroups(tables: cross_validation.Tables, first: Run) -> dict[str, Any]:
    """The analysis by subgroup, of folds that tested every case once."""
    columns = first.section('evaluate').get('subgroups') or ()
    if not columns:
        return {}
    rounds = cross_validation.rounds(tables)
    if len(rounds) > 1:
        return {'warnings': ['every case was tested several times: no analysis by subgroup']}
    found = summarise(rounds[0], first.results['problem'], first.classes, subgroups=columns)
    return {'subgroups': found['subgroups'],
            'warnings': [line for line in found['warnings'] if line.startswith(tuple(columns))]}
