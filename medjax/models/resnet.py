"""Residual networks for classification, in 2D and 3D (He 2016).

18 and 34 have blocks of two 3×3 convolutions, 50 and 101 of 1×1, 3×3 and 1×1. `small` is the stem for pictures of 28 to
64 pixels: one 3×3 convolution in place of the 7×7 with stride 2 and the max pooling.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import Block, check_dims

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

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / stride, features × (bottleneck or 1)]`."""
        one, three = (1,) * len(self.stride), (3,) * len(self.stride)
        wide = self.features * (self.bottleneck or 1)
        # The bottleneck's stride is in its 3×3 convolution, as in torchvision, whose published weights have it there.
        shape = [(one, one), (three, self.stride), (one, one)] if self.bottleneck else [
            (three, self.stride), (three, one)]
        y = x
        for number, (kernel, stride) in enumerate(shape):
            last = number + 1 == len(shape)
            y = Block(wide if last else self.features, kernel, stride, self.norm, 'none' if last else 'relu',
                      self.dtype, name=f'conv{number}')(y, train)
        if x.shape != y.shape:
            x = Block(wide, one, self.stride, self.norm, 'none', self.dtype, name='skip')(x, train)
        return nn.relu(x + y)


class Model(nn.Module):
    """A residual network.

    Attributes:
      classes: outputs.
      dims: spatial dimensions, 2 or 3.
      blocks: of each of the stages; channels double and extents halve from one to the next.
      base: channels of the first stage.
      bottleneck: how much wider a block's output is than its 3×3 convolution; 0 for blocks of two 3×3 convolutions.
      small: the stem for small pictures.
      norm: 'batch', 'instance' or 'none'.
      dtype: compute type; weights, norms' statistics and logits are float32.
    """

    classes: int
    dims: int = 2
    blocks: Sequence[int] = (2, 2, 2, 2)
    base: int = 64
    bottleneck: int = 0
    small: bool = False
    norm: str = 'batch'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`.
          train: for batch norm.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest) … and 'pooled' `[B, C]`.
        """
        check_dims(x, self.dims)
        one, two = (1,) * self.dims, (2,) * self.dims
        x = x.astype(self.dtype)
        feats: dict[str, Any] = {}
        if self.small:
            x = Block(self.base, (3,) * self.dims, one, self.norm, 'relu', self.dtype, name='stem')(x, train)
        else:
            x = Block(self.base, (7,) * self.dims, two, self.norm, 'relu', self.dtype, name='stem')(x, train)
            x = nn.max_pool(x, (3,) * self.dims, two, [(1, 1)] * self.dims)
        for stage, count in enumerate(self.blocks):
            for number in range(count):
                x = Residual(self.base * 2**stage, two if stage and not number else one, self.bottleneck, self.norm,
                             self.dtype, name=f'stage{stage}_{number}')(x, train)
            feats[f'stage{stage}'] = x
        feats['pooled'] = x = x.astype(jnp.float32).mean(tuple(range(1, x.ndim - 1)))
        return nn.Dense(self.classes, name='logits')(x), feats
