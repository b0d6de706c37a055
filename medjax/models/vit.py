"""Vision transformers for classification, in 2D and 3D (Dosovitskiy 2021).

An image is cut into patches; these and a class token go through blocks of self-attention and dense layers, with a
learned number for each position; the logits are read from the class token.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import TransformerBlock
from medjax.nn.conv import Patches, check_dims
from medjax.nn.dense import LayerNorm
from medjax.nn.dropout import Dropout

VARIANTS: dict[str, dict[str, Any]] = {
    's16': dict(patch=16, width=384, depth=12, heads=6),
    'b16': dict(patch=16, width=768, depth=12, heads=12),
    'tiny': dict(patch=4, width=96, depth=4, heads=4),  # for images of 28 pixels; ours
}


class Model(nn.Module):
    """A vision transformer.

    Attributes:
      classes: outputs.
      dims: spatial dimensions, 2 or 3.
      patch: voxels of a patch along each axis, or along all of them.
      width: channels of a token.
      depth: blocks.
      heads: of attention, a divisor of the width.
      dropout: share of features that is zeroed behind the positions and each dense layer.
      dtype: compute type; weights, norms' statistics, attention and logits are float32.
    """

    classes: int
    dims: int = 2
    patch: int | Sequence[int] = 16
    width: int = 384
    depth: int = 12
    heads: int = 6
    dropout: float = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`, each S a multiple of the patch, of the size that the network was initialised with.
          train: for dropout.

        Returns:
          Logits `[B, classes]` float32, and the features 'tokens' `[B, *S / patch, C]`, 'attention' `[B, depth, heads,
          T, T]` float32, whose token 0 is the class token and whose rows sum to 1, and 'pooled' `[B, C]`, the class
          token. 'tokens' are the patches' as they enter the last block: behind it they change no logit.
        """
        x, grid = self.embedded(x)
        feats: dict[str, Any] = {}
        x = Dropout(self.dropout)(x, train)
        maps = []
        for number in range(self.depth):
            if number + 1 == self.depth:
                feats['tokens'] = self.perturb('tokens', x[:, 1:].reshape(grid))
                x = jnp.concatenate([x[:, :1], feats['tokens'].reshape(x[:, 1:].shape)], 1)
            x, weights = TransformerBlock(self.heads, self.dropout, self.dtype, name=f'block{number}')(x, train)
            maps.append(weights)
        feats['attention'] = jnp.stack(maps, 1)
        feats['pooled'] = x = LayerNorm(name='norm')(x[:, 0].astype(jnp.float32))
        return nn.Dense(self.classes, name='logits')(x), feats

    def embedded(self, x: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
        """The class token and an image's patches, with their positions, `[B, 1 + T, C]`, and `[B, *S / patch, C]`."""
        check_dims(x, self.dims)
        patch = self.sizes
        if len(patch) != self.dims or any(n % p for n, p in zip(x.shape[1:-1], patch)):
            raise InputError(f'config.data.size: {x.shape[1:-1]}; expected {self.dims} multiples of '
                             f'config.model.patch, {patch}')
        x = Patches(self.width, patch, nn.initializers.lecun_normal(), self.dtype, name='embed')(x)
        grid, x = x.shape, x.reshape(x.shape[0], -1, self.width)
        token = self.param('token', nn.initializers.zeros, (1, 1, self.width), jnp.float32)
        x = jnp.concatenate([jnp.broadcast_to(token, (x.shape[0], 1, self.width)).astype(x.dtype), x], 1)
        return (x.astype(jnp.float32) + self._positions(x.shape[1])).astype(self.dtype), grid

    @property
    def sizes(self) -> tuple[int, ...]:
        """Voxels of a patch along each axis."""
        return (self.patch,) * self.dims if isinstance(self.patch, int) else tuple(self.patch)

    def _positions(self, count: int) -> jax.Array:
        if self.has_variable('params', 'positions'):
            made = self.get_variable('params', 'positions').shape[1]
            if made != count:
                raise InputError(f'config.data.size: {count - 1} patches; expected {made - 1}, for which the network '
                                 'was made')
        return self.param('positions', nn.initializers.normal(0.02), (1, count, self.width), jnp.float32)
