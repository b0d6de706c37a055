"""Treatment effects by several runs for the same patients: differences between errors and policy values."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable
from medjax.tasks.treatment import summary
from medjax.tasks.treatment.table import Predictions, Row, read

METRICS = ('pehe', 'ate_error', 'factual_rmse', 'pehe_matched', 'policy_value', 'qini')


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """METRICS of the network, those of true effects where these are known.

    Args:
      runs: the runs.
      rows: of each run, the same patients in the same order.
    """
    tables = [dataclasses.replace(table, predicted={'': table.predicted['']}) for table in map(read, rows)]
    return Comparable(tables, _metrics, _counted, ('treatment', 'outcome', 'effect').__contains__)


def _metrics(table: Predictions, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    found = summary.compute_metrics(table, draws)
    return {name: found[name] for name in METRICS if name in found}


def _counted(table: Predictions, name: str) -> np.ndarray:
    return np.ones(len(table.outcome), bool)
