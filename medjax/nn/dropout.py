"""Features and whole branches left out at random."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError


class Dropout(nn.Module):
    """Zeroes features at random and divides the others by their share, so that means are kept (Srivastava 2014).

    It draws in training, and outside it whenever `apply` is given a key named 'dropout': so many predictions of one
    image can be drawn (Monte Carlo dropout, Gal 2016), while batch norm stays as in evaluation.

    Attributes:
      rate: share that is zeroed.
      whole: one draw for all features of an example, for a branch to be left out (stochastic depth, Huang 2016).
    """

    rate: float
    whole: bool = False

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Thins `[B, …]`."""
        if not 0 <= self.rate < 1:
            raise InputError(f'config.model: a dropout rate of {self.rate}; expected at least 0 and below 1')
        if not self.rate or not (train or self.has_rng('dropout')):
            return x
        shape = (x.shape[0], *[1] * (x.ndim - 1)) if self.whole else x.shape
        kept = jax.random.bernoulli(self.make_rng('dropout'), 1 - self.rate, shape)
        return jnp.where(kept, x / (1 - self.rate), 0)
