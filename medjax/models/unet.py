"""U-Nets in one to three dimensions.

- plain (Ronneberger 2015): two 3×3 convolutions with ReLU at each level, max pooling, 2×2 transposed convolutions and
  skip connections. In contrast to the paper, convolutions are padded, so that the output has the size of the input.
- nnunet (Isensee 2021): instance norm, leaky ReLU, strided convolutions and deep supervision.
- residual (Isensee 2024): nnU-Net with residual blocks in the encoder.

Attention gates (Oktay 2018) are an option of each.
"""

import math
from collections.abc import Sequence
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Block, Conv, TransposedConv, check_dims, negative_slope
from medjax.nn.film import FiLM
from medjax.ops.norm import rectify
from medjax.ops.pool import max_pool
from medjax.options import Count, Dims, Range

VARIANTS: dict[str, dict[str, Any]] = {
    'plain': dict(base=64, levels=5, max_channels=1024, norm='none', activation='relu', max_pooling=True),
    'nnunet': dict(base=32, levels=6, max_channels=512, norm='instance', activation='leaky', deep_supervision=True),
    'residual': dict(base=32, levels=6, max_channels=512, norm='instance', activation='leaky', deep_supervision=True,
                     blocks=(1, 3, 4, 6, 6, 6, 6)),
}


class Residual(nn.Module):
    """A residual block of two convolutions (He 2016). The skip connection has average pooling and a 1×1 convolution."""

    features: int
    kernel: Sequence[int]
    stride: Sequence[int]
    norm: str
    activation: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features]`."""
        kind, linear = (self.norm, self.activation, self.dtype), (self.norm, 'none', self.dtype)
        y = Block(self.features, self.kernel, self.stride, *kind, name='first')(x, train)
        y = Block(self.features, self.kernel, None, *linear, name='second')(y, train)
        if max(self.stride) > 1:
            x = nn.avg_pool(x, self.stride, self.stride)
        if x.shape[-1] != self.features:
            x = Block(self.features, (1,) * len(self.kernel), None, *linear, name='skip')(x, train)
        return rectify(x + y, negative_slope(self.activation))


class Gate(nn.Module):
    """An additive attention gate on a skip connection, controlled by the coarser level's features (Oktay 2018)."""

    norm: str
    dtype: str

    @nn.compact
    def __call__(self, skip: jax.Array, gating: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Multiplies `skip [B, *S, C]` by attention `[B, *S, 1]` in 0–1, float32, and returns both."""
        inner, one = max(skip.shape[-1] // 2, 1), (1,) * (skip.ndim - 2)
        both = [Block(inner, one, None, self.norm, 'none', self.dtype, name=name)(x, train)
                for name, x in (('skip', skip), ('steer', gating))]
        weight = Block(1, one, None, 'none', 'none', self.dtype, name='weight')(nn.relu(both[0] + both[1]), train)
        weight = nn.sigmoid(weight.astype(jnp.float32))
        return (skip.astype(jnp.float32) * weight).astype(self.dtype), weight


class Model(nn.Module):
    """A U-Net.

    Attributes:
      classes: number of output channels.
      dims: number of spatial dimensions, 1 to 3; 1 is a signal over time.
      base: channels of the finest level; doubled at each level up to `max_channels`.
      levels: number of resolutions.
      max_channels: maximum number of channels.
      norm: 'none', 'batch' or 'instance'.
      activation: 'relu' or 'leaky'.
      max_pooling: whether to downsample by max pooling instead of strided convolutions.
      blocks: number of residual blocks of each encoder level; None for two convolutions per level.
      strides: strides along each axis between levels, `levels - 1` of them; 2 by default. For thick slices start with
        (2, 2, 1); kernels have extent 1 along an axis until it is first downsampled, as in nnU-Net.
      attention: whether skip connections have attention gates.
      deep_supervision: whether to return logits of all coarser levels except the two coarsest as `feats['deep']` (deep
        supervision).
      remat: whether to recompute features in the backward pass, to save memory.
      dtype: compute dtype; parameters, norms and logits are float32.
    """

    classes: Count
    dims: Dims = 2
    base: Count = 32
    levels: Annotated[int, Range(low=2)] = 5
    max_channels: Count = 512
    norm: str = 'instance'
    activation: str = 'leaky'
    max_pooling: bool = False
    blocks: Sequence[Count] | None = None
    strides: Sequence[Sequence[Count]] | None = None
    attention: bool = False
    deep_supervision: bool = False
    remat: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool,
                 condition: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]` with each S a multiple of the product of the strides.
          train: for batch norm.
          condition: `[B, F]`, such as an embedding of times, that scales and shifts the features of every level (FiLM).

        Returns:
          Logits `[B, *S, classes]` float32, and the features 'enc0' (finest) …, 'dec0' …, and if enabled 'attention0' …
          and 'deep'.

        Raises:
          InputError: the fields or the shape of the images are not valid.
        """
        one = (1,) * self.dims
        strides = [one, *map(tuple, self.strides or [(2,) * self.dims] * (self.levels - 1))]
        self._check(x, strides)
        widths = [min(self.base * 2**level, self.max_channels) for level in range(self.levels)]
        # Extent 1 along an axis until the first stride along it, including the one at the end of the level, then 3.
        kernels = [tuple(3 if max(axis) > 1 else 1 for axis in zip(*strides[:level + 2]))
                   for level in range(self.levels - 1)] + [(3,) * self.dims]
        feats: dict[str, Any] = {}
        x = self._encode(x.astype(self.dtype), list(zip(widths, kernels, strides)), feats, train, condition)
        return self._decode(x, list(zip(widths, kernels, strides[1:])), feats, train, condition), feats

    def _encode(self, x: jax.Array, levels: Sequence[tuple[int, Sequence[int], Sequence[int]]], feats: dict[str, Any],
                train: bool, condition: jax.Array | None) -> jax.Array:
        """Applies the encoder; `levels` has channels, kernel and stride, and the features are added to `feats`."""
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        residual = nn.remat(Residual, static_argnums=(2,)) if self.remat else Residual
        kind, one = (self.norm, self.activation, self.dtype), (1,) * self.dims
        for level, (width, kernel, stride) in enumerate(levels):
            name = f'enc{level}'
            if self.max_pooling and level:
                x, stride = max_pool(x, stride), one
            if self.blocks is None:
                x = block(width, kernel, stride, *kind, name=f'{name}_0')(x, train)
                x = block(width, kernel, one, *kind, name=f'{name}_1')(x, train)
            else:
                x = block(width, kernel, one, *kind, name='stem')(x, train) if level == 0 else x
                for number in range(self.blocks[level]):
                    x = residual(width, kernel, one if number else stride, *kind, name=f'{name}_{number}')(x, train)
            if condition is not None:
                x = FiLM(self.dtype, name=f'{name}_film')(x, condition)
            feats[name] = x
        return x

    def _decode(self, x: jax.Array, levels: Sequence[tuple[int, Sequence[int], Sequence[int]]], feats: dict[str, Any],
                train: bool, condition: jax.Array | None) -> jax.Array:
        """Applies the decoder and returns the logits; `levels` has channels, kernel and stride to the coarser level."""
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        kind, one, deep = (self.norm, self.activation, self.dtype), (1,) * self.dims, []
        for level, (width, kernel, stride) in reversed(list(enumerate(levels))):
            name = f'dec{level}'
            x = TransposedConv(width, stride, dtype=self.dtype, name=f'{name}_up')(x)
            skip = feats[f'enc{level}']
            if self.attention:
                skip, feats[f'attention{level}'] = Gate(self.norm, self.dtype, name=f'{name}_gate')(skip, x, train)
            x = block(width, kernel, one, *kind, name=f'{name}_0')(jnp.concatenate([x, skip], -1), train)
            x = block(width, kernel, one, *kind, name=f'{name}_1')(x, train)
            if condition is not None:
                x = FiLM(self.dtype, name=f'{name}_film')(x, condition)
            feats[name] = x
            if level == 0 or (self.deep_supervision and level < self.levels - 2):
                # In float32, for the precision of the loss.
                last = Conv(self.classes, one, bias=True, init=nn.initializers.lecun_normal(), name=f'logits{level}')
                deep.append(last(x))
        if self.deep_supervision:
            feats['deep'] = tuple(deep[-2::-1])
        return deep[-1]

    def _check(self, x: jax.Array, strides: Sequence[Sequence[int]]) -> None:
        check_dims(x, self.dims)
        if self.levels < 2:
            raise InputError(f'config.model.levels: {self.levels}; expected 2 or more')
        if len(strides) != self.levels or any(len(stride) != self.dims for stride in strides):
            raise InputError(f'config.model.strides: {self.strides}; expected {self.levels - 1} of {self.dims} numbers')
        if self.blocks is not None and len(self.blocks) < self.levels:
            raise InputError(f'config.model.blocks: {tuple(self.blocks)}; expected {self.levels} numbers')
        for axis, (size, along) in enumerate(zip(x.shape[1:-1], zip(*strides))):
            if size % (factor := math.prod(along)):
                raise InputError(f'config.data.patch: {size} voxels along axis {axis}; expected a multiple of {factor}')
