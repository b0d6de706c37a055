"""Class probabilities of any number of images, in compiled batches of one size."""

import dataclasses
import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.core import distributed
from medjax.core.task import Task
from medjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class BatchedClassifier:
    """Predicts class probabilities of images of one size, with test-time augmentation and Monte Carlo dropout.

    Attributes:
      task: the task.
      dims: number of spatial axes.
      batch: images per batch; the last batch is padded, so that the prediction is compiled once.
      dropout_samples: number of predictions with dropout that are averaged (Monte Carlo dropout, Gal 2016); 0 for a
        single prediction without dropout.
      flips: spatial axes that test-time augmentation mirrors; all combinations are averaged.
    """

    task: Task
    dims: int
    batch: int
    dropout_samples: int = 0
    flips: tuple[int, ...] = ()

    def __post_init__(self):
        if self.batch < 1 or self.dropout_samples < 0 or not set(self.flips) <= set(range(self.dims)):
            raise InputError(f'config.evaluate: batch={self.batch}, dropout_samples={self.dropout_samples}, '
                             f'flips={self.flips}; expected at least 1, at least 0, and some of the axes 0 to '
                             f'{self.dims - 1}')

    def average_views(self, variables: Any, image: jax.Array, *key: jax.Array) -> jax.Array:
        """The mean probabilities `[B, K]` of the views of test-time augmentation; traceable.

        Args:
          variables: the network's variables.
          image: `[B, *S, C]`.
          *key: keeps dropout active.
        """
        views = [image]
        for axis in self.flips:
            views += [jnp.flip(view, axis + 1) for view in views]
        return sum(self.task.predict(variables, {'image': view}, *key)['probs'] for view in views) / len(views)

    @functools.cached_property
    def _compiled(self) -> Callable[..., jax.Array]:
        def predict_members(variables: Any, image: jax.Array, number: jax.Array, samples: int) -> jax.Array:
            """`[M, B, K]`: a member for each sample, or one member."""
            if not samples:
                return self.average_views(variables, image)[None]
            draws = number * samples + jnp.arange(samples)
            return jax.lax.map(lambda draw: self.average_views(
                variables, image, jax.random.fold_in(jax.random.key(0), draw)), draws)

        return jax.jit(predict_members, static_argnums=3)

    def __call__(self, variables: Any, images: Callable[[np.ndarray], np.ndarray], count: int,
                 samples: int | None = None) -> np.ndarray:
        """The probabilities of each image.

        Args:
          variables: the network's variables.
          images: the images `[n, *S, C]` of some numbers `[n]`.
          count: number of images.
          samples: in place of the attribute.

        Returns:
          `[M, count, K]` float64 for M samples, or one prediction without dropout.
        """
        samples = self.dropout_samples if samples is None else samples

        def predicted(start: int) -> np.ndarray:
            numbers = np.minimum(np.arange(start, start + self.batch), count - 1)
            probs = self._compiled(variables, images(numbers), start, samples)
            return np.asarray(probs, np.float64)[:, :count - start]

        return np.concatenate(distributed.mapped(predicted, range(0, count, self.batch)), 1)
