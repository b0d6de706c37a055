"""A class for each sample of a trace by a network over its series: recurrent, or convolutional over time."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models.sequence import Encoder
from medjax.nn.conv import check_dims

VARIANTS: dict[str, dict[str, Any]] = {'gru': dict(cell='gru'), 'lstm': dict(cell='lstm'), 'rnn': dict(cell='rnn')}


class Model(nn.Module):
    """Sees a trace from both ends, and tells the class of each sample; see `sequence.Encoder`.

    Attributes:
      classes: output channels.
      cell: 'rnn', 'lstm' or 'gru'.
      width: features of a sample, of each direction.
      depth: layers.
      stride: samples that are one step, side by side; a step tells the classes of all of them.
      dropout: share of features that is zeroed between layers.
      dtype: compute type; weights, states and logits are float32.
    """

    classes: int
    cell: str = 'gru'
    width: int = 32
    depth: int = 1
    stride: int = 4
    dropout: float = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps traces `[B, L, C]`, of any length, to logits `[B, L, classes]` float32, and the feature 'steps'."""
        check_dims(x, 1)
        batch, length, channels = x.shape
        x = jnp.pad(x, [(0, 0), (0, -length % self.stride), (0, 0)])
        x = x.reshape(batch, -1, self.stride * channels)
        mask = jnp.ones(x.shape[:2], jnp.float32)
        times = jnp.broadcast_to(jnp.arange(x.shape[1], dtype=jnp.float32), mask.shape)
        x = Encoder(self.cell, self.width, self.depth, dropout=self.dropout, both=True, dtype=self.dtype,
                    name='encoder')(x, times, mask, train=train)
        logits = nn.Dense(self.stride * self.classes, name='out')(x)
        return logits.reshape(batch, -1, self.classes)[:, :length], {'steps': x}
