"""Messages along the bonds of padded graphs: between atoms, or from bond to bond.

A batch of graphs is `atoms [B, N, C]` and `bonds [B, M, 2]`, the two atoms of each bond, -1 where there is none. Each
bond carries a message either way: of 2M directed ones the first M go from the first atom to the second, the others
back. What atoms take from bonds, and bonds from atoms, is a product with a matrix of 0 and 1: a sum over segments
whose gradient is one too. Graphs are small; it is faster than adding row by row, on a CPU many times.
"""

from typing import NamedTuple

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout


class Ends(NamedTuple):
    """Where directed bonds begin and end: two matrices `[B, 2M, N]` of 0 and 1, whose rows are 0 for padding."""

    begin: jax.Array
    end: jax.Array

    def at_begin(self, atoms: jax.Array) -> jax.Array:
        """Of `[B, N, C]` what the atom has that a bond begins at: `[B, 2M, C]`."""
        return _product('ben,bnc->bec', self.begin, atoms)

    def sums(self, bonds: jax.Array) -> jax.Array:
        """Of `[B, 2M, C]` the sum over the bonds that end at each atom: `[B, N, C]`."""
        return _product('ben,bec->bnc', self.end, bonds)


def ends(bonds: jax.Array, atoms: int, dtype: str = 'float32') -> Ends:
    """The ends of directed bonds.

    Args:
      bonds: `[B, M, 2]` int32, -1 for padding.
      atoms: N, how many atoms a graph has with padding.
      dtype: of the matrices.
    """
    first, second = (jax.nn.one_hot(bonds[..., side], atoms, dtype=dtype) for side in (0, 1))
    return Ends(jnp.concatenate([first, second], 1), jnp.concatenate([second, first], 1))


def reverse(directed: jax.Array) -> jax.Array:
    """Of `[B, 2M, C]` what each bond's other direction has."""
    return jnp.roll(directed, directed.shape[1] // 2, 1)


def _product(rule: str, matrix: jax.Array, values: jax.Array) -> jax.Array:
    # Taking rows must not round them, as some devices' products would.
    return jnp.einsum(rule, matrix, values, precision=jax.lax.Precision.HIGHEST)


class Messages(nn.Module):
    """Features of atoms after some rounds of messages.

    `directed`: a bond's message is made of those that come in where it begins, but the one of its own other direction:
    none runs back at once (Yang 2019). Else atoms send what they are along their bonds (Gilmer 2017).

    Attributes:
      width: features of a message, and of an atom in the end.
      depth: rounds; an atom knows what is as many bonds away.
      directed: see above.
      dropout: share of a message's features that is zeroed.
      dtype: compute type; weights are float32.
    """

    width: int
    depth: int
    directed: bool = True
    dropout: float = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, atoms: jax.Array, mask: jax.Array, bonds: jax.Array, features: jax.Array,
                 train: bool) -> jax.Array:
        """Maps graphs to features of their atoms, 0 for padding.

        Args:
          atoms: `[B, N, C]`.
          mask: `[B, N]`, 0 for padding.
          bonds: `[B, M, 2]` int32, -1 for padding.
          features: of the bonds, `[B, M, F]`.
          train: whether features are zeroed.

        Returns:
          `[B, N, width]`.
        """
        way, own = ends(bonds, atoms.shape[1], self.dtype), atoms.astype(self.dtype)
        there = way.begin.sum(-1, keepdims=True)  # 1 for a bond, 0 for padding
        along = jnp.tile(features.astype(self.dtype), (1, 2, 1))

        def dense(name: str, bias: bool = True) -> nn.Module:
            return Dense(self.width, nn.initializers.he_normal(), self.dtype, name=name) if bias else nn.Dense(
                self.width, use_bias=False, kernel_init=nn.initializers.he_normal(), dtype=self.dtype, name=name)

        drop = Dropout(self.dropout)
        if self.directed:
            first = dense('enter')(jnp.concatenate([way.at_begin(own), along], -1)) * there
            again, state = dense('message', bias=False), nn.relu(first)
            for _ in range(self.depth - 1):
                heard = way.at_begin(way.sums(state)) - reverse(state)
                state = drop(nn.relu(first + again(heard)), train) * there
            heard = way.sums(state)
        else:
            first = dense('enter')(own) * mask[..., None]
            send, again, state = dense('send'), dense('message', bias=False), nn.relu(first)
            for _ in range(self.depth - 1):
                sent = nn.relu(send(jnp.concatenate([way.at_begin(state), along], -1))) * there
                state = drop(nn.relu(first + again(way.sums(sent))), train) * mask[..., None]
            heard = way.sums(nn.relu(send(jnp.concatenate([way.at_begin(state), along], -1))) * there)
        out = drop(nn.relu(dense('leave')(jnp.concatenate([own, heard], -1))), train)
        return out * mask[..., None].astype(out.dtype)
