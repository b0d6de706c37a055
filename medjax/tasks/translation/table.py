"""The predictions table of translation: its columns, written by the evaluator and read by summary and chapter.

A row is a case with an image: `split`, `id`, `patient`, the case's own columns and the METRICS of the network, behind
an underscore those of the baselines in METHODS, and for a CycleGAN `cycle_mae`, the error of the image translated forth
and back. Metrics are NaN for cases without a target.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.data.source import Case
from medjax.statistics.per_patient import parse_number

METHODS = {'': 'network', 'linear': 'linear regression', 'lookup': 'lookup table', 'matched': 'histogram matching'}
METRICS = ('psnr', 'ssim', 'mae', 'sharpness')
CYCLE = 'cycle_mae'
GAIN = 'gain_psnr'  # a result: the network's PSNR minus that of a baseline, case by case

Row = Mapping[str, Any]


def column(metric: str, method: str) -> str:
    """The column of a metric of a method in METHODS."""
    return f'{metric}_{method}' if method else metric


def row(split: str, case: Case, metrics: Mapping[str, Mapping[str, float]], cycle: float | None) -> dict[str, Any]:
    """The row of a case.

    Args:
      split: of the case.
      case: the case.
      metrics: for each method its METRICS, the network's first.
      cycle: the error of the image translated forth and back; None where the network does not do that.
    """
    out = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns}
    for method, values in metrics.items():
        out |= {column(metric, method): value for metric, value in values.items()}
        if not method and cycle is not None:
            out[CYCLE] = cycle
    return out


def methods(rows: Sequence[Row]) -> list[str]:
    """The methods of a table, the network first."""
    columns = {key for cells in rows for key in cells}
    return [method for method in METHODS if not method or column('psnr', method) in columns]


def psnr(cells: Row, method: str = '') -> float:
    """PSNR of a method in a row, dB."""
    return parse_number(cells.get(column('psnr', method)))


def is_metric(name: str) -> bool:
    """Whether a column is a metric of any method."""
    return name.startswith((*METRICS, CYCLE))
