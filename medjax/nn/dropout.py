"""Dropout of features and stochastic depth."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError


class Dropout(nn.Module):
    """Dropout: zeroes random features and rescales the others, so that the mean is preserved (Srivastava 2014).

    It is active in training, and otherwise whenever `apply` is given a PRNG key named 'dropout'. This allows for Monte
    Carlo dropout (Gal 2016), with batch norm in evaluation mode.

    Attributes:
      rate: fraction of features that are zeroed.
      whole: whether all features of an example are dropped together (stochastic depth, Huang 2016).
    """

    rate: float
    whole: bool = False

    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Applies dropout to `[B, …]`."""
        if not 0 <= self.rate < 1:
            raise InputError(f'config.model: a dropout rate of {self.rate}; expected at least 0 and below 1')
        if not self.rate or not (train or self.has_rng('dropout')):
            return x
        shape = (x.shape[0], *[1] * (x.ndim - 1)) if self.whole else x.shape
        kept = jax.random.bernoulli(self.make_rng('dropout'), 1 - self.rate, shape)
        return jnp.where(kept, x / (1 - self.rate), 0)
