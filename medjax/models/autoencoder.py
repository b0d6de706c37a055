"""Autoencoders in 2D and 3D: plain, variational (Kingma 2014) and vector quantised (van den Oord 2017).

The encoder is a residual network with the same parameters as `models.resnet`, so that it can initialise a classifier.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import resnet
from medjax.nn.conv import Block, Conv, TransposedConv, check_dims
from medjax.nn.dense import Dense
from medjax.nn.quantise import Codebook
from medjax.options import Count

SMALL = dict(blocks=(1, 1, 1), base=32, small_images=True)
VARIANTS: dict[str, dict[str, Any]] = {
    'plain': dict(kind='plain', **SMALL), 'vae': dict(kind='vae', **SMALL), 'vq': dict(kind='vq', latent=16, **SMALL),
    'grid': dict(kind='grid', latent=4, **SMALL),
}
KINDS = ('plain', 'vae', 'vq', 'grid')


class Model(resnet.Model):
    """An encoder, a latent representation and a decoder.

    Attributes (besides those of `resnet.Model`, of which `classes` has no effect):
      kind: 'plain'; 'vae', whose latent is a normal distribution with diagonal covariance; 'vq', whose latent is a grid
        of codebook vectors; or 'grid', whose latent is a grid of vectors, each normally distributed (Rombach 2022), and
        normalised to mean 0 and standard deviation 1 per channel for latent diffusion.
      latent: size of the latent; for grids, the channels of a vector.
      codebook_size: number of codebook vectors.
    """

    classes: int = 1
    kind: str = 'vae'
    latent: Count = 32
    codebook_size: Count = 128

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mix: jax.Array | None = None,
                 latent: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Reconstructs images.

        Args:
          x: `[B, *S, C]`, each S a multiple of the encoder's downsampling factor.
          train: for batch norm and for sampling of the latent; otherwise the latent is its mean.
          mix: scalar, interpolation of each latent towards that of the previous image in the batch (cyclic).
          latent: for 'grid' and 'vq', the latent `[B, *S', latent]` to decode instead of that of `x`.

        Returns:
          `[B, *S, C]` float32; and the features 'stage0' (finest) …, 'pooled' and 'latent' `[B, L]`; for 'vae' and
          'grid' also 'mean' and 'log_variance' `[B, L]`, for 'vq' those of `Codebook`, and for both grids 'grid'
          `[B, *S', latent]`.

        Raises:
          InputError: the kind is unknown, or the image is not a multiple of the downsampling factor.
        """
        check_dims(x, self.dims)
        if self.kind not in KINDS:
            raise InputError(f'config.model.kind: {self.kind!r}; expected one of: {", ".join(KINDS)}')
        feats = self.encode(x, train)
        coarse = feats[f'stage{len(self.blocks) - 1}']
        space, size = coarse.shape[1:-1], coarse.shape[-1]
        halvings = round(math.log2(x.shape[1] / space[0]))
        if any(n != m * 2**halvings for n, m in zip(x.shape[1:-1], space)):
            raise InputError(f'config.data.size: {x.shape[1:-1]}; expected multiples of {2**halvings}, by which the '
                             'encoder shrinks an image')
        y, latent_feats = self._bottleneck(coarse.astype(jnp.float32), space, size, train, mix, latent)
        feats |= latent_feats
        three, two = (3,) * self.dims, (2,) * self.dims
        for step in range(halvings):
            width = max(size // 2**(step + 1), 8)
            y = TransposedConv(width, two, self.dtype, name=f'up{step}')(y)
            y = Block(width, three, None, self.norm, 'relu', self.dtype, name=f'decode{step}')(y, train)
        return Conv(x.shape[-1], three, bias=True, dtype=self.dtype, name='out')(y).astype(jnp.float32), feats

    def _bottleneck(self, x: jax.Array, space: tuple[int, ...], size: int, train: bool,
                    mix: jax.Array | None, given: jax.Array | None) -> tuple[jax.Array, dict[str, Any]]:
        """The input of the decoder `[B, *space, size]`, and the features of the latent."""
        def interpolate(z: jax.Array) -> jax.Array:
            return z if mix is None else z + mix * (jnp.roll(z, 1, 0) - z)

        if self.kind == 'vq':
            z = interpolate(Dense(self.latent, name='to_latent')(x))
            z, feats = Codebook(self.codebook_size, name='codebook')(z, train)
        else:
            z, feats = self._sample_latent(x if self.kind == 'grid' else x.reshape(x.shape[0], -1), train, interpolate)
        if self.kind == 'grid':
            z = nn.BatchNorm(not train, use_scale=False, use_bias=False, name='scaled')(z)
        if z.ndim == x.ndim:
            feats |= {'grid': z}
            y = Dense(size, dtype=self.dtype, name='from_latent')(z if given is None else given)
        else:
            y = Dense(math.prod(space) * size, dtype=self.dtype, name='from_latent')(z)
        return y.reshape(x.shape[0], *space, size), {'latent': z.reshape(z.shape[0], -1), **feats}

    def _sample_latent(self, x: jax.Array, train: bool,
                       interpolate: Callable[[jax.Array], jax.Array]) -> tuple[jax.Array, dict[str, Any]]:
        """The latent, sampled in training if it has a distribution, and the parameters of that distribution."""
        z = mean = interpolate(nn.Dense(self.latent, name='to_latent')(x))
        if self.kind == 'plain':
            return z, {}
        log_variance = nn.Dense(self.latent, kernel_init=nn.initializers.zeros, name='log_variance')(x)
        if train and self.has_rng('dropout'):
            z = mean + jnp.exp(log_variance / 2) * jax.random.normal(self.make_rng('dropout'), mean.shape)
        return z, {'mean': mean.reshape(x.shape[0], -1), 'log_variance': log_variance.reshape(x.shape[0], -1)}
