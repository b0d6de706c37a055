"""Simulated images with one bright spot each, the landmark."""

import dataclasses
import functools

import numpy as np

from medjax.data.source import Case, Source

SUFFIXES = ('.npy',)  # of new images


@dataclasses.dataclass(frozen=True)
class Landmark:
    """The target of a case: where the landmark is, in pixels.

    Attributes:
      row: from 0.
      column: from 0.
    """

    row: float
    column: float


def source(*, cases: tuple[int, int, int] = (32, 8, 8), size: int = 16, seed: int = 0) -> Source:
    """Simulates cases.

    Args:
      cases: how many train, validate and test.
      size: rows and columns of an image.
      seed: of the simulation.
    """
    rng, found = np.random.default_rng(seed), []
    for split, count in zip(('train', 'val', 'test'), cases):
        for number in range(count):
            row, column = rng.integers(2, size - 2, 2)
            name, read = f'{split}{number}', functools.partial(_image, row, column, size)
            found.append(Case(name, name, split, read, target=Landmark(float(row), float(column))))
    return Source(cases=tuple(found), classes=('row', 'column'), problem='landmarks',
                  notice='Simulated images: nothing here says anything about patients.')


def _image(row: int, column: int, size: int) -> np.ndarray:
    rows, columns = np.indices((size, size))
    return np.exp(-((rows - row) ** 2 + (columns - column) ** 2) / 2).astype(np.float32)
