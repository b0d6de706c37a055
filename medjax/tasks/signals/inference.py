"""Probabilities of a beat at each sample of whole recordings."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from medjax.core.task import Task


@dataclasses.dataclass(frozen=True)
class RecordingSegmenter:
    """Predicts the probability of a beat at each sample of a whole recording, in one pass.

    Attributes:
      task: a segmentation task with the classes rest and beat.
      window: samples of a training window; recordings are padded with their last sample to a multiple of it.
    """

    task: Task
    window: int

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        return jax.jit(lambda variables, image: self.task.predict(variables, {'image': image})['probs'][0, :, 1])

    def __call__(self, variables: Any, values: np.ndarray) -> np.ndarray:
        """The probabilities `[L]` float64 of a recording `[L, C]`."""
        padding = -len(values) % self.window
        image = np.pad(values, [(0, padding), (0, 0)], mode='edge').astype(np.float32)
        return np.asarray(jax.device_get(self._compiled(variables, image[None])), np.float64)[:len(values)]
