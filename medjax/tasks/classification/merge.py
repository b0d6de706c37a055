"""Classification runs over folds and seeds merged into one result."""

from collections.abc import Mapping
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.classification import table
from medjax.tasks.classification.intervals import all_metrics, metric_entries
from medjax.tasks.classification.probability_analysis import DECISION_THRESHOLDS, named_prevalence
from medjax.tasks.classification.summary import summarise
from medjax.tasks.family import Combined


def merge(runs: Mapping[str, Run]) -> Combined:
    """Metrics over rounds that test every case once; of one round also the analysis of probabilities and subgroups.

    Args:
      runs: the runs by their paths.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    problem, classes = first.results['problem'], first.classes
    rows = [{'run': path, **row} for path, run in runs.items() for row in run.rows('test')]
    metrics = cross_validation.pooled(tables, lambda part: table.read(part, problem, classes), all_metrics,
                                      metric_entries)
    return Combined(rows, {'test': metrics, 'analysis': _analysis(tables, first)},
                    cross_validation.notice(tables, unit=first.analysis_unit), ['test'])


def _analysis(tables: cross_validation.Tables, first: Run) -> dict[str, Any]:
    """The analysis of probabilities and subgroups of folds that tested every case once; `first` gives the options."""
    options, problem = first.section('evaluate'), first.results['problem']
    columns, rounds = options.get('subgroups') or (), cross_validation.rounds(tables)
    if len(rounds) > 1:
        return {'warnings': ['every case was tested several times: no subgroup analysis']} if columns else {}
    found = summarise(rounds[0], problem, first.classes, subgroups=columns,
                      decision_thresholds=tuple(options.get('decision_thresholds') or DECISION_THRESHOLDS),
                      prevalence=named_prevalence(options.get('prevalence'), problem, first.classes))
    return {'probability': found['probability'], 'subgroups': found['subgroups'],
            'warnings': [line for line in found['warnings'] if line.startswith(tuple(columns))]}
