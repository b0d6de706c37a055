"""The predictions table: its columns, written and read here."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

COLUMNS = ('row', 'column', 'predicted_row', 'predicted_column')


def row(case: Any, point: np.ndarray) -> dict[str, Any]:
    """A case's row, of its predicted point `[2]`."""
    values = (case.target.row, case.target.column, float(point[0]), float(point[1]))
    return {'split': case.split, 'id': case.id, 'patient': case.patient, **dict(zip(COLUMNS, values))}


def errors(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The distance of each row's predicted point from the true one, `[n]`, pixels."""
    values = np.array([[float(row[name]) for name in COLUMNS] for row in rows]).reshape(-1, 4)
    return np.linalg.norm(values[:, :2] - values[:, 2:], axis=1)
