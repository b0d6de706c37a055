"""Images with the position of a landmark."""

import functools
import hashlib
from typing import Any

import numpy as np

from medjax.data.datasets.base import RowDataset
from medjax.data.source import Source
from medjax.errors import InputError


class LandmarkDataset(RowDataset):
    """Images in memory; `RowDataset` gives the counts and places of each split, training items and the resident."""

    def __init__(self, source: Source):
        self.source = source
        self.images = np.stack([case.read() for case in source.cases])[..., None]
        self.points = np.array([(case.target.row, case.target.column) for case in source.cases], np.float32)

    @property
    def statistics(self) -> dict[str, Any]:
        """Statistics for the task and `predict`: `size`, rows and columns."""
        return {'size': list(self.images.shape[1:3])}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, points and splits."""
        splits = ' '.join(case.split for case in self.source.cases)
        return hashlib.sha256(self.images.tobytes() + self.points.tobytes() + splits.encode()).hexdigest()

    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Some cases: `image [n, H, W, 1]` and `point [n, 2]`."""
        return {'image': self.images[numbers], 'point': self.points[numbers]}


def dataset(source: Source) -> LandmarkDataset:
    """Makes the data set of a source of landmarks."""
    if source.problem != 'landmarks':
        raise InputError('config.data: expected a source of landmarks')
    return LandmarkDataset(source)
