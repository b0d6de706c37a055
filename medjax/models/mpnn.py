"""Message-passing networks on molecules (Gilmer 2017; directed, as in Chemprop: Yang 2019).

What atoms hear along their bonds is summed up over the molecule, joined by descriptors where there are some, and goes
through dense layers.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import mlp
from medjax.nn.dropout import Dropout
from medjax.nn.message import Messages

VARIANTS: dict[str, dict[str, Any]] = {
    'directed': dict(),
    'atoms': dict(directed=False),
}
READOUTS = ('mean', 'sum', 'both')


class Model(nn.Module):
    """Rounds of messages, a readout and dense layers.

    Attributes:
      outputs: numbers that come out.
      width: features of a message.
      depth: rounds of messages.
      directed: from bond to bond, or else from atom to atom; see `message.Messages`.
      readout: of the atoms: 'mean', 'sum', or 'both' side by side.
      features: of each dense layer.
      dropout: share of features that is zeroed, of messages and of dense layers.
      dtype: compute type; weights and what comes out are float32.
    """

    outputs: int = 1
    width: int = 128
    depth: int = 4
    directed: bool = True
    readout: str = 'mean'
    features: Sequence[int] = (128,)
    dropout: float = 0.0
    dtype: str = 'float32'

    inputs = ('atoms', 'atom_mask', 'bonds', 'bond_features', 'described')  # what of a batch it sees

    @nn.compact
    def __call__(self, atoms: jax.Array, mask: jax.Array, bonds: jax.Array, bond_features: jax.Array,
                 described: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps graphs to `[B, outputs]` float32.

        Args:
          atoms: `[B, N, C]`.
          mask: `[B, N]`, 0 for padding.
          bonds: `[B, M, 2]` int32, the atoms of each, -1 for padding.
          bond_features: `[B, M, F]`.
          described: descriptors of the molecules, `[B, D]`; D may be 0.
          train: whether features are zeroed.

        Returns:
          What comes out; and of each atom what it knows, 'atoms' `[B, N, width]`, of the molecule 'pooled'; float32.
        """
        if self.readout not in READOUTS:
            raise InputError(f'config.model.readout: {self.readout!r}; expected one of: {", ".join(READOUTS)}')
        if self.depth < 1 or self.width < 1:
            raise InputError(f'config.model: width={self.width}, depth={self.depth}; expected at least 1')
        heard = Messages(self.width, self.depth, self.directed, self.dropout, self.dtype, name='messages')(
            atoms, mask, bonds, bond_features, train).astype(jnp.float32)
        total = heard.sum(1)
        mean = total / jnp.maximum(mask.sum(1, keepdims=True), 1)
        # A sum over atoms grows with the molecule: in tens, it has the size of a mean at first.
        parts = {'mean': [mean], 'sum': [total / 10], 'both': [mean, total / 10]}[self.readout]
        pooled = jnp.concatenate([*parts, described], -1)
        out, _ = mlp.Model(outputs=self.outputs, features=self.features, dropout=self.dropout, dtype=self.dtype,
                           name='head')(Dropout(self.dropout)(pooled, train), train=train)
        return out, {'atoms': heard, 'pooled': pooled}
