"""Masked autoencoders in 2D and 3D (He 2022): a vision transformer makes an image of the few patches that it sees.

The encoder has the parts of `models.vit`, so that a classifier can begin with its weights.
"""

import functools
import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import vit
from medjax.nn.attention import TransformerBlock
from medjax.nn.dense import Dense, LayerNorm

VARIANTS: dict[str, dict[str, Any]] = {
    'tiny': dict(patch=4, width=96, depth=4, heads=4, narrow=64, shallow=2),
    's16': dict(patch=16, width=384, depth=12, heads=6, narrow=192, shallow=4),
}


class Model(vit.Model):
    """A masked autoencoder.

    Attributes, besides those of `vit.Model`, whose `classes` and `dropout` say nothing here:
      hidden: share of the patches that the encoder does not see; it sees one, and does not see one, at least.
      narrow: channels of the decoder's tokens.
      shallow: blocks of the decoder.
    """

    classes: int = 1
    hidden: float = 0.75
    narrow: int = 192
    shallow: int = 4

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to what is made of those patches of them that are seen.

        In training which ones are hidden is drawn for each image. Else they are hidden in turns, and what is made of a
        patch is the mean over the turns that did not see it.

        Args:
          x: `[B, *S, C]`, each S a multiple of the patch, of the size that the network was initialised with.
          train: whether to draw.

        Returns:
          `[B, *S, C]` float32; and the features 'hidden' `[B, *S]`, 1 where a voxel was not seen, and 'latent' `[B,
          width]`, the mean of the encoder's patches where all are seen.
        """
        if not 0 < self.hidden < 1:
            raise InputError(f'config.model.hidden: {self.hidden}; expected a share between 0 and 1')
        shape, (tokens, grid) = x.shape, self.embedded(x)
        count = tokens.shape[1] - 1
        if count < 2:
            raise InputError(f'config.model.patch: {self.sizes}; expected patches of which an image of {shape[1:-1]} '
                             'has two or more')
        seen = min(max(round((1 - self.hidden) * count), 1), count - 1)
        blocks = [TransformerBlock(self.heads, 0.0, self.dtype, name=f'block{n}') for n in range(self.depth)]
        norm = LayerNorm(name='norm')
        decoder = _Decoder(count, math.prod(self.sizes) * shape[-1], self.narrow, self.shallow, self.heads, self.dtype,
                           name='decoder')

        def encoded(some: jax.Array) -> jax.Array:
            for block in blocks:
                some, _ = block(some, train)
            return norm(some.astype(jnp.float32))

        def made(order: jax.Array, seen: int) -> jax.Array:
            """Boxes `[B, T, P]` made of the patches that come first in an order `[B, T]`."""
            shown = jnp.take_along_axis(tokens[:, 1:], order[:, :seen, None], 1)
            return decoder(encoded(jnp.concatenate([tokens[:, :1], shown], 1)), order, seen)

        if train and self.has_rng('dropout'):
            order = jnp.argsort(jax.random.uniform(self.make_rng('dropout'), (shape[0], count)), 1)
            boxes = made(order, seen)
            hidden = jnp.ones((shape[0], count)).at[jnp.arange(shape[0])[:, None], order[:, :seen]].set(0.0)
            latent = jnp.zeros((shape[0], self.width))
        else:
            # Every turn shows as many patches as training does; each is hidden once or more, and shown once or more.
            turns = math.ceil(count / min(seen, count - seen))
            fixed = jax.random.permutation(jax.random.key(0), count)
            boxes, hidden = jnp.zeros((shape[0], count, decoder.size)), jnp.ones((shape[0], count))
            for turn in range(turns):
                order = jnp.roll(fixed, -turn * seen)
                part = made(jnp.broadcast_to(order, (shape[0], count)), seen)
                asked = jnp.zeros(count).at[order[seen:]].set(1.0)[:, None]
                boxes += asked * part
                hidden += asked[:, 0]
            boxes, hidden = boxes / jnp.maximum(hidden - 1, 1)[..., None], jnp.ones_like(hidden)
            latent = encoded(tokens)[:, 1:].mean(1)
        lay = functools.partial(_laid, grid=grid[1:-1], patch=self.sizes)
        masks = jnp.broadcast_to(hidden[..., None], (*hidden.shape, math.prod(self.sizes)))
        return lay(boxes), {'hidden': lay(masks)[..., 0], 'latent': latent}


class _Decoder(nn.Module):
    """Makes all boxes of what the encoder says of some.

    Attributes:
      count: patches of an image.
      size: numbers of a box.
      narrow: channels of a token.
      depth: blocks.
      heads: of attention.
      dtype: compute type.
    """

    count: int
    size: int
    narrow: int
    depth: int
    heads: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, order: jax.Array, seen: int) -> jax.Array:
        """Maps tokens `[B, 1 + seen, C]`, of the first in an order `[B, T]`, to boxes `[B, T, size]` float32."""
        x = Dense(self.narrow, dtype=self.dtype, name='in')(x)
        lacking = self.param('lacking', nn.initializers.normal(0.02), (1, 1, self.narrow), jnp.float32)
        places = self.param('positions', nn.initializers.normal(0.02), (1, self.count, self.narrow), jnp.float32)
        every = jnp.broadcast_to(lacking, (len(x), self.count, self.narrow))
        rows = jnp.arange(len(x))[:, None]
        every = every.at[rows, order[:, :seen]].set(x[:, 1:].astype(jnp.float32)) + places
        x = jnp.concatenate([x[:, :1], every.astype(x.dtype)], 1)
        for number in range(self.depth):
            x, _ = TransformerBlock(self.heads, 0.0, self.dtype, name=f'block{number}')(x, False)
        x = LayerNorm(name='norm')(x[:, 1:].astype(jnp.float32))
        return nn.Dense(self.size, name='out')(x)


def _laid(boxes: jax.Array, grid: tuple[int, ...], patch: tuple[int, ...]) -> jax.Array:
    """Lays boxes `[B, T, P C]` where they belong: `[B, *S, C]`."""
    dims = len(grid)
    x = boxes.reshape(len(boxes), *grid, *patch, -1)
    pairs = [axis for n in range(dims) for axis in (1 + n, 1 + dims + n)]
    x = x.transpose(0, *pairs, 2 * dims + 1)
    return x.reshape(len(boxes), *(g * p for g, p in zip(grid, patch)), -1)
