"""Classification of new images with a trained run."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import ImagePreprocess
from medjax.tasks.classification import table
from medjax.tasks.classification.inference import BatchedClassifier

LISTED = 5  # classes whose probability is printed


@dataclasses.dataclass(frozen=True)
class ClassificationPredictor(contracts.Predictor):
    """Classifies new images; see `evaluator.predictor`.

    Attributes:
      preprocess: brings images to the network's size.
      statistics: statistics of the training data.
      read: reads an image.
      classifier: predicts in batches.
    """

    preprocess: ImagePreprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    classifier: BatchedClassifier

    finds = 'class_probs'
    shared = ('predictions.csv',)

    def outputs(self, path: pathlib.Path) -> tuple[()]:
        """No file: all images are in one table, with their paths."""
        return ()

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        return {'image': np.zeros((1, *self.preprocess.size, self.statistics['channels']), np.float32)}

    def program(self, variables: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        """The probabilities of a batch, with the flips of test-time augmentation; see `contracts.Predictor`."""
        return {'probs': self.classifier.average_views(variables, batch['image'])}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Classifies an image and adds a row with its probabilities to `predictions.csv`.

        Args:
          variables: the network's variables.
          path: a file, or a folder with a DICOM series.
          folder: the output folder. The row of an image of the same name is replaced.

        Returns:
          A line with the most probable classes.

        Raises:
          InputError: the image does not fit the network, or the table cannot be written.
        """
        probs, classes = self._probs(variables, path), self.statistics['classes']
        columns = table.prob_columns(probs, classes)
        output = folder / 'predictions.csv'
        atomic_files.add_row(output, {'image': str(path), **{name: repr(p) for name, p in columns.items()}})
        return f'{path} → {output}   {self._ranked(probs)}'

    def findings(self, variables: Any, path: pathlib.Path, probs: bool = False) -> contracts.Findings:
        """The probability of each class of an image; `probs` is ignored."""
        found = self._probs(variables, path)
        return contracts.Findings(self.statistics['classes'], self._ranked(found), class_probs=found)

    def _probs(self, variables: Any, path: pathlib.Path) -> np.ndarray:
        """The probability of each class of an image, `[K]`."""
        array = self.preprocess.network_input(self.read(path), self.statistics)
        return self.classifier(variables, lambda numbers: array[None].repeat(len(numbers), 0), 1).mean(0)[0]

    def _ranked(self, probs: np.ndarray) -> str:
        """The most probable classes as text."""
        ranked = sorted(zip(self.statistics['classes'], probs), key=lambda pair: -pair[1])[:LISTED]
        return '  '.join(f'{name} {p:.3f}' for name, p in ranked)
