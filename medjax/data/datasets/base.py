"""What every data set says of its splits, whatever its examples are."""

import functools
from collections.abc import Sequence

import numpy as np

from medjax.data.source import SPLITS, Source


class Parted:
    """The base of data sets that hold a `source`."""

    source: Source
    warnings: Sequence[str] = ()  # what is to be minded in the data, a line each

    @functools.cached_property
    def _numbers(self) -> dict[str, np.ndarray]:
        splits = np.array([case.split for case in self.source.cases])
        return {split: np.flatnonzero(splits == split) for split in dict.fromkeys([*SPLITS, *splits.tolist()])
                if (splits == split).any()}

    def numbers(self, split: str) -> np.ndarray:
        """Places of a split's cases among the source's."""
        return self._numbers[split]

    @property
    def counts(self) -> dict[str, int]:
        """Cases of each split, those that train, validate and test first."""
        return {split: len(numbers) for split, numbers in self._numbers.items()}

    @functools.cached_property
    def notice(self) -> str:
        """What the report must say of the data."""
        return ' '.join(filter(None, [self.source.notice, *self.warnings]))

    def __len__(self) -> int:
        """Training cases."""
        return len(self._numbers['train'])
