"""Message passing along the bonds of padded molecular graphs, between atoms or between directed bonds.

A batch of graphs is `atoms [B, N, C]` and `bonds [B, M, 2]`, the indices of the two atoms of each bond, -1 for padding.
Each bond has two directions: of the 2M directed bonds the first M go from the first to the second atom, the others
back. Gathering atom features to bonds and summing bond features over atoms are products with 0/1 incidence matrices,
whose gradients are matrix products as well. For small graphs this is faster than scatter-adds, on CPU many times.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout


class Incidence(NamedTuple):
    """Start and end atoms of directed bonds: two 0/1 matrices `[B, 2M, N]` whose rows are 0 for padding."""

    begin: jax.Array
    end: jax.Array

    def gather(self, atoms: jax.Array) -> jax.Array:
        """Features of the start atom of each bond: `[B, N, C] -> [B, 2M, C]`."""
        return _product('ben,bnc->bec', self.begin, atoms)

    def sum_incoming(self, bonds: jax.Array) -> jax.Array:
        """Sums of features over the bonds that end at each atom: `[B, 2M, C] -> [B, N, C]`."""
        return _product('ben,bec->bnc', self.end, bonds)


def incidence(bonds: jax.Array, atoms: int, dtype: str = 'float32') -> Incidence:
    """The incidence matrices of directed bonds.

    Args:
      bonds: `[B, M, 2]` int32, -1 for padding.
      atoms: N, number of atoms of a graph with padding.
      dtype: dtype of the matrices.
    """
    first, second = (jax.nn.one_hot(bonds[..., side], atoms, dtype=dtype) for side in (0, 1))
    return Incidence(jnp.concatenate([first, second], 1), jnp.concatenate([second, first], 1))


def reverse_bonds(directed: jax.Array) -> jax.Array:
    """Features of the opposite direction of each bond, `[B, 2M, C] -> [B, 2M, C]`."""
    return jnp.roll(directed, directed.shape[1] // 2, 1)


def _product(rule: str, matrix: jax.Array, values: jax.Array) -> jax.Array:
    # The default precision of some devices would round the gathered values.
    return jnp.einsum(rule, matrix, values, precision=jax.lax.Precision.HIGHEST)


class MessagePassing(nn.Module):
    """Atom features after several rounds of message passing.

    If `directed`, messages are passed between directed bonds: the message of a bond is computed from those that arrive
    at its start atom, excluding the one of its own opposite direction (Yang 2019). Otherwise atoms send messages along
    their bonds (Gilmer 2017).

    Attributes:
      width: number of features of a message, and of the resulting atom features.
      depth: number of rounds, the radius of an atom's receptive field in bonds.
      directed: see above.
      dropout: dropout rate of messages.
      dtype: compute dtype; parameters are float32.
    """

    width: int
    depth: int
    directed: bool = True
    dropout: float = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, atoms: jax.Array, mask: jax.Array, bonds: jax.Array, features: jax.Array,
                 train: bool) -> jax.Array:
        """Maps graphs to atom features, 0 for padding.

        Args:
          atoms: `[B, N, C]`.
          mask: `[B, N]`, 0 for padding.
          bonds: `[B, M, 2]` int32, -1 for padding.
          features: bond features, `[B, M, F]`.
          train: whether dropout is active.

        Returns:
          `[B, N, width]`.
        """
        matrices, own = incidence(bonds, atoms.shape[1], self.dtype), atoms.astype(self.dtype)
        bond_mask = matrices.begin.sum(-1, keepdims=True)
        bond_features = jnp.tile(features.astype(self.dtype), (1, 2, 1))

        def dense(name: str, bias: bool = True) -> nn.Module:
            return Dense(self.width, nn.initializers.he_normal(), self.dtype, name=name) if bias else nn.Dense(
                self.width, use_bias=False, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=name)

        drop = Dropout(self.dropout)
        if self.directed:
            first = dense('enter')(jnp.concatenate([matrices.gather(own), bond_features], -1)) * bond_mask
            update, state = dense('message', bias=False), nn.relu(first)
            for _ in range(self.depth - 1):
                incoming = matrices.gather(matrices.sum_incoming(state)) - reverse_bonds(state)
                state = drop(nn.relu(first + update(incoming)), train) * bond_mask
            incoming = matrices.sum_incoming(state)
        else:
            real = mask[..., None].astype(self.dtype)
            first = dense('enter')(own) * real
            send, update, state = dense('send'), dense('message', bias=False), nn.relu(first)
            for _ in range(self.depth - 1):
                sent = nn.relu(send(jnp.concatenate([matrices.gather(state), bond_features], -1))) * bond_mask
                state = drop(nn.relu(first + update(matrices.sum_incoming(sent))), train) * real
            sent = nn.relu(send(jnp.concatenate([matrices.gather(state), bond_features], -1))) * bond_mask
            incoming = matrices.sum_incoming(sent)
        out = drop(nn.relu(dense('leave')(jnp.concatenate([own, incoming], -1))), train)
        return out * mask[..., None].astype(out.dtype)
