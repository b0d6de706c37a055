"""Images with the position of a landmark."""

import functools
import hashlib
from typing import Any

import numpy as np

from medjax.data.datasets.base import Dataset
from medjax.data.source import Source
from medjax.errors import InputError


class LandmarkDataset(Dataset):
    """All images in memory; `Dataset` gives counts, places of each split, and the optional members of the contract."""

    def __init__(self, source: Source):
        self.source = source
        self.images = np.stack([case.read() for case in source.cases])[..., None]
        self.points = np.array([(case.target.row, case.target.column) for case in source.cases], np.float32)

    @property
    def statistics(self) -> dict[str, Any]:
        """What the task and `predict` need of the training data."""
        return {'size': list(self.images.shape[1:3])}

    @functools.cached_property
    def fingerprint(self) -> str:
        """SHA-256 over images, points and splits."""
        splits = ' '.join(case.split for case in self.source.cases)
        return hashlib.sha256(self.images.tobytes() + self.points.tobytes() + splits.encode()).hexdigest()

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """Training item: `image [H, W, 1]` and `point [2]`."""
        at = self.numbers('train')[number]
        return {'image': self.images[at], 'point': self.points[at], 'id': self.source.cases[at].id}


def dataset(source: Source) -> LandmarkDataset:
    """Makes the data set of a source of landmarks."""
    if source.problem != 'landmarks':
        raise InputError('config.data: expected a source of landmarks')
    return LandmarkDataset(source)
