"""Runs of forecasting over folds and seeds as one result."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.family import Combined
from medjax.tasks.forecasting import summary, table


def merge(runs: Mapping[str, Run]) -> Combined:
    """Errors of values and metrics of events over rounds, each of which has every visit once.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    known = first.results['analysis']
    options = known['measured'], first.classes, known['horizon'], known['lead_times']
    metrics, rows = pooled(tables, *options)
    analysis = summary.summarise(rows, *options)
    del analysis['metrics']
    notice = cross_validation.notice(tables, shown="the mean of all runs' predictions")
    return Combined(rows, {'test': metrics, 'analysis': analysis}, notice, ['test'])


def pooled(tables: cross_validation.Tables, names: Sequence[str], events: Sequence[str], horizon: float,
           lead_times: Sequence[float]) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Metrics of forecasts over folds and seeds, see `cross_validation.pooled`, and the rounds' mean forecasts.

    Args:
      tables: for each run the rows of its predictions table.
      names: of the values.
      events: names of the events.
      horizon: the horizon of events, in the source's unit of time.
      lead_times: limits of the lead times, see `summary.summarise`.
    """
    metrics = cross_validation.pooled(
        tables, lambda rows: table.read(rows, names, events, horizon),
        lambda part, draws=None: summary.compute_metrics(part, lead_times, draws), summary.entries)
    return metrics, cross_validation.mean_rows(cross_validation.rounds(tables), table.is_averaged)
