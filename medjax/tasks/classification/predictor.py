"""Classification of new images with a trained run."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.batched import TOGETHER, padded_size
from medjax.data.io.geometry import Image
from medjax.data.transforms.images import ImagePreprocess
from medjax.statistics.selection import entropy
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

    @property
    def together(self) -> int:
        """Several images; 1 with dropout, whose random numbers depend on the image's place in the batch."""
        return 1 if self.classifier.dropout_samples else TOGETHER

    @functools.cached_property
    def _classifiers(self) -> dict[int, BatchedClassifier]:
        """Classifiers by the size of their batch."""
        return {self.classifier.batch: self.classifier}

    def read_input(self, path: pathlib.Path) -> np.ndarray:
        """The network's input `[*S, C]` for an image: a file, or a folder with a DICOM series.

        Raises:
          InputError: the image does not fit the network.
        """
        return self.preprocess.network_input(self.read(path), self.statistics)

    def predict_together(self, variables: Any, inputs: Sequence[np.ndarray]) -> np.ndarray:
        """The probabilities of images, `[n, K]` float64."""
        size = padded_size(len(inputs))
        classifier = self._classifiers.setdefault(size, dataclasses.replace(self.classifier, batch=size))
        return classifier(variables, np.stack(inputs).__getitem__, len(inputs)).mean(0)

    def write_output(self, path: pathlib.Path, folder: pathlib.Path, found: np.ndarray, output: np.ndarray) -> str:
        """Adds a row with an image's probabilities to `predictions.csv`; the row of the same path is replaced.

        Args:
          path: of the image.
          folder: the output folder.
          found: the network's input.
          output: `[K]`, the probabilities.

        Returns:
          A line with the most probable classes.

        Raises:
          InputError: the table cannot be written.
        """
        classes, table_path = self.statistics['classes'], folder / 'predictions.csv'
        columns = table.prob_columns(output, classes)
        atomic_files.add_row(table_path, {'image': str(path), **{name: repr(p) for name, p in columns.items()}})
        return f'{path} → {table_path}   {self._ranked(output)}'

    def findings(self, variables: Any, path: pathlib.Path, probs: bool = False) -> contracts.Findings:
        """The probability of each class of an image; `probs` is ignored."""
        found = self.predict_together(variables, [self.read_input(path)])[0]
        return contracts.Findings(self.statistics['classes'], self._ranked(found), class_probs=found)

    def _ranked(self, probs: np.ndarray) -> str:
        """The most probable classes as text."""
        ranked = sorted(zip(self.statistics['classes'], probs), key=lambda pair: -pair[1])[:LISTED]
        return '  '.join(f'{name} {p:.3f}' for name, p in ranked)

    def uncertainty_and_features(self, variables: Any, path: pathlib.Path) -> tuple[float, np.ndarray]:
        """The entropy of an image's probabilities, and the network's pooled features or else these probabilities."""
        found = self.read_input(path)
        probs = self.predict_together(variables, [found])
        several = self.statistics.get('problem') == 'multilabel'
        return float(entropy(probs, several)[0]), np.asarray(self._features(variables, found[None]), np.float64)[0]

    @functools.cached_property
    def _features(self) -> Callable[[Any, Any], jax.Array]:
        """`(variables, image [B, *S, C]) -> [B, D]`, compiled."""
        task = self.classifier.task

        def features(variables: Any, image: jax.Array) -> jax.Array:
            if task.features is not None:
                named = task.features(variables, image)[1]
                if 'pooled' in named:
                    return named['pooled'].reshape(len(image), -1)
            return task.predict(variables, {'image': image})['probs']

        return jax.jit(features)

    def warm(self, variables: Any) -> None:
        """Compiles the prediction of each size of a batch; see `contracts.Predictor`."""
        for count in range(1, self.together + 1):
            if count == padded_size(count):
                self.predict_together(variables, [self.example()['image'][0]] * count)
