"""Autoencoders in 2D and 3D: plain, variational (Kingma 2014), as a grid too, and vector quantised (van den Oord 2017).

The encoder is a residual network with the parts of `models.resnet`, so that a classifier can begin with its weights.
"""

import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import resnet
from medjax.nn.conv import Block, Conv, Up, check_dims
from medjax.nn.dense import Dense
from medjax.nn.quantise import Codebook

SMALL = dict(blocks=(1, 1, 1), base=32, small=True)
VARIANTS: dict[str, dict[str, Any]] = {
    'plain': dict(kind='plain', **SMALL), 'vae': dict(kind='vae', **SMALL), 'vq': dict(kind='vq', latent=16, **SMALL),
    'grid': dict(kind='grid', latent=4, **SMALL),
}
KINDS = ('plain', 'vae', 'vq', 'grid')


class Model(resnet.Model):
    """An encoder, a latent, and a decoder.

    Attributes, besides those of `resnet.Model`, whose `classes` say nothing here:
      kind: 'plain', 'vae', whose latent is a normal distribution with a diagonal covariance, 'vq', whose latent is a
        grid of vectors from a codebook, or 'grid', of vectors with such a distribution each (Rombach 2022), brought to
        mean 0 and deviation 1 by channel, as what diffuses has them.
      latent: numbers of an image's latent; of a grid channels of a vector.
      codes: vectors of the codebook.
    """

    classes: int = 1
    kind: str = 'vae'
    latent: int = 32
    codes: int = 128

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mix: jax.Array | None = None,
                 latent: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to what is made of them again.

        Args:
          x: `[B, *S, C]`, each S a multiple of what the encoder shrinks it by.
          train: for batch norm, and for a latent that is drawn; else it is its mean.
          mix: how far each latent goes towards that of the image before it in the batch, of the first the last; a
            scalar.
          latent: of 'grid' and 'vq', `[B, *S', latent]` from which the images are made in place of x's own.

        Returns:
          `[B, *S, C]` float32; and the features 'stage0' (finest) …, 'pooled' and 'latent' `[B, L]`, of 'vae' and
          'grid' 'mean' and 'log_variance' `[B, L]`, of 'vq' what `Codebook` says; of grids also 'grid'
          `[B, *S', latent]`.
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
        y, more = self._bottleneck(coarse.astype(jnp.float32), space, size, train, mix, latent)
        feats |= more
        three, two = (3,) * self.dims, (2,) * self.dims
        for step in range(halvings):
            width = max(size // 2**(step + 1), 8)
            y = Up(width, two, self.dtype, name=f'up{step}')(y)
            y = Block(width, three, None, self.norm, 'relu', self.dtype, name=f'decode{step}')(y, train)
        return Conv(x.shape[-1], three, bias=True, dtype=self.dtype, name='out')(y).astype(jnp.float32), feats

    def _bottleneck(self, x: jax.Array, space: tuple[int, ...], size: int, train: bool,
                    mix: jax.Array | None, given: jax.Array | None) -> tuple[jax.Array, dict[str, Any]]:
        def mixed(z: jax.Array) -> jax.Array:
            return z if mix is None else z + mix * (jnp.roll(z, 1, 0) - z)

        if self.kind == 'vq':
            z = mixed(Dense(self.latent, name='to_latent')(x))
            z, more = Codebook(self.codes, name='codebook')(z, train)
        else:
            z, more = self._drawn(x if self.kind == 'grid' else x.reshape(len(x), -1), train, mixed)
        if self.kind == 'grid':
            z = nn.BatchNorm(not train, use_scale=False, use_bias=False, name='scaled')(z)
        if z.ndim == x.ndim:
            more |= {'grid': z}
            back = Dense(size, dtype=self.dtype, name='from_latent')(z if given is None else given)
        else:
            back = Dense(math.prod(space) * size, dtype=self.dtype, name='from_latent')(z)
        return back.reshape(len(x), *space, size), {'latent': z.reshape(len(z), -1), **more}

    def _drawn(self, x: jax.Array, train: bool,
               mixed: Callable[[jax.Array], jax.Array]) -> tuple[jax.Array, dict[str, Any]]:
        """The latent, in training of one with a distribution a draw from it, and that distribution."""
        z = mean = mixed(nn.Dense(self.latent, name='to_latent')(x))
        if self.kind == 'plain':
            return z, {}
        log_variance = nn.Dense(self.latent, kernel_init=nn.initializers.zeros, name='log_variance')(x)
        if train and self.has_rng('dropout'):
            z = mean + jnp.exp(log_variance / 2) * jax.random.normal(self.make_rng('dropout'), mean.shape)
        return z, {'mean': mean.reshape(len(x), -1), 'log_variance': log_variance.reshape(len(x), -1)}
