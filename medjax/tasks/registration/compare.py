"""Registration runs on the same pairs: differences between overlap, landmark errors and folding."""

from collections.abc import Sequence

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable
from medjax.tasks.registration import summary
from medjax.tasks.registration.table import METRICS, Row, Table, column, read


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of the deformations, and not those of other methods, of which the runs have the same.

    Args:
      runs: the runs.
      rows: of each run, the same pairs in the same order.
    """
    return Comparable([_own(read(part)) for part in rows], summary.metric_values, _counted, _is_known)


def _own(table: Table) -> Table:
    """The table without other methods, and without metrics that no pair has."""
    return Table(table.ids, table.patients, {
        (metric, method): values for (metric, method), values in table.values.items()
        if not method and metric in METRICS and not np.isnan(values).all()})


def _counted(table: Table, name: str) -> np.ndarray:
    return ~np.isnan(table.values[name, ''])


def _is_known(name: str) -> bool:
    """Whether a column is of the pair before registration."""
    return name in (column('dice', 'none'), column('tre', 'none'))
