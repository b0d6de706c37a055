"""Runs of forecasting over folds and seeds as one result."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.report.run_files import Run
from medjax.statistics import cross_validation
from medjax.tasks.family import Combined
from medjax.tasks.forecasting import summary


def merge(runs: Mapping[str, Run]) -> Combined:
    """Errors and risks over rounds that forecast every visit once.

    Args:
      runs: the runs by their paths, as they were given.

    Raises:
      InputError: the runs' test cases do not add up to rounds of the same cases.
    """
    first = next(iter(runs.values()))
    tables = {path: run.predictions for path, run in runs.items()}
    known = first.results['analysis']
    found, rows = pooled(tables, known['measured'], first.classes, known['within'], known['leads'])
    analysis = summary.summarise(rows, known['measured'], first.classes, known['within'], known['leads'], resamples=1)
    del analysis['metrics']
    notice = cross_validation.notice(tables, shown="the mean of all runs' predictions")
    return Combined(rows, {'test': found, 'analysis': analysis}, notice, ['test'])


def pooled(tables: cross_validation.Tables, names: Sequence[str], events: Sequence[str], within: float,
           leads: Sequence[float], resamples: int = 2000,
           seed: int = 0) -> tuple[dict[str, dict[str, Any]], list[dict[str, Any]]]:
    """Metrics of forecasts over folds and seeds, see `cross_validation.pooled`, and the rounds' mean forecasts.

    Args:
      tables: for each run the rows of its predictions table.
      names: of the measurements.
      events: their names.
      within: the horizon of events, in the source's unit of time.
      leads: ends of the ranges of lead time, see `summary.summarise`.
      resamples: bootstrap draws of patients, the same for all rounds.
      seed: of the draws.
    """
    found = cross_validation.pooled(
        tables, lambda rows: summary.read(rows, names, events, within),
        lambda part, draws=None: summary.figures(part, leads, draws), summary.entries, resamples=resamples, seed=seed)
    rounds = cross_validation.rounds(tables)
    return found, cross_validation.mean_rows(rounds, lambda name: name.startswith(('forecast_', 'chance_')))
