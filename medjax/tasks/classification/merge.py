"""Classification runs over folds and seeds merged into one result."""

from collections.abc import Mapping
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.classification import table
from medjax.tasks.classification.intervals import compute_metrics, metric_entries
from medjax.tasks.classification.summary import summarise
from medjax.tasks.family import Combined


def merge(runs: Mapping[str, Run]) -> Combined:
    """Metrics over rounds that test every case once, and the subgroup analysis if there is one round.

    Args:
      runs: the runs by their paths.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    problem, classes = first.results['problem'], first.classes
    rows = [{'run': path, **row} for path, run in runs.items() for row in run.rows('test')]
    metrics = cross_validation.pooled(tables, lambda part: table.read(part, problem, classes), compute_metrics,
                                      metric_entries)
    return Combined(rows, {'test': metrics, 'analysis': _subgroup_analysis(tables, first)},
                    cross_validation.notice(tables), ['test'])


def _subgroup_analysis(tables: cross_validation.Tables, first: Run) -> dict[str, Any]:
    """The subgroup analysis of folds that tested every case once; `first` gives the options."""
    columns = first.section('evaluate').get('subgroups') or ()
    if not columns:
        return {}
    rounds = cross_validation.rounds(tables)
    if len(rounds) > 1:
        return {'warnings': ['every case was tested several times: no subgroup analysis']}
    analysis = summarise(rounds[0], first.results['problem'], first.classes, subgroups=columns)
    return {'subgroups': analysis['subgroups'],
            'warnings': [line for line in analysis['warnings'] if line.startswith(tuple(columns))]}
