"""Networks that read a SMILES token by token: recurrent, convolutional, or a transformer."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import mlp
from medjax.models.sequence import Encoder
from medjax.nn.attention import GatedPool
from medjax.nn.dropout import Dropout

VARIANTS: dict[str, dict[str, Any]] = {
    'gru': dict(cell='gru'), 'lstm': dict(cell='lstm'), 'conv': dict(cell='conv', depth=4),
    'transformer': dict(cell='transformer', depth=3, heads=4),
}
POOLS = ('mean', 'sum', 'attention')


class Model(nn.Module):
    """An embedding of tokens, a network over them that sees both ways, a readout and dense layers.

    Attributes:
      outputs: numbers that come out.
      tokens: numbers that a token may have; those of the vocabulary, padding and the unknown one, or more.
      cell: see `sequence.Model`, as for depth and heads; 'conv' alone sees what came before and no more.
      width: features of a token, and of a recurrent network one way.
      depth: …
      heads: …
      pool: 'mean' or 'sum' of the tokens, or 'attention', which is learned.
      features: of each dense layer.
      dropout: share of features that is zeroed.
      dtype: compute type; weights, states and what comes out are float32.
    """

    outputs: int = 1
    tokens: int = 64
    cell: str = 'gru'
    width: int = 64
    depth: int = 1
    heads: int = 4
    pool: str = 'sum'
    features: Sequence[int] = (128,)
    dropout: float = 0.0
    dtype: str = 'float32'

    inputs = ('tokens', 'token_mask', 'described')  # what of a batch it sees

    @nn.compact
    def __call__(self, tokens: jax.Array, mask: jax.Array, described: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps SMILES to `[B, outputs]` float32.

        Args:
          tokens: `[B, T]` int32, below `tokens`.
          mask: `[B, T]`, 0 for padding.
          described: descriptors of the molecules, `[B, D]`; D may be 0.
          train: whether features are zeroed.

        Returns:
          What comes out; and of each token 'steps' `[B, T, F]`, of the molecule 'pooled', and with attention
          'attention' `[B, T]`, float32.
        """
        if self.pool not in POOLS:
            raise InputError(f'config.model.pool: {self.pool!r}; expected one of: {", ".join(POOLS)}')
        x = nn.Embed(self.tokens, self.width, name='embed')(jnp.where(mask > 0, tokens, 0).astype(jnp.int32))
        times = jnp.broadcast_to(jnp.arange(mask.shape[1], dtype=jnp.float32), mask.shape)
        x = Encoder(self.cell, self.width, self.depth, self.heads, self.dropout, True, 'step', dtype=self.dtype,
                    name='encoder')(x, times, mask, train=train)
        feats = {'steps': x}
        if self.pool == 'attention':
            pooled, feats['attention'] = GatedPool(self.width, name='pool')(x, mask)
        else:
            # A sum over tokens grows with the molecule: in tens, it has the size of a mean at first.
            count = jnp.maximum(mask.sum(1, keepdims=True), 1) if self.pool == 'mean' else 10
            pooled = (x * mask[..., None]).sum(1) / count
        feats['pooled'] = pooled = jnp.concatenate([pooled, described], -1)
        out, _ = mlp.Model(outputs=self.outputs, features=self.features, dropout=self.dropout, dtype=self.dtype,
                           name='head')(Dropout(self.dropout)(pooled, train), train=train)
        return out, feats
