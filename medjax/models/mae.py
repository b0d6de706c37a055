"""Masked autoencoders in 2D and 3D (MAE, He 2022): a vision transformer that reconstructs an image from a few patches.

The encoder has the same parameters as `models.vit`, so that it can initialise a classifier.
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
from medjax.options import Count, InnerFraction

VARIANTS: dict[str, dict[str, Any]] = {
    'tiny': dict(patch=4, width=96, depth=4, heads=4, decoder_width=64, decoder_depth=2),
    's16': dict(patch=16, width=384, depth=12, heads=6, decoder_width=192, decoder_depth=4),
}


class Model(vit.Model):
    """A masked autoencoder.

    Attributes (besides those of `vit.Model`, of which `classes` and `dropout` have no effect):
      mask_ratio: fraction of patches that are masked; at least one patch is masked, and at least one is visible.
      decoder_width: channels of the decoder's tokens.
      decoder_depth: number of blocks of the decoder.
    """

    classes: int = 1
    mask_ratio: InnerFraction = 0.75
    decoder_width: Count = 192
    decoder_depth: Count = 4

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Reconstructs images from their visible patches.

        In training the masked patches of each image are random. Otherwise every patch is masked in at least one of
        several passes, and its reconstruction is the mean over the passes in which it was masked.

        Args:
          x: `[B, *S, C]`, each S a multiple of the patch, of the size that the network was initialised with.
          train: whether to mask randomly.

        Returns:
          `[B, *S, C]` float32; and the features 'hidden' `[B, *S]`, 1 for masked voxels, and 'latent' `[B, width]`, the
          mean of the encoded patches without masking (zeros in training).

        Raises:
          InputError: `mask_ratio` is not a fraction, or the image has fewer than two patches.
        """
        if not 0 < self.mask_ratio < 1:
            raise InputError(f'config.model.mask_ratio: {self.mask_ratio}; expected a fraction between 0 and 1')
        shape, (tokens, grid) = x.shape, self.embed_patches(x)
        count = tokens.shape[1] - 1
        if count < 2:
            raise InputError(f'config.model.patch: {self.sizes}; expected patches of which an image of {shape[1:-1]} '
                             'has two or more')
        visible = min(max(round((1 - self.mask_ratio) * count), 1), count - 1)
        blocks = [TransformerBlock(self.heads, 0.0, self.dtype, name=f'block{n}') for n in range(self.depth)]
        norm = LayerNorm(name='norm')
        decoder = _Decoder(count, math.prod(self.sizes) * shape[-1], self.decoder_width, self.decoder_depth, self.heads,
                           self.dtype,
                           name='decoder')

        def encode(tokens: jax.Array) -> jax.Array:
            for block in blocks:
                tokens, _ = block(tokens, train)
            return norm(tokens.astype(jnp.float32))

        def reconstruct(order: jax.Array) -> jax.Array:
            """Patches `[B, T, P]` reconstructed from those that come first in an order `[B, T]`."""
            inputs = jnp.take_along_axis(tokens[:, 1:], order[:, :visible, None], 1)
            return decoder(encode(jnp.concatenate([tokens[:, :1], inputs], 1)), order, visible)

        if train and self.has_rng('dropout'):
            order = jnp.argsort(jax.random.uniform(self.make_rng('dropout'), (shape[0], count)), 1)
            patches = reconstruct(order)
            hidden = jnp.ones((shape[0], count)).at[jnp.arange(shape[0])[:, None], order[:, :visible]].set(0.0)
            latent = jnp.zeros((shape[0], self.width))
        else:
            # Each pass has as many visible patches as in training, and each patch is masked and visible at least once.
            passes = math.ceil(count / min(visible, count - visible))
            permutation = jax.random.permutation(jax.random.key(0), count)
            patches, hidden = jnp.zeros((shape[0], count, decoder.size)), jnp.ones((shape[0], count))
            for number in range(passes):
                order = jnp.roll(permutation, -number * visible)
                part = reconstruct(jnp.broadcast_to(order, (shape[0], count)))
                masked = jnp.zeros(count).at[order[visible:]].set(1.0)[:, None]
                patches += masked * part
                hidden += masked[:, 0]
            patches, hidden = patches / jnp.maximum(hidden - 1, 1)[..., None], jnp.ones_like(hidden)
            latent = encode(tokens)[:, 1:].mean(1)
        join = functools.partial(_join_patches, grid=grid[1:-1], patch=self.sizes)
        masks = jnp.broadcast_to(hidden[..., None], (*hidden.shape, math.prod(self.sizes)))
        return join(patches), {'hidden': join(masks)[..., 0], 'latent': latent}


class _Decoder(nn.Module):
    """Reconstructs all patches from the encoded visible ones.

    Attributes:
      count: number of patches of an image.
      size: numbers per patch.
      decoder_width: channels of a token.
      depth: number of blocks.
      heads: number of attention heads.
      dtype: compute dtype.
    """

    count: int
    size: int
    decoder_width: int
    depth: int
    heads: int
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, order: jax.Array, visible: int) -> jax.Array:
        """Maps tokens `[B, 1 + visible, C]`, the first in an order `[B, T]`, to patches `[B, T, size]` float32."""
        x = Dense(self.decoder_width, dtype=self.dtype, name='in')(x)
        mask_token = self.param('lacking', nn.initializers.normal(0.02), (1, 1, self.decoder_width), jnp.float32)
        positions = self.param('positions', nn.initializers.normal(0.02), (1, self.count, self.decoder_width),
                               jnp.float32)
        tokens = jnp.broadcast_to(mask_token, (x.shape[0], self.count, self.decoder_width))
        rows = jnp.arange(x.shape[0])[:, None]
        tokens = tokens.at[rows, order[:, :visible]].set(x[:, 1:].astype(jnp.float32)) + positions
        x = jnp.concatenate([x[:, :1], tokens.astype(x.dtype)], 1)
        for number in range(self.depth):
            x, _ = TransformerBlock(self.heads, 0.0, self.dtype, name=f'block{number}')(x, False)
        x = LayerNorm(name='norm')(x[:, 1:].astype(jnp.float32))
        return nn.Dense(self.size, name='out')(x)


def _join_patches(patches: jax.Array, grid: tuple[int, ...], patch: tuple[int, ...]) -> jax.Array:
    """Arranges patches `[B, T, P C]` as an image `[B, *S, C]`."""
    dims = len(grid)
    x = patches.reshape(len(patches), *grid, *patch, -1)
    pairs = [axis for n in range(dims) for axis in (1 + n, 1 + dims + n)]
    x = x.transpose(0, *pairs, 2 * dims + 1)
    return x.reshape(len(patches), *(g * p for g, p in zip(grid, patch)), -1)
