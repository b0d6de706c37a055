"""Regression runs on the same cases: differences between their errors and correlations."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable
from medjax.tasks.regression import summary
from medjax.tasks.regression.table import Predictions, Row, read


class Cases(NamedTuple):
    """The network's predictions of `count` cases, by target those in which it was measured."""

    count: int
    targets: Mapping[str, Predictions]


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of the network; those of the baselines do not depend on it.

    Args:
      runs: the runs.
      rows: of each run, the same cases in the same order.
    """
    targets = runs[0].classes
    tables = []
    for part in rows:
        read_targets = {name: read(part, name) for name in targets}
        tables.append(Cases(len(part), {name: dataclasses.replace(table, predicted={'': table.predicted['']})
                                        for name, table in read_targets.items()}))
    return Comparable(tables, _metrics, _counted, targets.__contains__)


def _metrics(cases: Cases, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    weights = None if draws is None else {name: draws[:, table.cases] for name, table in cases.targets.items()}
    return summary.compute_metrics(cases.targets, weights)


def _counted(cases: Cases, name: str) -> np.ndarray:
    """The cases in which the target of a metric was measured, `[n]` bool."""
    out = np.zeros(cases.count, bool)
    for target, table in cases.targets.items():
        if name in (summary.metric_key(metric, target, '', list(cases.targets)) for metric in summary.METRICS):
            out[table.cases] = True
    return out
