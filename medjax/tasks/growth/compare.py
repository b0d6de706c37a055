"""Growth runs on the same patients: differences between the errors of predicted masks and of new tumours."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable
from medjax.tasks.growth import summary
from medjax.tasks.growth.table import NEW, Predictions, Row, read

KNOWN = ('visits', 'horizon', 'volume_last', 'volume_true')


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of the network; those of the baselines do not depend on it.

    Args:
      runs: the runs.
      rows: of each run, the same cases in the same order.
    """
    tables = []
    for part in rows:
        table = read(part)
        values = {(name, method): cells for (name, method), cells in table.values.items() if not method}
        tables.append(dataclasses.replace(table, values=values, volume={'': table.volume['']}, chance=None))
    return Comparable(tables, _metrics, summary.counted, lambda name: name in KNOWN or name.startswith(NEW))


def _metrics(table: Predictions, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """The metrics without the share of sites with a new tumour, which is the same in all runs."""
    found = summary.compute_metrics(table, draws)
    return {name: values for name, values in found.items() if name != 'new'}
