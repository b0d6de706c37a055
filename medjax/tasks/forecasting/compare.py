"""Forecasting runs on the same visits: differences between errors of values and early warning of events."""

import dataclasses
import functools
from collections.abc import Sequence

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable
from medjax.tasks.forecasting import summary
from medjax.tasks.forecasting.table import NEXT, Predictions, Row, column, read


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of the network; those of carrying forward and of regressions do not depend on it.

    Args:
      runs: the runs.
      rows: of each run, the same visits in the same order.
    """
    known = runs[0].results['analysis']
    names, lead_times = known['measured'], known['lead_times']
    tables = []
    for part in rows:
        table = read(part, names, runs[0].classes, known['horizon'])
        # The MASE needs the errors of carrying forward.
        kept = {method: values for method, values in table.forecasts.items() if method in ('', 'carried')}
        tables.append(dataclasses.replace(table, forecasts=kept, risks={
            method: values for method, values in table.risks.items() if not method}))
    observed = {'gap', 'ended', *names, *(column(NEXT, name) for name in names)}
    return Comparable(tables, functools.partial(_metrics, lead_times=lead_times), summary.counted_visits,
                      observed.__contains__)


def _metrics(table: Predictions, draws: np.ndarray | None = None, *,
             lead_times: Sequence[float]) -> dict[str, np.ndarray]:
    found = summary.compute_metrics(table, lead_times, draws)
    return {name: values for name, values in found.items() if not name.endswith('_carried')}
