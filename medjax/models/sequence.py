"""Networks for patient series: recurrent, temporal convolutional, and transformer encoders with a common head."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import GatedPool
from medjax.nn.dropout import Dropout
from medjax.nn.recurrent import mask_padding
from medjax.nn.sequence import SequenceEncoder
from medjax.options import Count, FractionBelowOne, NonNegativeInt

VARIANTS: dict[str, dict[str, Any]] = {
    'gru': dict(cell='gru'), 'lstm': dict(cell='lstm'), 'rnn': dict(cell='rnn'), 'gru_d': dict(cell='gru_d'),
    'conv': dict(cell='conv', depth=3), 'transformer': dict(cell='transformer', depth=2),
}
POOLS = ('last', 'mean', 'attention')


class Model(nn.Module):
    """A network for a patient's series and static covariates.

    Attributes:
      outputs: number of outputs.
      cell: 'rnn', 'lstm', 'gru', 'gru_d', 'conv' (temporal convolutions) or 'transformer'.
      width: number of features of a step.
      depth: number of layers, levels or blocks.
      heads: number of attention heads.
      dropout: dropout rate between layers and before the output layer.
      pool: pooling of steps: 'last', the last step, 'mean', or 'attention', learned.
      per_step: whether to output a prediction for each step instead of one for the series.
      bidirectional: whether steps depend on later ones (bidirectional); do not combine with `per_step` in forecasting.
      linear: whether to add a linear function of the covariates to the outputs, as in Cox's model.
      position_encoding: see `nn.sequence.SequenceTransformer`, also for window and chunk_size.
      window: …
      chunk_size: …
      dtype: compute dtype; parameters, states and outputs are float32.
    """

    outputs: Count = 1
    cell: str = 'gru'
    width: Count = 32
    depth: Count = 1
    heads: Count = 4
    dropout: FractionBelowOne = 0.0
    pool: str = 'last'
    per_step: bool = False
    bidirectional: bool = False
    linear: bool = False
    position_encoding: str = 'time'
    window: NonNegativeInt = 0
    chunk_size: NonNegativeInt = 0
    dtype: str = 'float32'

    # Entries of a batch that are passed to the network.
    inputs = ('values', 'observed', 'times', 'time_mask', 'covariates')

    @nn.compact
    def __call__(self, values: jax.Array, observed: jax.Array, times: jax.Array, mask: jax.Array,
                 covariates: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps series to outputs.

        Args:
          values: `[B, T, V]`, with arbitrary entries where not observed.
          observed: `[B, T, V]`, 1 for observed values.
          times: `[B, T]`, increasing, of a magnitude of about 1.
          mask: `[B, T]`, 1 for steps and 0 for padding, which does not affect the result.
          covariates: `[B, C]`, static covariates.
          train: for dropout.

        Returns:
          `[B, outputs]`, or with `per_step` `[B, T, outputs]`, float32; and the features 'steps' `[B, T, F]`, 'pooled'
          `[B, F]`, and for attention pooling 'attention' `[B, T]`, which sums to 1.

        Raises:
          InputError: the pooling or another option is unknown.
        """
        if self.pool not in POOLS:
            raise InputError(f'config.model.pool: {self.pool!r}; expected one of: {", ".join(POOLS)}')
        observed = mask_padding(observed, mask)
        values = jnp.where(observed > 0, values, 0)
        static = jnp.broadcast_to(covariates[:, None], (*mask.shape, covariates.shape[-1]))
        encoder = SequenceEncoder(self.cell, self.width, self.depth, self.heads, self.dropout, self.bidirectional,
                                  self.position_encoding, self.window, self.chunk_size, self.dtype, name='encoder')
        if self.cell == 'gru_d':
            x = jnp.concatenate([values, static], -1)
            x = encoder(x, times, mask, train=train, observed=jnp.concatenate([observed, jnp.ones_like(static)], -1))
        else:
            time = mask_padding(times, mask)[..., None]
            x = encoder(jnp.concatenate([values, observed, time, static], -1), times, mask, train=train)
        feats = {'steps': x}
        if self.pool == 'attention':
            pooled, feats['attention'] = GatedPool(self.width, name='pool')(x, mask)
        elif self.pool == 'mean':
            pooled = x.sum(1) / jnp.maximum((mask > 0).sum(1, keepdims=True), 1).astype(x.dtype)
        else:
            last = jnp.argmax(jnp.where(mask > 0, jnp.arange(mask.shape[1]), -1), 1)
            pooled = jnp.take_along_axis(x, last[:, None, None], 1)[:, 0]
        feats['pooled'] = pooled
        x, covariates = (x, static) if self.per_step else (pooled, covariates)
        out = nn.Dense(self.outputs, name='out')(Dropout(self.dropout)(x, train))
        if self.linear:
            zeros = nn.initializers.zeros
            out = out + nn.Dense(self.outputs, use_bias=False, kernel_init=zeros, name='linear')(covariates)
        return out, feats
