"""Encoders of series: recurrent networks, temporal convolutions and transformers with a common interface."""

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import GatedPool, TransformerBlock, sinusoidal_encoding
from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout
from medjax.nn.recurrent import CELLS, GRUD, Recurrent, TemporalConv, mask_padding

LONGEST = {'time': 100.0, 'step': 10000.0}  # longest period of the position encoding, over 2π


class SequenceTransformer(nn.Module):
    """A transformer encoder of a series (Vaswani 2017).

    Attributes:
      width: channels.
      depth: number of blocks.
      heads: number of attention heads.
      dropout: dropout rate.
      causal: whether a step attends only to itself and earlier steps.
      position_encoding: position encoding by 'time', the times of the steps, or 'step', their indices.
      window: number of steps on each side, including itself, that a step attends to; 0 for all.
      chunk_size: number of steps of a chunk, 0 for no chunks. With chunks, a step attends to the steps of its chunk. A
        pooled summary of each chunk passes through further blocks. The result for the previous chunk is added to each
        step if causal, else the result for its own chunk, which depends on all chunks.
      dtype: compute dtype; parameters and attention are float32.
    """

    width: int
    depth: int = 2
    heads: int = 4
    dropout: float = 0.0
    causal: bool = True
    position_encoding: str = 'time'
    window: int = 0
    chunk_size: int = 0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, times: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
        """Maps a series `[B, T, C]` with times and mask `[B, T]` to `[B, T, width]`, 0 for padding."""
        if self.position_encoding not in LONGEST:
            raise InputError(f'config.model.position_encoding: {self.position_encoding!r}; expected one of: '
                             f'{", ".join(LONGEST)}')
        number = jnp.cumsum(mask > 0, 1) - 1
        position = times if self.position_encoding == 'time' else number.astype(jnp.float32)
        x = Dense(self.width, dtype=self.dtype, name='embed')(mask_padding(x, mask))
        encoding = sinusoidal_encoding(mask_padding(position, mask), self.width, LONGEST[self.position_encoding])
        x = Dropout(self.dropout)(x + encoding.astype(x.dtype), train)
        lag = number[:, :, None] - number[:, None]  # steps from the column to the row
        allowed = (mask > 0)[:, None] & (lag >= 0 if self.causal else True)
        if self.window:
            allowed &= jnp.abs(lag) < self.window
        if self.chunk_size:
            chunk = number // self.chunk_size
            allowed &= chunk[:, :, None] == chunk[:, None]
        for place in range(self.depth):
            x, _ = TransformerBlock(self.heads, self.dropout, self.dtype, name=f'block{place}')(x, train, allowed)
        if self.chunk_size:
            x = x + self._chunk_context(x, chunk, mask, train)
        return mask_padding(x, mask).astype(jnp.float32)

    def _chunk_context(self, x: jax.Array, chunk: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """Context of each step from the summaries of previous chunks, or of all chunks if not causal."""
        count = -(-x.shape[1] // self.chunk_size)
        members = (chunk[:, None] == jnp.arange(count)[:, None]) & (mask > 0)[:, None]  # [B, P, T]
        summary = nn.vmap(GatedPool, in_axes=(None, 1), out_axes=1, variable_axes={'params': None},
                          split_rngs={'params': False})(self.width, name='pool')(x.astype(jnp.float32), members)[0]
        present = members.any(-1)
        order = jnp.arange(count)
        encoding = sinusoidal_encoding(order.astype(jnp.float32), self.width, LONGEST['step'])
        summary = summary.astype(x.dtype) + encoding.astype(x.dtype)
        allowed = present[:, None] & (order[:, None] >= order if self.causal else True)
        for place in range(self.depth):
            block = TransformerBlock(self.heads, self.dropout, self.dtype, name=f'above{place}')
            summary, _ = block(summary, train, allowed)
        context = Dense(self.width, dtype=self.dtype, name='down')(summary)
        if self.causal:
            context = jnp.pad(context, [(0, 0), (1, 0), (0, 0)])[:, :-1]
        return jnp.take_along_axis(context, jnp.clip(chunk, 0, count - 1)[..., None], 1)


class SequenceEncoder(nn.Module):
    """An encoder of a series; see `models.sequence.Model` for its attributes."""

    cell: str = 'gru'
    width: int = 32
    depth: int = 1
    heads: int = 4
    dropout: float = 0.0
    both: bool = False
    position_encoding: str = 'time'
    window: int = 0
    chunk_size: int = 0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, times: jax.Array, mask: jax.Array, *, train: bool,
                 observed: jax.Array | None = None) -> jax.Array:
        """Maps a series `[B, T, C]` to features `[B, T, F]` float32, 0 for padding.

        Args:
          x: inputs of each step.
          times: `[B, T]`, of a magnitude of about 1.
          mask: `[B, T]`, 1 for steps.
          train: for dropout.
          observed: `[B, T, C]`, for 'gru_d': 1 for observed values of `x`.

        Raises:
          InputError: the cell is unknown, or `observed` is missing.
        """
        if self.cell == 'transformer':
            return SequenceTransformer(self.width, self.depth, self.heads, self.dropout, not self.both,
                                       self.position_encoding,
                                       self.window, self.chunk_size, self.dtype, name='transformer')(
                x, times, mask, train=train)
        if self.cell == 'conv':
            return TemporalConv(self.width, self.depth, dropout=self.dropout, dtype=self.dtype, name='conv')(
                x, mask, train=train)[0]
        if self.cell not in (*CELLS, 'gru_d'):
            raise InputError(f'config.model.cell: {self.cell!r}; expected one of: '
                             + ', '.join((*CELLS, 'gru_d', 'conv', 'transformer')))
        for layer in range(self.depth):
            x = Dropout(self.dropout)(x, train) if layer else x
            if self.cell == 'gru_d' and not layer:
                if observed is None:
                    raise InputError("config.model.cell: 'gru_d'; expected a series with missing values")
                x = GRUD(self.width, self.dtype, name='layer0')(x, observed, times, mask)[0]
                continue
            cell = 'gru' if self.cell == 'gru_d' else self.cell
            directions = [Recurrent(self.width, cell, False, self.dtype, name=f'layer{layer}')(x, mask)[0]]
            if self.both:
                directions.append(Recurrent(self.width, cell, True, self.dtype, name=f'layer{layer}_back')(x, mask)[0])
            x = jnp.concatenate(directions, -1)
        return x
