"""Vision transformers (ViT) for classification, in 2D and 3D (Dosovitskiy 2021).

An image is divided into patches. Their embeddings and a class token, with learned position embeddings, pass through
transformer blocks. The logits are computed from the class token.
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
from medjax.options import Count, Dims, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {
    's16': dict(patch=16, width=384, depth=12, heads=6),
    'b16': dict(patch=16, width=768, depth=12, heads=12),
    'tiny': dict(patch=4, width=96, depth=4, heads=4),  # for images of 28 pixels; not from the paper
}


class Model(nn.Module):
    """A vision transformer.

    Attributes:
      classes: number of outputs.
      dims: number of spatial dimensions, 2 or 3.
      patch: extent of a patch in voxels, one number or one per axis.
      width: channels of a token.
      depth: number of blocks.
      heads: number of attention heads, a divisor of the width.
      dropout: dropout rate after the position embedding and each dense layer.
      dtype: compute dtype; parameters, statistics of norms, attention and logits are float32.
    """

    classes: Count
    dims: Dims = 2
    patch: Count | Sequence[Count] = 16
    width: Count = 384
    depth: Count = 12
    heads: Count = 6
    dropout: FractionBelowOne = 0.0
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
          token. 'tokens' are the patch tokens before the last block; after it they do not affect the logits.
        """
        x, grid = self.embed_patches(x)
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

    def embed_patches(self, x: jax.Array) -> tuple[jax.Array, tuple[int, ...]]:
        """The class and patch tokens with position embeddings `[B, 1 + T, C]`, and the shape `[B, *S / patch, C]`.

        Raises:
          InputError: the image is not a multiple of the patch.
        """
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
        """Extent of a patch along each axis."""
        return (self.patch,) * self.dims if isinstance(self.patch, int) else tuple(self.patch)

    def _positions(self, count: int) -> jax.Array:
        if self.has_variable('params', 'positions'):
            expected = self.get_variable('params', 'positions').shape[1]
            if expected != count:
                raise InputError(f'config.data.size: {count - 1} patches; expected {expected - 1}, the number that the '
                                 'network was initialised with')
        return self.param('positions', nn.initializers.normal(0.02), (1, count, self.width), jnp.float32)
