"""Networks for tokenised SMILES strings: recurrent, convolutional, or transformer."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import mlp
from medjax.nn.attention import GatedPool
from medjax.nn.dropout import Dropout
from medjax.nn.sequence import SequenceEncoder
from medjax.options import Count, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {
    'gru': dict(cell='gru'), 'lstm': dict(cell='lstm'), 'conv': dict(cell='conv', depth=4),
    'transformer': dict(cell='transformer', depth=3, heads=4),
}
POOLS = ('mean', 'sum', 'attention')


class Model(nn.Module):
    """A token embedding, a bidirectional sequence encoder, a readout and dense layers.

    Attributes:
      outputs: number of outputs.
      tokens: number of token ids, at least the size of the vocabulary with padding and unknown token.
      cell: see `sequence.Model`, also for depth and heads; 'conv' is causal.
      width: number of features of a token; of a recurrent network per direction.
      depth: …
      heads: …
      pool: pooling of tokens: 'mean', 'sum' or 'attention', learned.
      features: number of features of each dense layer.
      dropout: dropout rate.
      dtype: compute dtype; parameters, states and outputs are float32.
    """

    outputs: Count = 1
    tokens: Count = 64
    cell: str = 'gru'
    width: Count = 64
    depth: Count = 1
    heads: Count = 4
    pool: str = 'sum'
    features: Sequence[Count] = (128,)
    dropout: FractionBelowOne = 0.0
    dtype: str = 'float32'

    inputs = ('tokens', 'token_mask', 'described')  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array, described: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps SMILES to `[B, outputs]` float32.

        Args:
          tokens: `[B, T]` int32, token ids below `tokens`.
          mask: `[B, T]`, 0 for padding.
          described: descriptors of the molecules, `[B, D]`; D may be 0.
          train: for dropout.

        Returns:
          The outputs; and the features 'steps' `[B, T, F]` of the tokens, 'pooled' of the molecules, and for attention
          pooling 'attention' `[B, T]`, float32.

        Raises:
          InputError: the pooling is unknown.
        """
        if self.pool not in POOLS:
            raise InputError(f'config.model.pool: {self.pool!r}; expected one of: {", ".join(POOLS)}')
        x = nn.Embed(self.tokens, self.width, name='embed')(jnp.where(mask > 0, tokens, 0).astype(jnp.int32))
        times = jnp.broadcast_to(jnp.arange(mask.shape[1], dtype=jnp.float32), mask.shape)
        x = SequenceEncoder(self.cell, self.width, self.depth, self.heads, self.dropout, True, 'step', dtype=self.dtype,
                            name='encoder')(x, times, mask, train=train)
        feats = {'steps': x}
        if self.pool == 'attention':
            pooled, feats['attention'] = GatedPool(self.width, name='pool')(x, mask)
        else:
            # Divided by 10, the sum over tokens has about the magnitude of a mean.
            count = jnp.maximum(mask.sum(1, keepdims=True), 1) if self.pool == 'mean' else 10
            pooled = (x * mask[..., None]).sum(1) / count
        feats['pooled'] = pooled = jnp.concatenate([pooled, described], -1)
        out, _ = mlp.Model(outputs=self.outputs, features=self.features, dropout=self.dropout, dtype=self.dtype,
                           name='head')(Dropout(self.dropout)(pooled, train), train=train)
        return out, feats
