"""Polygons on a grid of pixels."""

from collections.abc import Iterator, Sequence

import numpy as np


def inside(corners: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """The points of a grid that are within a polygon, by the rule of even and odd crossings.

    Args:
      corners: `[N, 2]`, in units of the grid.
      shape: of the grid, `(X, Y)`.

    Returns:
      `[X, Y]` bool.
    """
    out = np.zeros(shape, bool)
    xs = np.arange(shape[0])
    for (x0, y0), (x1, y1) in _edges(corners):
        if y0 == y1:
            continue
        rows = np.arange(max(int(np.ceil(min(y0, y1))), 0), min(int(np.ceil(max(y0, y1))), shape[1]))
        crossing = x0 + (rows - y0) * (x1 - x0) / (y1 - y0)
        out[:, rows] ^= xs[:, None] < crossing
    return out


def _edges(corners: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    yield from zip(corners, np.roll(corners, -1, 0))
