"""Residual networks (ResNet) for classification, in 2D and 3D (He 2016).

18 and 34 have blocks of two 3×3 convolutions, 50 and 101 of 1×1, 3×3 and 1×1. `small_images` selects a stem for
images of 28 to 64 pixels: one 3×3 convolution instead of a 7×7 convolution with stride 2 and max pooling.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import apply_gate
from medjax.nn.conv import Block, Conv, Norm, check_dims
from medjax.nn.dropout import Dropout
from medjax.nn.pool import spatial_pyramid_pool
from medjax.ops.pool import max_pool
from medjax.options import Count, Dims, FractionBelowOne, NonNegativeInt

VARIANTS: dict[str, dict[str, Any]] = {
    '18': dict(blocks=(2, 2, 2, 2)),
    '34': dict(blocks=(3, 4, 6, 3)),
    '50': dict(blocks=(3, 4, 6, 3), bottleneck=4),
    '101': dict(blocks=(3, 4, 23, 3), bottleneck=4),
}


class Residual(nn.Module):
    """A residual block; the skip connection has a 1×1 convolution if shapes differ. See `Model` for its attributes."""

    features: int
    stride: Sequence[int]
    bottleneck: int
    norm: str
    dtype: str
    attention: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features × (bottleneck or 1)]`."""
        y, layers = x, _layers(self.features, self.stride, self.bottleneck)
        for number, (features, kernel, stride) in enumerate(layers):
            last = number + 1 == len(layers)
            y = Block(features, kernel, stride, self.norm, 'none' if last else 'relu', self.dtype,
                      name=f'conv{number}')(y, train)
        if x.shape != y.shape:
            x = Block(y.shape[-1], (1,) * len(self.stride), self.stride, self.norm, 'none', self.dtype, name='skip')(
                x, train)
        return nn.relu(x + apply_gate(y, self.attention))


class PreActivated(nn.Module):
    """A pre-activation residual block: norm and ReLU precede each convolution, and the sum is linear (He 2016b).

    A convolution of the skip connection shares the first norm and ReLU. The first block of the network has no first
    norm, because the stem ends with one.
    """

    features: int
    stride: Sequence[int]
    bottleneck: int
    norm: str
    dtype: str
    attention: str
    first: bool

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features × (bottleneck or 1)]`."""
        layers, bias = _layers(self.features, self.stride, self.bottleneck), self.norm == 'none'
        y = x if self.first else Norm(self.norm, 'relu', self.dtype, name='norm0')(x, train)
        if x.shape[-1] != layers[-1][0] or max(self.stride) > 1:
            x = Conv(layers[-1][0], (1,) * len(self.stride), self.stride, bias, dtype=self.dtype, name='skip')(y)
        for number, (features, kernel, stride) in enumerate(layers):
            if number:
                y = Norm(self.norm, 'relu', self.dtype, name=f'norm{number}')(y, train)
            y = Conv(features, kernel, stride, bias, dtype=self.dtype, name=f'conv{number}')(y)
        return x + apply_gate(y, self.attention)


def _layers(features: int, stride: Sequence[int], bottleneck: int) -> list[tuple[int, Sequence[int], Sequence[int]]]:
    """Features, kernel and stride of the convolutions of a block."""
    one, three = (1,) * len(stride), (3,) * len(stride)
    if bottleneck:
        # The 3×3 convolution is strided, as in torchvision and its published weights.
        return [(features, one, one), (features, three, stride), (features * bottleneck, one, one)]
    return [(features, three, stride), (features, three, one)]


class Model(nn.Module):
    """A residual network.

    Attributes:
      classes: number of outputs.
      dims: number of spatial dimensions, 2 or 3.
      blocks: number of blocks of each stage; channels double and extents halve from one stage to the next.
      base: channels of the first stage.
      bottleneck: ratio of a block's output channels to those of its 3×3 convolution; 0 for blocks of two 3×3
        convolutions.
      small_images: whether to use the stem for small images.
      preactivation: whether norm and ReLU precede the convolutions, so that the skip connections of a stage form an
        identity path (He 2016b).
      attention: gate of each block's output: 'se' (squeeze-and-excitation, Hu 2018), 'cbam' (Woo 2018) or 'none'.
      pool: 'mean' over space, or 'spp', the maximum in 1, 2 and 4 bins along each axis (He 2014).
      dropout: dropout rate of the pooled features before the logits.
      norm: 'batch', 'instance' or 'none'.
      dtype: compute dtype; parameters, statistics of norms and logits are float32.
    """

    classes: Count
    dims: Dims = 2
    blocks: Sequence[Count] = (2, 2, 2, 2)
    base: Count = 64
    bottleneck: NonNegativeInt = 0
    small_images: bool = False
    preactivation: bool = False
    attention: str = 'none'
    pool: str = 'mean'
    dropout: FractionBelowOne = 0.0
    norm: str = 'batch'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`.
          train: for batch norm and dropout.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest) … and 'pooled' `[B, C]`.
        """
        check_dims(x, self.dims)
        feats = self.encode(x, train)
        x = Dropout(self.dropout)(feats['pooled'], train)
        return nn.Dense(self.classes, name='logits')(x), feats

    def perturb_feature(self, name: str, x: jax.Array) -> jax.Array:
        """Adds the entry `name` of the collection 'perturbations' to a feature, if there is one, for its gradient."""
        return self.perturb(name, x)

    def encode(self, x: jax.Array, train: bool) -> dict[str, Any]:
        """The features of images `[…, *S, C]`: those of each stage `[…, *S', C']`, and 'pooled' `[…, C']`."""
        if self.pool not in ('mean', 'spp'):
            raise InputError(f"config.model.pool: {self.pool!r}; expected 'mean' or 'spp'")
        lead, feats = x.shape[:-self.dims - 1], {}
        x = x.reshape(-1, *x.shape[-self.dims - 1:]).astype(self.dtype)
        one, two, three = (1,) * self.dims, (2,) * self.dims, (3,) * self.dims
        if self.small_images:
            x = Block(self.base, three, one, self.norm, 'relu', self.dtype, name='stem')(x, train)
        else:
            x = Block(self.base, (7,) * self.dims, two, self.norm, 'relu', self.dtype, name='stem')(x, train)
            x = max_pool(x, three, two, [(1, 1)] * self.dims)
        for stage, count in enumerate(self.blocks):
            for number in range(count):
                kind = dict(features=self.base * 2**stage, stride=two if stage and not number else one,
                            bottleneck=self.bottleneck, norm=self.norm, dtype=self.dtype, attention=self.attention,
                            name=f'stage{stage}_{number}')
                block = PreActivated(first=stage + number == 0, **kind) if self.preactivation else Residual(**kind)
                x = block(x, train)
            if self.preactivation and stage + 1 == len(self.blocks):
                x = Norm(self.norm, 'relu', self.dtype, name='norm')(x, train)
            name = f'stage{stage}'
            feats[name] = self.perturb_feature(name, x.reshape(*lead, *x.shape[1:]))
            x = feats[name].reshape(x.shape)
        x = x.astype(jnp.float32)
        x = x.mean(tuple(range(1, x.ndim - 1))) if self.pool == 'mean' else spatial_pyramid_pool(x)
        feats['pooled'] = x.reshape(*lead, -1)
        return feats
