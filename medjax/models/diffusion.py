"""A denoising U-Net of residual blocks conditioned on timestep and class (Ho 2020; Dhariwal 2021).

What it predicts for a noisy image is defined by `tasks/synthesis/diffusion_task.py`. Group norm (Wu 2018) preserves the
overall brightness of an image, which the instance norm of `models/unet.py` removes, and does not depend on the batch.
Optionally images are divided into patches first (Hoogeboom 2023), which is much cheaper where most of the computation
is at the finest level.
"""

import functools
import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import SelfAttention, sinusoidal_encoding
from medjax.nn.conv import Conv, Patches, TransposedConv
from medjax.nn.dropout import Dropout
from medjax.nn.film import ConditionEmbedding, FiLM
from medjax.options import Count, FractionBelowOne, NonNegativeInt

VARIANTS: dict[str, dict[str, Any]] = {'pixels': dict(base=32, levels=3), 'patches': dict(base=64, levels=2, patch=2)}
GROUPS = 8  # channel groups of a group norm
TIME_CHANNELS, TIME_STEPS = 64, 1000.0  # channels of the time encoding, and the number of steps that time 1 stands for
zeros = nn.initializers.zeros


class GroupNorm(nn.Module):
    """Group norm; statistics are float32 regardless of the compute dtype.

    Attributes:
      dtype: dtype of the output.
    """

    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Normalises `[B, *S, C]` by mean and variance over space and channel groups, per example."""
        return nn.GroupNorm(math.gcd(GROUPS, x.shape[-1]), use_fast_variance=False, dtype=self.dtype, name='norm')(x)


class Residual(nn.Module):
    """A residual block of two convolutions with FiLM conditioning between them; initially the identity.

    Attributes:
      features: number of output channels.
      dropout: dropout rate.
      dtype: compute dtype.
    """

    features: int
    dropout: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, condition: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` with a condition `[B, F]` to `[B, *S, features]`."""
        dims, norm = x.ndim - 2, functools.partial(GroupNorm, self.dtype)
        conv = functools.partial(Conv, self.features, dtype=self.dtype)
        y = conv((3,) * dims, name='first')(nn.swish(norm(name='norm0')(x)))
        y = nn.swish(FiLM(self.dtype, name='film')(norm(name='norm1')(y), condition))
        y = conv((3,) * dims, bias=True, init=zeros, name='second')(Dropout(self.dropout)(y, train))
        return y + (x if x.shape[-1] == self.features else conv((1,) * dims, bias=True, name='skip')(x))


class Model(nn.Module):
    """A denoising U-Net.

    Attributes:
      classes: number of classes; 0 for images without class.
      size: voxels of an image along each of 2 or 3 axes.
      channels: channels of an image.
      base: channels of the finest level; doubled at each level up to `max_channels`.
      levels: number of resolutions.
      max_channels: maximum number of channels.
      blocks: residual blocks per level of the encoder; the decoder has one more.
      patch: extent of a patch along each axis.
      attention: whether to apply self-attention at the coarsest level.
      heads: number of attention heads.
      dropout: dropout rate of each block.
      dtype: compute dtype; parameters and outputs are float32.
    """

    classes: NonNegativeInt = 0
    size: Sequence[Count] = (28, 28)
    channels: Count = 1
    base: Count = 32
    levels: Count = 3
    max_channels: Count = 256
    blocks: Count = 1
    patch: Count = 1
    attention: bool = True
    heads: Count = 4
    dropout: FractionBelowOne = 0.0
    dtype: str = 'float32'

    inputs = ('image', 'time', 'label')  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, x: jax.Array, time: jax.Array, label: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Predicts the noise, or the quantity that the network was trained to predict.

        Args:
          x: noisy images, `[B, *size, channels]`.
          time: `[B]`, from 0 for images to 1 for noise.
          label: `[B]`, the class, or -1 for none.
          train: for dropout.

        Returns:
          `[B, *size, channels]` float32, and the features 'enc0' (finest) …, 'dec0' …, and, with attention, 'attention'
          `[B, heads, T, T]`.

        Raises:
          InputError: the fields or the shape of the images are not valid.
        """
        self._check(x)
        dims = len(self.size)
        widths = [min(self.base * 2**level, self.max_channels) for level in range(self.levels)]
        conv = functools.partial(Conv, kernel=(3,) * dims, bias=True, dtype=self.dtype)
        condition = jnp.concatenate([sinusoidal_encoding(TIME_STEPS * time, TIME_CHANNELS, 1e4),
                                     jax.nn.one_hot(label, self.classes)], -1)
        condition = ConditionEmbedding(4 * self.base, name='steer')(condition)
        feats: dict[str, Any] = {}

        def block(x: jax.Array, level: int, name: str) -> jax.Array:
            return Residual(widths[level], self.dropout, self.dtype, name=name)(x, condition, train)

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
            tokens = GroupNorm(self.dtype, name='norm')(x).reshape(x.shape[0], -1, x.shape[-1])
            tokens, feats['attention'] = SelfAttention(self.heads, self.dtype, name='attention')(tokens)
            x = x + tokens.reshape(x.shape)
        for level in reversed(range(self.levels)):
            if level < self.levels - 1:
                x = TransposedConv(widths[level], (2,) * dims, self.dtype, name=f'up{level}')(x)
                x = x[tuple(slice(n) for n in skips[-1].shape[:-1])]  # odd sizes are rounded up when halved
            for number in range(self.blocks + 1):
                x = block(jnp.concatenate([x, skips.pop()], -1), level, f'dec{level}_{number}')
            feats[f'dec{level}'] = x
        x = conv(self.base, init=zeros, name='last')(nn.swish(GroupNorm(self.dtype, name='norm_last')(x)))
        return TransposedConv(self.channels, (self.patch,) * dims, name='out')(x).astype(jnp.float32), feats

    def _check(self, x: jax.Array) -> None:
        if len(self.size) not in (2, 3) or min(
                *self.size, self.channels, self.base, self.levels, self.max_channels, self.blocks) < 1:
            raise InputError(f'config.model: size={tuple(self.size)}, channels={self.channels}, base={self.base}, '
                             f'levels={self.levels}, max_channels={self.max_channels}, blocks={self.blocks}; expected '
                             '2 or 3 axes, and '
                             'at least 1 of each')
        if x.shape[1:] != (*self.size, self.channels):
            raise InputError(f'config.model: size={tuple(self.size)}, channels={self.channels}; expected those of the '
                             f'images, {x.shape[1:-1]} and {x.shape[-1]}')
        if self.patch < 1 or any(n % self.patch for n in self.size):
            raise InputError(f'config.model.patch: {self.patch}; expected a divisor of {tuple(self.size)}')
