"""The predictions table of image synthesis: its columns, written by the evaluator and read by summary and chapter.

A row is an image: `split`, `id`, `patient`, `kind` (one of KINDS), `target`, the name of its class, and its features
`pixels_00` …, principal components of its pixels, and with a feature network `network_00` …, those of its features.
Where they are known there are `predicted`, the class by the network, `nearest`, the distance to the nearest training
image (root mean square of pixels as shares of their range), and `nearest_id`, that image.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import Case
from medjax.errors import InputError
from medjax.statistics.per_patient import parse_number

KINDS = ('real', 'synthetic', 'train', 'val', 'blurred', 'noisy')  # images of the split, generated ones, and baselines
FEATURES = ('network', 'pixels')  # the first that a table has is the primary one
DECIMALS = 4  # of features, which have a variance of about 1
PICTURES = 'pictures.npz'  # in a split's folder of cases: images that the report draws

Row = Mapping[str, Any]


def row(split: str, kind: str, target: str, case: Case | None, place: int, cells: Mapping[str, Any]) -> dict[str, Any]:
    """The row of an image.

    Args:
      split: of the real images.
      kind: one of KINDS.
      target: name of its class.
      case: of a real image; None of a generated or changed one.
      place: its number among the images of its kind.
      cells: its other columns.
    """
    name = case.id if case else f'{kind}{place:06d}'
    return {'split': split, 'id': name, 'patient': case.patient if case else name, 'kind': kind, 'target': target,
            **cells}


def feature_columns(name: str, features: np.ndarray) -> dict[str, list[float]]:
    """The columns of one kind of features `[n, F]`, each with n numbers."""
    return {f'{name}_{k:02d}': column for k, column in enumerate(features.round(DECIMALS).T.tolist())}


def is_feature(column: str) -> bool:
    """Whether a column is a feature."""
    return column.startswith(tuple(f'{name}_' for name in FEATURES))


def primary_features(rows: Sequence[Row]) -> str:
    """The kind of features that results are computed from: those of the network where present, else pixels."""
    return next((name for name in FEATURES if rows and f'{name}_00' in rows[0]), '')


def read_features(rows: Sequence[Row], name: str) -> np.ndarray:
    """One kind of features of all images, `[n, F]` float64.

    Raises:
      InputError: a cell that is no number.
    """
    columns = sorted(key for key in rows[0] if key.startswith(f'{name}_')) if rows else []
    values = np.array([[parse_number(cells.get(key)) for key in columns] for cells in rows], float)
    invalid = np.flatnonzero(~np.isfinite(values).all(1))
    if len(invalid):
        raise InputError(f'predictions, image {rows[invalid[0]]["id"]}: a column {name}_… is empty; expected numbers')
    return values


def read_nearest(rows: Sequence[Row]) -> np.ndarray:
    """The distance of each image to the nearest training image, `[n]`; NaN where it is not known."""
    return np.array([parse_number(cells.get('nearest')) for cells in rows])
