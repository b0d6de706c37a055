"""The predictions table of registration: its columns, written by the evaluator and read by summary and chapter.

A row is a pair: `split`, `id`, `patient`, the case's own columns, and the METRICS of the run, and behind an underscore
those of the other METHODS. Cells are NaN or empty where a metric is not defined:

    dice         mean Dice over the classes that either image has
    folded       share of cells that are folded, %
    tre, tre90   mean and 90th percentile of the target registration error, mm or px
    ncc          mean squared correlation in windows
    consistency  distance of a voxel from its start after the deformation and its inverse, mm or px
    seconds      time
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import Case
from medjax.errors import InputError
from medjax.statistics import per_patient

METHODS = {'': 'this run', 'none': 'no registration', 'affine': 'affine', 'bspline': 'B-splines (SimpleITK)'}
METRICS = ('dice', 'folded', 'tre', 'tre90', 'ncc', 'consistency', 'seconds')
LARGEST = {'dice': 1, 'folded': 100, 'ncc': 1}  # values of metrics with an upper bound

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Pairs as arrays.

    Attributes:
      ids: names.
      patients: `[n]` int, equal for pairs of one patient.
      values: `[n]` for each of METRICS and each method, NaN where it is not defined.
    """

    ids: tuple[str, ...]
    patients: np.ndarray
    values: Mapping[tuple[str, str], np.ndarray]

    @property
    def methods(self) -> list[str]:
        """The methods of the table."""
        return [method for method in METHODS if ('ncc', method) in self.values]


def column(metric: str, method: str) -> str:
    """The column of a metric of a method."""
    return f'{metric}_{method}' if method else metric


def row(split: str, case: Case, metrics: Mapping[str, Mapping[str, float]]) -> dict[str, Any]:
    """The row of a pair.

    Args:
      split: of the pair.
      case: the pair.
      metrics: for each method its METRICS; empty where the method failed or was not applied.
    """
    out = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns}
    for method, values in metrics.items():
        out |= {column(metric, method): values.get(metric, math.nan) for metric in METRICS}
    return out


def is_metric(name: str) -> bool:
    """Whether a column is a metric of the run, or Dice, TRE or folding of another method."""
    return name in METRICS or name.rpartition('_')[0] in ('dice', 'tre', 'folded')


def is_averaged(name: str) -> bool:
    """Whether a column is a metric of a method, which is averaged over runs."""
    return name in {column(metric, method) for metric in METRICS for method in METHODS}


def read(rows: Sequence[Row]) -> Table:
    """Rows of the table as arrays; cells are text or numbers.

    Raises:
      InputError: a cell that is no number, or out of its range, with the case and the column.
    """
    first, values = rows[0] if rows else {}, {}
    for method in METHODS:
        if column('ncc', method) in first or not method:
            values |= {(metric, method): np.array([_number(cells, number, column(metric, method))
                                                   for number, cells in enumerate(rows)]) for metric in METRICS}
    return Table(tuple(str(cells.get('id', number)) for number, cells in enumerate(rows)),
                 per_patient.patient_numbers(rows), values)


def _number(cells: Row, number: int, name: str) -> float:
    cell = cells.get(name)
    if cell in ('', None) or cell != cell or cell == 'nan':
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    largest = LARGEST.get(name.split('_')[0], math.inf)
    if not -1e-6 <= value <= largest + 1e-6 or not math.isfinite(value):
        bound = f'to {largest}' if math.isfinite(largest) else 'or more'
        raise InputError(f'predictions, case {cells.get("id", number)}: {name}: {cell}; expected a number of 0 {bound}')
    return value
