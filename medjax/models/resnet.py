"""Residual networks for classification, in 2D and 3D (He 2016).

18 and 34 have blocks of two 3×3 convolutions, 50 and 101 of 1×1, 3×3 and 1×1. `small` is the stem for pictures of 28 to
64 pixels: one 3×3 convolution in place of the 7×7 with stride 2 and the max pooling.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.attention import gated
from medjax.nn.conv import Block, Conv, Norm, check_dims
from medjax.nn.dropout import Dropout
from medjax.nn.pool import pyramid
from medjax.ops.pool import max_pool

VARIANTS: dict[str, dict[str, Any]] = {
    '18': dict(blocks=(2, 2, 2, 2)),
    '34': dict(blocks=(3, 4, 6, 3)),
    '50': dict(blocks=(3, 4, 6, 3), bottleneck=4),
    '101': dict(blocks=(3, 4, 23, 3), bottleneck=4),
}


class Residual(nn.Module):
    """Convolutions around which the input is added; where shapes differ, through a 1×1 convolution."""

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
        return nn.relu(x + gated(y, self.attention))


class PreActivated(nn.Module):
    """The same with norm and ReLU ahead of each convolution, and nothing behind the sum (He 2016b).

    Where the skip connection has a convolution it shares the first norm and ReLU. The network's first block has none
    of its own: the stem's are right ahead of it.
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
        return x + gated(y, self.attention)


def _layers(features: int, stride: Sequence[int], bottleneck: int) -> list[tuple[int, Sequence[int], Sequence[int]]]:
    """Features, kernel and stride of a block's convolutions."""
    one, three = (1,) * len(stride), (3,) * len(stride)
    if bottleneck:
        # Its stride is in the 3×3 convolution, as in torchvision, whose published weights have it there.
        return [(features, one, one), (features, three, stride), (features * bottleneck, one, one)]
    return [(features, three, stride), (features, three, one)]


class Model(nn.Module):
    """A residual network.

    Attributes:
      classes: outputs.
      dims: spatial dimensions, 2 or 3.
      blocks: of each of the stages; channels double and extents halve from one to the next.
      base: channels of the first stage.
      bottleneck: how much wider a block's output is than its 3×3 convolution; 0 for blocks of two 3×3 convolutions.
      small: the stem for small pictures.
      preactivation: norm and ReLU ahead of the convolutions, so that nothing but sums lies between input and output of
        a stage (He 2016b).
      attention: on each block's convolutions: 'se' (squeeze and excitation, Hu 2018), 'cbam' (Woo 2018) or 'none'.
      pool: 'mean' over space, or 'spp', the largest values in 1, 2 and 4 bins along each axis (He 2014).
      dropout: share of the pooled features that is zeroed ahead of the logits.
      norm: 'batch', 'instance' or 'none'.
      dtype: compute type; weights, norms' statistics and logits are float32.
    """

    classes: int
    dims: int = 2
    blocks: Sequence[int] = (2, 2, 2, 2)
    base: int = 64
    bottleneck: int = 0
    small: bool = False
    preactivation: bool = False
    attention: str = 'none'
    pool: str = 'mean'
    dropout: float = 0.0
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

    def tap(self, name: str, x: jax.Array) -> jax.Array:
        """A feature as it is, unless something is given to be added to it by its name."""
        return self.perturb(name, x)

    def encode(self, x: jax.Array, train: bool) -> dict[str, Any]:
        """The features of images `[…, *S, C]`, one by one: each stage's `[…, *S', C']`, and 'pooled' `[…, C']`."""
        if self.pool not in ('mean', 'spp'):
            raise InputError(f"config.model.pool: {self.pool!r}; expected 'mean' or 'spp'")
        lead, feats = x.shape[:-self.dims - 1], {}
        x = x.reshape(-1, *x.shape[-self.dims - 1:]).astype(self.dtype)
        one, two, three = (1,) * self.dims, (2,) * self.dims, (3,) * self.dims
        if self.small:
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
            feats[name] = self.tap(name, x.reshape(*lead, *x.shape[1:]))
            x = feats[name].reshape(x.shape)
        x = x.astype(jnp.float32)
        x = x.mean(tuple(range(1, x.ndim - 1))) if self.pool == 'mean' else pyramid(x)
        feats['pooled'] = x.reshape(*lead, -1)
        return feats
