"""Survival runs on the same patients: differences between concordance and Brier scores."""

import functools
from collections.abc import Sequence

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable
from medjax.tasks.survival import summary, table
from medjax.tasks.survival.table import Predictions, Row


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of all runs at the horizons of the first one, with curves at the times of all runs.

    Args:
      runs: the runs.
      rows: of each run, the same cases in the same order.
    """
    events = runs[0].classes
    parts = table.on_common_grid({str(number): part for number, part in enumerate(rows)}, events)
    tables = [table.read(part, events) for part in parts.values()]
    known = runs[0].results['analysis']['horizons']
    horizons = [horizon for horizon in known if horizon <= tables[0].grid[-1]]
    warnings = [f'horizon {horizon:g} lies after the last common time of the predicted curves: left out'
                for horizon in known if horizon not in horizons]
    metrics = functools.partial(_metrics, horizons=horizons)
    return Comparable(tables, metrics, _counted, ('time', 'event').__contains__, warnings=warnings)


def _metrics(predictions: Predictions, draws: np.ndarray | None = None, *,
             horizons: Sequence[float]) -> dict[str, np.ndarray]:
    return summary.compute_metrics(predictions, horizons, draws)


def _counted(predictions: Predictions, name: str) -> np.ndarray:
    return np.ones(len(predictions.ids), bool)
