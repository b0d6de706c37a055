"""The predictions table of segmentation: its columns, how an evaluation writes them, and the mean Dice of a row."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.statistics.per_patient import parse_number
from medjax.tasks.segmentation.mask_metrics import LESION_METRICS

METRICS = ('dice', 'iou', 'sensitivity', 'precision', 'hd95', 'assd', 'nsd')  # of each class
FLAGS = ('missed', 'spurious')  # of each class: 0 or 1, see `mask_metrics`
MEAN_DICE = 'dice_mean'

Row = Mapping[str, Any]


def column(metric: str, name: str) -> str:
    """The column of a metric of a class."""
    return f'{metric}_{name}'


def metric_columns(classes: Sequence[str], lesions: bool, size_error: str) -> tuple[str, ...]:
    """The columns that are summarised, in the order of the results.

    Args:
      classes: names, background first.
      lesions: whether LESION_METRICS are computed.
      size_error: the metric of the signed difference in volume or area, see `mask_metrics.GRIDS`.
    """
    metrics = (*METRICS, size_error, *(LESION_METRICS if lesions else ()))
    return (MEAN_DICE, *(column(metric, name) for name in classes[1:] for metric in metrics))


def case_columns(metrics: Mapping[str, float], classes: Sequence[str]) -> dict[str, float]:
    """The columns of a case's metrics.

    Args:
      metrics: of `mask_metrics.case_metrics`.
      classes: names, background first.

    Returns:
      `dice_mean`, the mean over the classes for which Dice is defined, NaN where there is none; and the metrics.
    """
    dice = [metrics[column('dice', name)] for name in classes[1:]]
    defined = [value for value in dice if value == value]
    return {MEAN_DICE: float(np.mean(defined)) if defined else float('nan'), **metrics}


def read_mean_dice(row: Row, classes: Sequence[str]) -> float | None:
    """The mean Dice of a row of a table; None where it is not defined.

    Args:
      row: cells as text or numbers. Without the column `dice_mean` it is computed from those of the classes.
      classes: names, background first.
    """
    columns = [MEAN_DICE] if row.get(MEAN_DICE) else [column('dice', name) for name in classes[1:]]
    values = [value for value in (parse_number(row.get(name)) for name in columns) if value == value]
    return sum(values) / len(values) if values else None
