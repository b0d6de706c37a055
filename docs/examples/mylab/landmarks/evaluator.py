"""Per-case predictions of landmarks, and the predictor for new images."""

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import BatchedPredictor
from medjax.core.task import Task
from medjax.errors import InputError
from medjax.options import Count
from mylab.landmarks import table
from mylab.landmarks.dataset import LandmarkDataset


@dataclasses.dataclass(frozen=True)
class LandmarkEvaluator(contracts.Evaluator):
    """Predicts the cases of a split."""

    data: LandmarkDataset
    predict_batched: BatchedPredictor

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row for each case: its point and the predicted one."""
        numbers = self.data.numbers(split)
        points = self.predict_batched(variables, {'image': self.data.images[numbers]})['point']
        return [table.row(self.data.source.cases[number], point) for number, point in zip(numbers, points)]

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The mean error and the fraction of cases within 2 pixels."""
        errors = table.errors(rows)
        return {'error': float(errors.mean()), 'within': float((errors <= 2).mean())}


@dataclasses.dataclass(frozen=True)
class LandmarkPredictor(contracts.Predictor):
    """Finds the landmark of new images, which come as `.npy` files."""

    size: tuple[int, int]
    predict_batched: BatchedPredictor

    shared = ('predictions.csv',)

    def outputs(self, path: pathlib.Path) -> tuple[()]:
        """No file: all images are in one table."""
        return ()

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network takes."""
        return {'image': np.zeros((1, *self.size, 1), np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Reads an image and adds a row to `predictions.csv`."""
        image = np.load(path, allow_pickle=False)
        if image.shape != self.size:
            raise InputError(f'{path}: {image.shape}; expected {self.size}, as in training')
        point = self.predict_batched(variables, {'image': image[None, ..., None].astype(np.float32)})['point'][0]
        atomic_files.add_row(folder / 'predictions.csv', {'image': str(path), 'row': point[0], 'column': point[1]})
        return f'{path}: row {point[0]:.1f}, column {point[1]:.1f}'


def evaluator(*, data: LandmarkDataset, task: Task, batch: Count = 16) -> LandmarkEvaluator:
    """Makes the evaluator.

    Args:
      data: the data set.
      task: the task.
      batch: images that go through the network at once.
    """
    return LandmarkEvaluator(data, BatchedPredictor(task, batch))


def predictor(*, task: Task, statistics: Mapping[str, Any], batch: int = 16, **_: Any) -> LandmarkPredictor:
    """Makes the predictor.

    Args:
      task: the task.
      statistics: of the training data.
      batch: images that go through the network at once.
      **_: what other predictors need.
    """
    return LandmarkPredictor(tuple(statistics['size']), BatchedPredictor(task, batch))
