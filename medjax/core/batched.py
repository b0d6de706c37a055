"""What a network says of patients, in batches of one size."""

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np

from medjax.core.task import Task


@dataclasses.dataclass(frozen=True)
class Teller:
    """Gives what a task predicts of any number of patients.

    Attributes:
      task: the problem.
      batch: patients at once; the last ones are filled up, so that it is compiled once.
    """

    task: Task
    batch: int

    @functools.cached_property
    def _compiled(self) -> Callable[..., dict[str, jax.Array]]:
        def told(variables: Any, batch: Mapping[str, jax.Array], only: tuple[str, ...]) -> dict[str, jax.Array]:
            found = self.task.predict(variables, batch)
            return {name: value for name, value in found.items() if not only or name in only}
        return jax.jit(told, static_argnums=2)

    def __call__(self, variables: Any, seen: Mapping[str, np.ndarray],
                 only: tuple[str, ...] = ()) -> dict[str, np.ndarray]:
        """Of what is seen of n patients, arrays `[n, …]`, what `Task.predict` gives, in float64.

        Args:
          variables: the network's.
          seen: of the patients.
          only: which of what it gives; what is not asked for is not computed either. All by default.
        """
        count, parts = len(next(iter(seen.values()))), []
        for start in range(0, count, self.batch):
            at = np.minimum(np.arange(start, start + self.batch), count - 1)
            out = jax.device_get(self._compiled(variables, {name: array[at] for name, array in seen.items()}, only))
            parts.append({name: value[:count - start].astype(np.float64) for name, value in out.items()})
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
