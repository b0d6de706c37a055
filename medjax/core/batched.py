"""Predictions for any number of cases, in compiled batches of one size."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from medjax.core import distributed
from medjax.core.task import Task

TOGETHER = 8  # inputs of several requests that are predicted at once, at most


def padded_size(count: int) -> int:
    """The size of the batch for a number of inputs: the next power of two, so that few sizes are compiled."""
    return 1 << (count - 1).bit_length()


@dataclasses.dataclass(frozen=True)
class BatchedPredictor:
    """Predicts with a task for any number of cases.

    Attributes:
      task: the task.
      batch: number of cases in a batch. The last batch is padded, so that the prediction is compiled once.
    """

    task: Task
    batch: int

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        def predict(variables: Any, batch: Mapping[str, jax.Array], names: tuple[str, ...]) -> dict[str, jax.Array]:
            outputs = self.task.predict(variables, batch)
            return {name: value for name, value in outputs.items() if not names or name in names}
        return jax.jit(predict, static_argnums=2)

    def __call__(self, variables: Any, inputs: Mapping[str, np.ndarray],
                 names: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Predicts for n cases.

        Args:
          variables: the network's variables.
          inputs: the entries of a batch that the task reads, `[n, …]` each.
          names: outputs to return; the others are not computed. All outputs by default.

        Returns:
          The outputs of `Task.predict`, `[n, …]` float64 each.
        """
        count = len(next(iter(inputs.values())))

        def predicted(start: int) -> dict[str, np.ndarray]:
            rows = np.minimum(np.arange(start, start + self.batch), count - 1)
            batch = {name: array[rows] for name, array in inputs.items()}
            outputs = jax.device_get(self._compiled(variables, batch, names))
            return {name: value[:count - start].astype(np.float64) for name, value in outputs.items()}

        parts = distributed.mapped(predicted, range(0, count, self.batch))
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
