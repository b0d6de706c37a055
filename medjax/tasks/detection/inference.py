"""Detection in any number of images, in compiled batches of one size."""

import dataclasses
import functools
import itertools
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import jax
import numpy as np

from medjax.core import distributed
from medjax.core.task import Task
from medjax.errors import InputError
from medjax.ops import window_stitching

SCORE_DIGITS = 6  # decimals of a score


class Detections(NamedTuple):
    """The detections of an image, by decreasing score.

    Attributes:
      boxes: `[N, 2D]`, in voxels of the network's input unless stated otherwise.
      labels: `[N]` class numbers.
      scores: `[N]` float64.
    """

    boxes: np.ndarray
    labels: np.ndarray
    scores: np.ndarray

    def above(self, score: float) -> 'Detections':
        """The detections with at least a score."""
        chosen = self.scores >= score
        return Detections(self.boxes[chosen], self.labels[chosen], self.scores[chosen])


@dataclasses.dataclass(frozen=True)
class BatchedDetector:
    """Detects objects in images of one size.

    Attributes:
      task: the task.
      batch: images per batch; the last batch is padded, so that the prediction is compiled once.
      window: extents of a sliding window; the whole image by default.
      overlap: see `window_stitching`, also for nms_threshold.
      nms_threshold: …
    """

    task: Task
    batch: int
    window: tuple[int, ...] = ()
    overlap: float = 0.5
    nms_threshold: float = 0.5

    def __post_init__(self):
        if self.batch < 1 or not 0 <= self.overlap < 1 or not 0 <= self.nms_threshold <= 1:
            raise InputError(f'config.evaluate: batch={self.batch}, overlap={self.overlap}, '
                             f'nms_threshold={self.nms_threshold}; expected at least 1, 0 to below 1, and 0 to 1')

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        predict = self.task.predict
        if self.window:
            predict = window_stitching.sliding_window_detector(predict, self.window, self.overlap, self.nms_threshold)
        return jax.jit(lambda variables, batch: predict(variables, batch))

    def __call__(self, variables: Any, inputs: Callable[[np.ndarray], Mapping[str, np.ndarray]],
                 count: int) -> list[Detections]:
        """The detections of each image.

        Args:
          variables: the network's variables.
          inputs: the entries of a batch for image numbers `[n]`.
          count: number of images.
        """
        def detected(start: int) -> list[Detections]:
            numbers = np.minimum(np.arange(start, start + self.batch), count - 1)
            out, found = jax.device_get(self._compiled(variables, inputs(numbers))), []
            for row in range(min(self.batch, count - start)):
                scores = np.round(out['scores'][row].astype(np.float64), SCORE_DIGITS)
                real = np.flatnonzero((out['valid'][row] > 0) & (scores > 0))
                real = real[np.argsort(-scores[real], kind='stable')]
                found.append(Detections(out['boxes'][row][real], out['labels'][row][real], scores[real]))
            return found

        parts = distributed.mapped(detected, range(0, count, self.batch))
        return list(itertools.chain.from_iterable(parts))
