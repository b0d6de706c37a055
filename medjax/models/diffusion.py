"""A U-Net that tells the noise in an image: residual blocks steered by time and class (Ho 2020; Dhariwal 2021).

What it tells of a noisy image is for `tasks/synthesis/diffusion_task.py` to say. Group norms (Wu 2018) keep how bright an image is as a
whole, which the instance norms of `models/unet.py` take away, and know nothing of the batch. Images may be cut into
patches first (Hoogeboom 2023), which costs a fraction where most of the work is at the finest level.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import SelfAttention, waves
from medjax.nn.conv import Conv, Patches, Up
from medjax.nn.dropout import Dropout
from medjax.nn.film import Film, Numbers

VARIANTS: dict[str, dict[str, Any]] = {'pixels': dict(base=32, levels=3), 'patches': dict(base=64, levels=2, patch=2)}
GROUPS = 8  # of channels
WAVES, STEPS = 64, 1000.0  # channels that time becomes, and steps that it is told in
zeros = nn.initializers.zeros


class Group(nn.Module):
    """Group norm; statistics are float32 whatever the compute type."""

    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises `[B, *S, C]` by mean and variance over space and a group of channels, by example."""
        return nn.GroupNorm(math.gcd(GROUPS, x.shape[-1]), use_fast_variance=False, dtype=self.dtype, name='norm')(x)


class Residual(nn.Module):
    """Two convolutions, steered between them, around which the input is added; at first only the input."""

    features: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, steer: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S, features]`."""
        dims, norm = x.ndim - 2, functools.partial(Group, self.dtype)
        conv = functools.partial(Conv, self.features, dtype=self.dtype)
        y = conv((3,) * dims, name='first')(nn.swish(norm(name='norm0')(x)))
        y = nn.swish(Film(self.dtype, name='film')(norm(name='norm1')(y), steer))
        y = conv((3,) * dims, bias=True, init=zeros, name='second')(Dropout(self.dropout)(y, train))
        return y + (x if x.shape[-1] == self.features else conv((1,) * dims, bias=True, name='skip')(x))


class Model(nn.Module):
    """A denoiser.

    Attributes:
      classes: that a label may name; 0 where images have none.
      size: voxels of an image along each of 2 or 3 axes.
      channels: of an image.
      base: channels of the finest level; they double at each level up to `cap`.
      levels: resolutions, the finest and the coarsest included.
      cap: most channels.
      blocks: residual blocks of a level on the way down; one more on the way up.
      patch: voxels along each axis that are cut into a patch first.
      attention: between all places of the coarsest level.
      heads: of attention.
      dropout: share of features that is zeroed in each block.
      dtype: compute type; weights and what is told are float32.
    """

    classes: int = 0
    size: Sequence[int] = (28, 28)
    channels: int = 1
    base: int = 32
    levels: int = 3
    cap: int = 256
    blocks: int = 1
    patch: int = 1
    attention: bool = True
    heads: int = 4
    dropout: float = 0.0
    dtype: str = 'float32'

    inputs = ('image', 'time', 'label')  # what of a batch it sees

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, label: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Tells the noise, or what else it was trained to.

        Args:
          x: images with noise, `[B, *size, channels]`.
          time: `[B]`, 0 of an image to 1 of noise.
          label: `[B]`, the class, or -1 where none is said.
          train: for dropout.

        Returns:
          `[B, *size, channels]` float32, and the features 'enc0' (finest) …, 'dec0' …, and 'attention'
          `[B, heads, T, T]` where there is some.
        """
        self._check(x)
        dims = len(self.size)
        widths = [min(self.base * 2**level, self.cap) for level in range(self.levels)]
        conv = functools.partial(Conv, kernel=(3,) * dims, bias=True, dtype=self.dtype)
        steer = jnp.concatenate([waves(STEPS * time, WAVES, 1e4), jax.nn.one_hot(label, self.classes)], -1)
        steer = Numbers(4 * self.base, name='steer')(steer)
        feats: dict[str, Any] = {}

        def block(x: jax.Array, level: int, name: str) -> jax.Array:
            return Residual(widths[level], self.dropout, self.dtype, name=name)(x, steer, train)

        x = Patches(self.base, (self.patch,) * dims, dtype=self.dtype, name='stem')(x)
        skips = []
        for level, width in enumerate(widths):
            if level:
                x = conv(width, stride=(2,) * dims, name=f'down{level}')(x)
            skips.append(x)
            for number in range(self.blocks):
                x = block(x, level, f'enc{level}_{number}')
                skips.append(x)
            feats[f'enc{level}'] = x
        if self.attention:
            tokens = Group(self.dtype, name='norm')(x).reshape(len(x), -1, x.shape[-1])
            tokens, feats['attention'] = SelfAttention(self.heads, self.dtype, name='attention')(tokens)
            x = x + tokens.reshape(x.shape)
        for level in reversed(range(self.levels)):
            if level < self.levels - 1:
                x = Up(widths[level], (2,) * dims, self.dtype, name=f'up{level}')(x)
                x = x[tuple(slice(n) for n in skips[-1].shape[:-1])]  # halved, an odd size is rounded up
            for number in range(self.blocks + 1):
                x = block(jnp.concatenate([x, skips.pop()], -1), level, f'dec{level}_{number}')
            feats[f'dec{level}'] = x
        x = conv(self.base, init=zeros, name='last')(nn.swish(Group(self.dtype, name='norm_last')(x)))
        return Up(self.channels, (self.patch,) * dims, name='out')(x).astype(jnp.float32), feats

    def _check(self, x: jax.Array) -> None:
        if len(self.size) not in (2, 3) or min(
                *self.size, self.channels, self.base, self.levels, self.cap, self.blocks) < 1:
            raise InputError(f'config.model: size={tuple(self.size)}, channels={self.channels}, base={self.base}, '
                             f'levels={self.levels}, cap={self.cap}, blocks={self.blocks}; expected 2 or 3 axes, and '
                             'at least 1 of each')
        if x.shape[1:] != (*self.size, self.channels):
            raise InputError(f'config.model: size={tuple(self.size)}, channels={self.channels}; expected those of the '
                             f'images, {x.shape[1:-1]} and {x.shape[-1]}')
        if self.patch < 1 or any(n % self.patch for n in self.size):
            raise InputError(f'config.model.patch: {self.patch}; expected a divisor of {tuple(self.size)}')
