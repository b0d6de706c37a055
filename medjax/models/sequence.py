"""Networks over series: recurrent, convolutional over time, and transformers, with one head for all of them."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import GatedPool, TransformerBlock, waves
from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout
from medjax.nn.recurrent import CELLS, GRUD, Recurrent, TemporalConv, hidden

VARIANTS: dict[str, dict[str, Any]] = {
    'gru': dict(cell='gru'), 'lstm': dict(cell='lstm'), 'rnn': dict(cell='rnn'), 'gru_d': dict(cell='gru_d'),
    'conv': dict(cell='conv', depth=3), 'transformer': dict(cell='transformer', depth=2),
}
POOLS = ('last', 'mean', 'attention')
LONGEST = {'time': 100.0, 'step': 10000.0}  # of a wave, over 2π


class Transformer(nn.Module):
    """Blocks of attention over a series (Vaswani 2017).

    Attributes:
      width: channels.
      depth: blocks.
      heads: of attention.
      dropout: share of features that is zeroed.
      causal: no step sees a later one.
      positions: 'time', by the steps' times, or 'step', by their numbers.
      window: steps to each side that a step sees, itself among them; 0 for all.
      chunk: steps of a part, 0 for no parts. With parts a step sees those of its own; what each part comes to goes
        through blocks of its own, and what the parts before it say (or all, where it is not causal) is added.
      dtype: compute type; weights and attention are float32.
    """

    width: int
    depth: int = 2
    heads: int = 4
    dropout: float = 0.0
    causal: bool = True
    positions: str = 'time'
    window: int = 0
    chunk: int = 0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, times: jax.Array, mask: jax.Array, *, train: bool) -> jax.Array:
        """Maps a series `[B, T, C]` with times and mask `[B, T]` to `[B, T, width]`, 0 for padding."""
        if self.positions not in LONGEST:
            raise InputError(f'config.model.positions: {self.positions!r}; expected one of: {", ".join(LONGEST)}')
        number = jnp.cumsum(mask > 0, 1) - 1
        where = times if self.positions == 'time' else number
        x = Dense(self.width, dtype=self.dtype, name='embed')(hidden(x, mask))
        x = x + waves(hidden(where, mask), self.width, LONGEST[self.positions]).astype(x.dtype)
        x = Dropout(self.dropout)(x, train)
        apart = number[:, :, None] - number[:, None]  # how many steps the row's is behind the column's
        allowed = (mask > 0)[:, None] & (apart >= 0 if self.causal else True)
        if self.window:
            allowed &= jnp.abs(apart) < self.window
        if self.chunk:
            part = number // self.chunk
            allowed &= part[:, :, None] == part[:, None]
        for place in range(self.depth):
            x, _ = TransformerBlock(self.heads, self.dropout, self.dtype, name=f'block{place}')(x, train, allowed)
        if self.chunk:
            x = x + self._above(x, part, mask, train)
        return hidden(x, mask).astype(jnp.float32)

    def _above(self, x: jax.Array, part: jax.Array, mask: jax.Array, train: bool) -> jax.Array:
        """What parts say to the steps of later ones, or of all."""
        count = -(-x.shape[1] // self.chunk)
        within = (part[:, None] == jnp.arange(count)[:, None]) & (mask > 0)[:, None]  # [B, P, T]
        said = nn.vmap(GatedPool, in_axes=(None, 1), out_axes=1, variable_axes={'params': None},
                       split_rngs={'params': False})(self.width, name='pool')(x.astype(jnp.float32), within)[0]
        there = within.any(-1)
        order = jnp.arange(count)
        said = said.astype(x.dtype) + waves(order.astype(jnp.float32), self.width, LONGEST['step']).astype(x.dtype)
        allowed = there[:, None] & (order[:, None] >= order if self.causal else True)
        for place in range(self.depth):
            said, _ = TransformerBlock(self.heads, self.dropout, self.dtype, name=f'above{place}')(said, train, allowed)
        said = Dense(self.width, dtype=self.dtype, name='down')(said)
        if self.causal:
            said = jnp.pad(said, [(0, 0), (1, 0), (0, 0)])[:, :-1]
        return jnp.take_along_axis(said, jnp.clip(part, 0, count - 1)[..., None], 1)


class Encoder(nn.Module):
    """A network over a series; see `Model` for its attributes."""

    cell: str = 'gru'
    width: int = 32
    depth: int = 1
    heads: int = 4
    dropout: float = 0.0
    both: bool = False
    positions: str = 'time'
    window: int = 0
    chunk: int = 0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, times: jax.Array, mask: jax.Array, *, train: bool,
                 observed: jax.Array | None = None) -> jax.Array:
        """Maps a series `[B, T, C]` to `[B, T, F]` float32, 0 for padding.

        Args:
          x: what is known at each step.
          times: `[B, T]`, of the order of 1.
          mask: `[B, T]`, 1 for steps.
          train: for dropout.
          observed: `[B, T, C]` for 'gru_d', which of x was seen.
        """
        if self.cell == 'transformer':
            return Transformer(self.width, self.depth, self.heads, self.dropout, not self.both, self.positions,
                               self.window, self.chunk, self.dtype, name='transformer')(x, times, mask, train=train)
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
                    raise InputError("config.model.cell: 'gru_d'; expected values that are missing here and there")
                x = GRUD(self.width, self.dtype, name='layer0')(x, observed, times, mask)[0]
                continue
            cell = 'gru' if self.cell == 'gru_d' else self.cell
            ways = [Recurrent(self.width, cell, back, self.dtype, name=f'layer{layer}{"_back" * back}')(x, mask)[0]
                    for back in (False, True)[:1 + self.both]]
            x = jnp.concatenate(ways, -1)
        return x


class Model(nn.Module):
    """A network over a patient's series, and what is known besides.

    Attributes:
      outputs: numbers that come out.
      cell: 'rnn', 'lstm', 'gru', 'gru_d', 'conv' (over time) or 'transformer'.
      width: features of a step.
      depth: layers, levels or blocks.
      heads: of attention.
      dropout: share of features that is zeroed, between layers and before what comes out.
      pool: what stands for the series: 'last', its last step, 'mean', or 'attention', which is learned.
      each: an output for each step and none for the whole.
      both: steps see later ones too; not with `each` in a forecast.
      linear: what is known besides goes straight to what comes out as well, as in Cox's model.
      positions: see `Transformer`, as for window and chunk.
      window: …
      chunk: …
      dtype: compute type; weights, states and what comes out are float32.
    """

    outputs: int = 1
    cell: str = 'gru'
    width: int = 32
    depth: int = 1
    heads: int = 4
    dropout: float = 0.0
    pool: str = 'last'
    each: bool = False
    both: bool = False
    linear: bool = False
    positions: str = 'time'
    window: int = 0
    chunk: int = 0
    dtype: str = 'float32'

    inputs = ('values', 'observed', 'times', 'time_mask', 'covariates')  # what of a batch it sees

    @nn.compact
    def __call__(self, values: jax.Array, observed: jax.Array, times: jax.Array, mask: jax.Array,
                 covariates: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps series to numbers.

        Args:
          values: `[B, T, V]`; whatever they hold where they were not observed.
          observed: `[B, T, V]`, 1 where one was.
          times: `[B, T]`, rising, of the order of 1.
          mask: `[B, T]`, 1 for steps and 0 for padding, which changes nothing.
          covariates: `[B, C]`, what is known besides.
          train: for dropout.

        Returns:
          `[B, outputs]`, or with `each` `[B, T, outputs]`, float32; and the features 'steps' `[B, T, F]`, 'pooled'
          `[B, F]`, and with attention 'attention' `[B, T]`, which sums to 1.
        """
        if self.pool not in POOLS:
            raise InputError(f'config.model.pool: {self.pool!r}; expected one of: {", ".join(POOLS)}')
        observed = hidden(observed, mask)
        values = jnp.where(observed > 0, values, 0)
        same = jnp.broadcast_to(covariates[:, None], (*mask.shape, covariates.shape[-1]))
        encoder = Encoder(self.cell, self.width, self.depth, self.heads, self.dropout, self.both, self.positions,
                          self.window, self.chunk, self.dtype, name='encoder')
        if self.cell == 'gru_d':
            x = jnp.concatenate([values, same], -1)
            x = encoder(x, times, mask, train=train, observed=jnp.concatenate([observed, jnp.ones_like(same)], -1))
        else:
            since = hidden(times, mask)[..., None]
            x = encoder(jnp.concatenate([values, observed, since, same], -1), times, mask, train=train)
        feats = {'steps': x}
        if self.pool == 'attention':
            pooled, feats['attention'] = GatedPool(self.width, name='pool')(x, mask)
        elif self.pool == 'mean':
            pooled = x.sum(1) / jnp.maximum((mask > 0).sum(1, keepdims=True), 1)
        else:  # the step that no later one follows
            latest = jnp.argmax(jnp.where(mask > 0, jnp.arange(mask.shape[1]), -1), 1)
            pooled = jnp.take_along_axis(x, latest[:, None, None], 1)[:, 0]
        feats['pooled'] = pooled
        told, besides = (x, same) if self.each else (pooled, covariates)
        out = nn.Dense(self.outputs, name='out')(Dropout(self.dropout)(told, train))
        if self.linear:
            flat = nn.initializers.zeros
            out = out + nn.Dense(self.outputs, use_bias=False, kernel_init=flat, name='linear')(besides)
        return out, feats
