"""The predictions table of anomaly detection: its columns, written by the evaluator and read by summary and chapter.

A row has `split`, `id`, `patient`, the case's own columns, `target`, the name of its class, and `score_NAME` for each
anomaly score, higher for more abnormal images; of cases with masks also the VOXEL_METRICS.
"""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import Case
from medjax.errors import InputError
from medjax.statistics.per_patient import parse_number

SCORE, VOXEL = 'score_', 'voxel_'  # prefixes of columns
VOXEL_METRICS = ('voxel_auprc', 'voxel_dice', 'voxel_dice_best', 'voxel_auprc_baseline')

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Scores of the cases of a split.

    Attributes:
      patients: `[n]` names.
      positive: `[n]` bool, whether a case is an anomaly; None where no class is one.
      scores: `[n]` by name; the primary score comes first, under ''.
      above_threshold: `[n]` bool, whether the primary score exceeds the threshold of the case's run; None without one.
      voxels: `[n]` for each voxel metric, NaN where it is not defined.
    """

    patients: np.ndarray
    positive: np.ndarray | None
    scores: Mapping[str, np.ndarray]
    above_threshold: np.ndarray | None
    voxels: Mapping[str, np.ndarray]


def score_columns(scores: Mapping[str, float]) -> dict[str, float]:
    """The columns of the scores of a case, by their names."""
    return {f'{SCORE}{name}': float(value) for name, value in scores.items()}


def row(split: str, case: Case, target: str, scores: Mapping[str, float],
        voxels: Mapping[str, float]) -> dict[str, Any]:
    """The row of a case.

    Args:
      split: of the case.
      case: the case.
      target: name of its class.
      scores: by name.
      voxels: the VOXEL_METRICS; empty without masks.
    """
    return {'split': split, 'id': case.id, 'patient': case.patient, **case.columns, 'target': target,
            **score_columns(scores), **voxels}


def score_names(rows: Sequence[Row]) -> list[str]:
    """Names of the scores of a table."""
    first = rows[0] if rows else {}
    return [name.removeprefix(SCORE) for name in first if name.startswith(SCORE)]


def score_values(rows: Sequence[Row], name: str) -> np.ndarray:
    """A score of all cases, `[n]` float64.

    Raises:
      InputError: no such column, or a cell that is no number.
    """
    names = score_names(rows)
    if rows and name not in names:
        raise InputError(f'predictions: no column {SCORE}{name}; expected it among: ' + (', '.join(names) or 'none'))
    values = np.array([parse_number(cells.get(f'{SCORE}{name}')) for cells in rows], float)
    invalid = np.flatnonzero(~np.isfinite(values))
    if len(invalid):
        raise InputError(f'predictions, case {rows[invalid[0]]["id"]}: {SCORE}{name}: {values[invalid[0]]}; expected a '
                         'number')
    return values


def read(rows: Sequence[Row], normal: str, score: str) -> Table:
    """The rows of one split as arrays.

    Args:
      rows: of the table, each with the `threshold` of its run where there is one.
      normal: name of the normal class; '' where no class is an anomaly.
      score: name of the primary score.

    Raises:
      InputError: a score that is missing or no number.
    """
    names, first = score_names(rows), rows[0] if rows else {}
    values = {name: score_values(rows, name) for name in (score, *names)}
    thresholds = _column(rows, 'threshold')
    return Table(
        patients=np.array([cells.get('patient') or cells['id'] for cells in rows]),
        positive=np.array([cells['target'] != normal for cells in rows]) if normal else None,
        scores={'': values[score], **{name: values[name] for name in names}} if normal else values,
        above_threshold=None if np.isnan(thresholds).any() else values[score] > thresholds,
        voxels={name: _column(rows, name) for name in first if name.startswith(VOXEL)})


def _column(rows: Sequence[Row], name: str) -> np.ndarray:
    return np.array([parse_number(cells.get(name)) for cells in rows], float)
