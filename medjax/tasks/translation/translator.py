"""Translation of whole images with a network that takes windows."""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.core.task import Task
from medjax.ops import sliding_windows


@dataclasses.dataclass(frozen=True)
class Translator:
    """Translates whole images with a network that takes windows.

    Attributes:
      task: the task.
      channels: of the target.
      patch: voxels of a window along x, y, z.
      overlap: of neighbouring windows, as a share of their extent.
      batch: windows at once.

    Raises:
      InputError: an option out of its range.
    """

    task: Task
    channels: int
    patch: tuple[int, int, int]
    overlap: float
    batch: int

    def __post_init__(self):
        self._windows  # noqa: B018 - checks the options now, before training

    @functools.cached_property
    def _windows(self) -> sliding_windows.SlidingWindowInference:
        def forward(variables: Any, image: jax.Array) -> jax.Array:
            outputs = self.task.predict(variables, {'image': image})
            return jnp.concatenate([outputs[name] for name in ('translated', 'cycle') if name in outputs], -1)

        return sliding_windows.SlidingWindowInference(forward, window=self.patch, overlap=self.overlap,
                                                      batch=self.batch)

    def __call__(self, variables: Any, image: np.ndarray) -> dict[str, np.ndarray]:
        """Translates an image `[X, Y, Z, C]`; all intensities are those of the network.

        Returns:
          `translated [X, Y, Z, T]`, and for a CycleGAN `cycle [X, Y, Z, C]`.
        """
        out = self._windows.probabilities(variables, image)
        parts = {'translated': out[..., :self.channels], 'cycle': out[..., self.channels:]}
        return {name: part for name, part in parts.items() if part.shape[-1]}
