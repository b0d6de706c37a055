"""The base classes of all data sets; they satisfy `core.contracts.Dataset`."""

import abc
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.datasets.resident import Resident, ResidentRows
from medjax.data.source import SPLITS, Source
from medjax.errors import InputError


class Dataset(abc.ABC):
    """The base of all data sets.

    Attributes:
      source: the cases as stored.
      warnings: problems of the data, a line each, beside those of the source; both are printed before training and are
        part of `notice`.
    """

    source: Source
    warnings: Sequence[str] = ()

    @functools.cached_property
    def _numbers(self) -> dict[str, np.ndarray]:
        splits = np.array([case.split for case in self.source.cases])
        return {split: np.flatnonzero(splits == split) for split in dict.fromkeys([*SPLITS, *splits.tolist()])
                if (splits == split).any()}

    def numbers(self, split: str) -> np.ndarray:
        """The indices of a split's cases in `source.cases`."""
        return self._numbers[split]

    @property
    def counts(self) -> dict[str, int]:
        """The number of cases of each split: training, validation and test first, then any others."""
        return {split: len(numbers) for split, numbers in self._numbers.items()}

    @functools.cached_property
    def notice(self) -> str:
        """The text on the data in every report: the source's notice, its warnings and those of the data set."""
        return ' '.join(filter(None, [self.source.notice, *self.source.warnings, *self.warnings]))

    @property
    @abc.abstractmethod
    def statistics(self) -> Mapping[str, Any]:
        """Statistics of the training data for the task and `predict`, as plain JSON; stored with each checkpoint."""

    @property
    @abc.abstractmethod
    def fingerprint(self) -> str:
        """SHA-256 over the content, patient and split of every case."""

    def __len__(self) -> int:
        """The number of training items in an epoch: by default one for each training case."""
        return len(self._numbers['train'])

    @abc.abstractmethod
    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """Training item `number` as arrays without a batch axis, and the `id` of its case."""

    def resident(self) -> Resident | None:
        """The training data for device memory; None where it cannot be kept there."""
        return None

    @property
    def case_values(self) -> Mapping[str, Sequence[float]]:
        """Numbers of every case, by name with unit; see `core.contracts.Dataset`."""
        return {}


class RowDataset(Dataset):
    """The base of data sets whose training items are rows of arrays, one for each case."""

    @abc.abstractmethod
    def batch(self, numbers: np.ndarray) -> dict[str, np.ndarray]:
        """Inputs and targets of some cases, each array with a first axis of cases.

        Args:
          numbers: indices of cases in `source.cases`.
        """

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """A training case: its row of `batch`, and its `id`."""
        index = self._numbers['train'][number]
        row = {name: part[0] for name, part in self.batch(np.array([index])).items()}
        return {**row, 'id': self.source.cases[index].id}

    def resident(self) -> Resident | None:
        """The training cases for device memory."""
        train = self._numbers['train']
        row_bytes = sum(part.nbytes for part in self.batch(train[:1]).values())
        return ResidentRows(float(len(train) * row_bytes), functools.partial(self.batch, train))


def check_training_cases(source: Source) -> None:
    """Checks that there are training cases.

    Raises:
      InputError: there are none.
    """
    if not any(case.split == 'train' for case in source.cases):
        raise InputError(f'config.data.source: no training case among the {len(source.cases)} cases; expected split '
                         'train')


def untrained_classes(classes: Sequence[str], counts: Mapping[str, np.ndarray], cases: int) -> list[str]:
    """A line for each class that no training case has.

    Args:
      classes: `[K]`, their names.
      counts: how often each class occurs in each split, `[K]`.
      cases: the number of training cases.
    """
    out = []
    for number, name in enumerate(classes):
        if counts['train'][number] == 0:
            elsewhere = [f'{split} {found[number]}' for split, found in counts.items() if found[number]]
            out.append(f'{name}: in none of the {cases} training cases; in other splits: '
                       f'{", ".join(elsewhere) or "none"}.')
    return out
