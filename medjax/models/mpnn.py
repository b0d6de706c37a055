"""Message-passing neural networks for molecules (Gilmer 2017; directed as in Chemprop, Yang 2019).

Atom features after message passing are pooled over the molecule, concatenated with descriptors if there are any, and
passed through dense layers.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import mlp
from medjax.nn.dropout import Dropout
from medjax.nn.message import MessagePassing
from medjax.options import Count, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {
    'directed': dict(),
    'atoms': dict(directed=False),
}
READOUTS = ('mean', 'sum', 'both')


class Model(nn.Module):
    """Message passing, a readout and dense layers.

    Attributes:
      outputs: number of outputs.
      width: number of features of a message.
      depth: number of rounds of message passing.
      directed: whether messages are passed between directed bonds, or between atoms; see `message.MessagePassing`.
      readout: pooling over atoms: 'mean', 'sum', or 'both' concatenated.
      features: number of features of each dense layer.
      dropout: dropout rate of messages and dense layers.
      dtype: compute dtype; parameters and outputs are float32.
    """

    outputs: Count = 1
    width: Count = 128
    depth: Count = 4
    directed: bool = True
    readout: str = 'mean'
    features: Sequence[Count] = (128,)
    dropout: FractionBelowOne = 0.0
    dtype: str = 'float32'

    # Entries of a batch that are passed to the network.
    inputs = ('atoms', 'atom_mask', 'bonds', 'bond_features', 'described')

    @nn.compact
    def __call__(self, atoms: jax.Array, mask: jax.Array, bonds: jax.Array, bond_features: jax.Array,
                 described: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps molecular graphs to `[B, outputs]` float32.

        Args:
          atoms: `[B, N, C]`.
          mask: `[B, N]`, 0 for padding.
          bonds: `[B, M, 2]` int32, indices of the atoms of each bond, -1 for padding.
          bond_features: `[B, M, F]`.
          described: descriptors of the molecules, `[B, D]`; D may be 0.
          train: for dropout.

        Returns:
          The outputs; and the features 'atoms' `[B, N, width]` and 'pooled' of the molecules, float32.

        Raises:
          InputError: the readout is unknown, or `width` or `depth` is less than 1.
        """
        if self.readout not in READOUTS:
            raise InputError(f'config.model.readout: {self.readout!r}; expected one of: {", ".join(READOUTS)}')
        if self.depth < 1 or self.width < 1:
            raise InputError(f'config.model: width={self.width}, depth={self.depth}; expected at least 1')
        x = MessagePassing(self.width, self.depth, self.directed, self.dropout, self.dtype, name='messages')(
            atoms, mask, bonds, bond_features, train).astype(jnp.float32)
        total = x.sum(1)
        mean = total / jnp.maximum(mask.sum(1, keepdims=True), 1)
        # Divided by 10, the sum over atoms has about the magnitude of a mean.
        parts = {'mean': [mean], 'sum': [total / 10], 'both': [mean, total / 10]}[self.readout]
        pooled = jnp.concatenate([*parts, described], -1)
        out, _ = mlp.Model(outputs=self.outputs, features=self.features, dropout=self.dropout, dtype=self.dtype,
                           name='head')(Dropout(self.dropout)(pooled, train), train=train)
        return out, {'atoms': x, 'pooled': pooled}
