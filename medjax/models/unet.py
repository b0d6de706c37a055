"""U-Nets in one to three dimensions, one definition.

plain: Ronneberger 2015: two 3×3 convolutions with ReLU at each level, max pooling, 2×2 up-convolutions and copied
  features. Convolutions are padded here, so that the output is as large as the input; the paper's were not.
nnunet: Isensee 2021: instance norm, leaky ReLU, strided convolutions, deep supervision.
residual: nnU-Net's residual encoder (Isensee 2024): the same decoder, blocks with skip connections in the encoder.
Attention gates (Oktay 2018) are an option of each.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Block, Conv, Up, check_dims, slope_of
from medjax.nn.film import Film
from medjax.ops.norm import rectify
from medjax.ops.pool import max_pool

VARIANTS: dict[str, dict[str, Any]] = {
    'plain': dict(base=64, levels=5, cap=1024, norm='none', activation='relu', pool=True),
    'nnunet': dict(base=32, levels=6, cap=512, norm='instance', activation='leaky', deep=True),
    'residual': dict(base=32, levels=6, cap=512, norm='instance', activation='leaky', deep=True,
                     blocks=(1, 3, 4, 6, 6, 6, 6)),
}


class Residual(nn.Module):
    """Two convolutions around which the input is added (He 2016); strided and widened by a 1×1 convolution."""

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
        return rectify(x + y, slope_of(self.activation))


class Gate(nn.Module):
    """Additive attention on a skip connection, steered by the coarser level's features (Oktay 2018)."""

    norm: str
    dtype: str

    @nn.compact
    def __call__(self, skip: jax.Array, steer: jax.Array, train: bool) -> tuple[jax.Array, jax.Array]:
        """Weights `skip [B, *S, C]` by attention `[B, *S, 1]` in 0–1, float32, and returns both."""
        inner, one = max(skip.shape[-1] // 2, 1), (1,) * (skip.ndim - 2)
        both = [Block(inner, one, None, self.norm, 'none', self.dtype, name=name)(x, train)
                for name, x in (('skip', skip), ('steer', steer))]
        weight = Block(1, one, None, 'none', 'none', self.dtype, name='weight')(nn.relu(both[0] + both[1]), train)
        weight = nn.sigmoid(weight.astype(jnp.float32))
        return (skip * weight).astype(self.dtype), weight


class Model(nn.Module):
    """A U-Net.

    Attributes:
      classes: output channels.
      dims: spatial dimensions, 1 to 3; 1 is a trace over time.
      base: channels of the finest level; they double at each level up to `cap`.
      levels: resolutions, the finest and the coarsest included.
      cap: most channels.
      norm: 'none', 'batch' or 'instance'.
      activation: 'relu' or 'leaky'.
      pool: halve by max pooling in place of strided convolutions.
      blocks: residual blocks of each encoder level; None for pairs of convolutions.
      strides: along each axis from a level to the next, `levels - 1` of them; 2 everywhere when None. For thick slices
        (2, 2, 1) first, and kernels are 1 along an axis until it is first halved, as in nnU-Net.
      attention: gate the skip connections.
      deep: give logits of the coarser levels but the two coarsest as `feats['deep']`.
      remat: recompute each level's features in the backward pass, for memory.
      dtype: compute type; weights, norms and logits are float32.
    """

    classes: int
    dims: int = 2
    base: int = 32
    levels: int = 5
    cap: int = 512
    norm: str = 'instance'
    activation: str = 'leaky'
    pool: bool = False
    blocks: Sequence[int] | None = None
    strides: Sequence[Sequence[int]] | None = None
    attention: bool = False
    deep: bool = False
    remat: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool,
                 steer: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]` with each S a multiple of the product of the strides.
          train: for batch norm.
          steer: `[B, F]`, by which every level's features are scaled and shifted (FiLM), such as times.

        Returns:
          Logits `[B, *S, classes]` float32, and the features 'enc0' (finest) …, 'dec0' …, with 'attention0' … and
          'deep' where asked for.
        """
        one = (1,) * self.dims
        strides = [one, *map(tuple, self.strides or [(2,) * self.dims] * (self.levels - 1))]
        self._check(x, strides)
        widths = [min(self.base * 2**level, self.cap) for level in range(self.levels)]
        # Flat as long as no stride has halved the axis, the one that leaves the level included; 3 ever after.
        kernels = [tuple(3 if max(axis) > 1 else 1 for axis in zip(*strides[:level + 2]))
                   for level in range(self.levels - 1)] + [(3,) * self.dims]
        make = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        residual = nn.remat(Residual, static_argnums=(2,)) if self.remat else Residual
        kind = (self.norm, self.activation, self.dtype)
        feats: dict[str, Any] = {}

        x = x.astype(self.dtype)
        for level, (width, kernel, stride) in enumerate(zip(widths, kernels, strides)):
            name = f'enc{level}'
            if self.pool and level:
                x, stride = max_pool(x, stride), one
            if self.blocks is None:
                x = make(width, kernel, stride, *kind, name=f'{name}_0')(x, train)
                x = make(width, kernel, one, *kind, name=f'{name}_1')(x, train)
            else:
                x = make(width, kernel, one, *kind, name='stem')(x, train) if level == 0 else x
                for number in range(self.blocks[level]):
                    x = residual(width, kernel, one if number else stride, *kind, name=f'{name}_{number}')(x, train)
            if steer is not None:
                x = Film(self.dtype, name=f'{name}_film')(x, steer)
            feats[name] = x

        deep = []
        for level in reversed(range(self.levels - 1)):
            width, kernel, name = widths[level], kernels[level], f'dec{level}'
            x = Up(width, strides[level + 1], dtype=self.dtype, name=f'{name}_up')(x)
            skip = feats[f'enc{level}']
            if self.attention:
                skip, feats[f'attention{level}'] = Gate(self.norm, self.dtype, name=f'{name}_gate')(skip, x, train)
            x = make(width, kernel, one, *kind, name=f'{name}_0')(jnp.concatenate([x, skip], -1), train)
            x = make(width, kernel, one, *kind, name=f'{name}_1')(x, train)
            if steer is not None:
                x = Film(self.dtype, name=f'{name}_film')(x, steer)
            feats[name] = x
            if level == 0 or (self.deep and level < self.levels - 2):
                # float32: the loss's exponentials want the digits.
                last = Conv(self.classes, one, bias=True, init=nn.initializers.lecun_normal(), name=f'logits{level}')
                deep.append(last(x))
        if self.deep:
            feats['deep'] = tuple(deep[-2::-1])
        return deep[-1], feats

    def _check(self, x: jax.Array, strides: Sequence[Sequence[int]]) -> None:
        check_dims(x, self.dims)
        if self.levels < 2:
            raise InputError(f'config.model.levels: {self.levels}; expected 2 or more')
        if len(strides) != self.levels or any(len(stride) != self.dims for stride in strides):
            raise InputError(f'config.model.strides: {self.strides}; expected {self.levels - 1} of {self.dims} numbers')
        if self.blocks is not None and len(self.blocks) < self.levels:
            raise InputError(f'config.model.blocks: {tuple(self.blocks)}; expected {self.levels} numbers')
        for axis, (size, along) in enumerate(zip(x.shape[1:-1], zip(*strides))):
            if size % (need := math.prod(along)):
                raise InputError(f'config.data.patch: {size} voxels along axis {axis}; expected a multiple of {need}')
