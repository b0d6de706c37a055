"""Segmentation of one-dimensional signals by a bidirectional recurrent network: a class for each sample."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import check_dims
from medjax.nn.sequence import SequenceEncoder
from medjax.options import Count, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {'gru': dict(cell='gru'), 'lstm': dict(cell='lstm'), 'rnn': dict(cell='rnn')}


class Model(nn.Module):
    """A bidirectional recurrent network over a signal; see `nn.sequence.SequenceEncoder`.

    Attributes:
      classes: number of output channels.
      cell: 'rnn', 'lstm' or 'gru'.
      width: number of features of a step, per direction.
      depth: number of layers.
      stride: number of consecutive samples that form a step; each step predicts the classes of all its samples.
      dropout: dropout rate between layers.
      dtype: compute dtype; parameters, states and logits are float32.
    """

    classes: Count
    cell: str = 'gru'
    width: Count = 32
    depth: Count = 1
    stride: Count = 4
    dropout: FractionBelowOne = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps signals `[B, L, C]` of any length to logits `[B, L, classes]` float32, and the feature 'steps'."""
        check_dims(x, 1)
        batch, length, channels = x.shape
        x = jnp.pad(x, [(0, 0), (0, -length % self.stride), (0, 0)])
        x = x.reshape(batch, -1, self.stride * channels)
        mask = jnp.ones(x.shape[:2], jnp.float32)
        times = jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.float32), mask.shape)
        x = SequenceEncoder(self.cell, self.width, self.depth, dropout=self.dropout, both=True, dtype=self.dtype,
                            name='encoder')(x, times, mask, train=train)
        logits = nn.Dense(self.stride * self.classes, name='out')(x)
        return logits.reshape(batch, -1, self.classes)[:, :length], {'steps': x}
