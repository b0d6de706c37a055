"""Runs of anomaly detection over folds and seeds as one result."""

from collections.abc import Mapping
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.anomaly import summary
from medjax.tasks.anomaly.table import SCORE, read
from medjax.tasks.family import Combined


def merge(runs: Mapping[str, Run]) -> Combined:
    """Anomaly scores over rounds, each run at its own threshold.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    analysis = next(iter(runs.values())).results['analysis']
    options = {key: analysis[key] for key in ('normal', 'score')}
    tables = {path: run.predictions for path, run in runs.items()}
    metrics, rows = pooled(tables, **options)
    notice = cross_validation.notice(tables, shown="the mean of all runs' scores",
                                     unit=next(iter(runs.values())).analysis_unit)
    return Combined(rows, {'test': metrics, 'analysis': {**options, 'threshold': None}}, notice, ['test'])


def pooled(tables: cross_validation.Tables, normal: str,
           score: str) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Metrics of anomaly scores over folds and seeds, see `cross_validation.pooled`, and the mean scores of the rounds.

    Args:
      tables: for each run the rows of its predictions table.
      normal: name of the normal class.
      score: name of the primary score; the threshold of each run is set by its own held-out cases.
    """
    with_threshold = {}
    for name, rows in tables.items():
        threshold = summary.normal_threshold(rows, normal, score)
        with_threshold[name] = [{**row, 'threshold': threshold} for row in rows]
    # Scores have no unit: those of different models cannot be compared.
    metrics = cross_validation.pooled(with_threshold, lambda rows: read(rows, normal, score), summary.other_metrics,
                                      summary.entries, ranking=summary.ranking_metrics)
    mean_rows = cross_validation.mean_rows(cross_validation.rounds(tables), lambda name: name.startswith(SCORE))
    return metrics, mean_rows
