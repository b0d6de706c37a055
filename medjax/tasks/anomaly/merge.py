"""Runs of anomaly detection over folds and seeds as one result."""

from collections.abc import Mapping
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.anomaly import summary
from medjax.tasks.family import Combined


def merge(runs: Mapping[str, Run]) -> Combined:
    """Anomaly scores over rounds, each run at its own threshold.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    known = {key: first.results['analysis'][key] for key in ('normal', 'score')}
    found, rows = pooled(tables, **known)
    notice = cross_validation.notice(tables, shown="the mean of all runs' scores")
    return Combined(rows, {'test': found, 'analysis': {**known, 'threshold': None}}, notice, ['test'])


def pooled(tables: cross_validation.Tables, normal: str, score: str, resamples: int = 2000,
           seed: int = 0) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Metrics of anomaly scores over folds and seeds, see `cross_validation.pooled`, and the rounds' mean scores.

    Args:
      tables: for each run the rows of its predictions table.
      normal: name of the class without anomalies.
      score: the score that is compared with a threshold, which each run's validation cases set.
      resamples: bootstrap draws of patients, the same for all rounds.
      seed: of the draws.
    """
    known = {name: [{**row, 'threshold': summary.threshold_of(rows, normal, score)} for row in rows]
             for name, rows in tables.items()}
    found = cross_validation.pooled(known, lambda rows: summary.read(rows, normal, score), summary.figures,
                                    summary.entries, resamples=resamples, seed=seed)
    rounds = cross_validation.rounds(tables)
    return found, cross_validation.mean_rows(rounds, lambda name: name.startswith(summary.PREFIX))
