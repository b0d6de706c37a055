"""Densely connected networks (DenseNet) for classification, in 2D and 3D (Huang 2017)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import Block, Conv, Norm, check_dims, norm_moments
from medjax.nn.dropout import Dropout
from medjax.ops.norm import Moments
from medjax.ops.pool import max_pool
from medjax.options import Count, Dims, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {
    '121': dict(blocks=(6, 12, 24, 16)),
    '169': dict(blocks=(6, 12, 32, 32)),
}


class Layer(nn.Module):
    """A bottleneck layer: norm, ReLU and 1×1 convolution to 4 × growth, then norm, ReLU and 3×3 convolution to growth.

    Attributes:
      growth: number of output channels.
      dims: number of spatial dimensions.
      norm: see `nn.conv.Norm`.
      dtype: compute dtype.
    """

    growth: int
    dims: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool, known: Moments | None) -> jax.Array:
        """Maps `[B, *S, C]` with known moments to the new features `[B, *S, growth]`."""
        for number, (features, extent) in enumerate(((4 * self.growth, 1), (self.growth, 3))):
            x = Norm(self.norm, 'relu', self.dtype, name=f'norm{number}')(x, train, None if number else known)
            x = Conv(features, (extent,) * self.dims, dtype=self.dtype, name=f'conv{number}')(x)
        return x


class Model(nn.Module):
    """A DenseNet.

    Attributes:
      classes: number of outputs.
      dims: number of spatial dimensions, 2 or 3.
      blocks: number of layers of each dense block; channels and extents are halved between blocks.
      growth: number of channels that a layer adds.
      dropout: dropout rate of the pooled features before the logits.
      norm: 'batch', 'instance' or 'none'.
      dtype: compute dtype; parameters, statistics of norms and logits are float32.
    """

    classes: Count
    dims: Dims = 2
    blocks: Sequence[Count] = (6, 12, 24, 16)
    growth: Count = 32
    dropout: FractionBelowOne = 0.0
    norm: str = 'batch'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`, each S at least 32 with four blocks.
          train: for batch norm and dropout.

        Returns:
          Logits `[B, classes]` float32, and the features 'block0' (finest) … and 'pooled' `[B, C]`.
        """
        check_dims(x, self.dims, 2**(len(self.blocks) + 1))
        one, two = (1,) * self.dims, (2,) * self.dims
        feats: dict[str, Any] = {}
        x = Block(2 * self.growth, (7,) * self.dims, two, self.norm, 'relu', self.dtype, name='stem')(
            x.astype(self.dtype), train)
        x = max_pool(x, (3,) * self.dims, two, [(1, 1)] * self.dims)
        for block, count in enumerate(self.blocks):
            # Each layer normalises all previous channels; the moments of a channel are computed once.
            known = norm_moments(x, self.norm, train)
            for number in range(count):
                layer = Layer(self.growth, self.dims, self.norm, self.dtype, name=f'block{block}_{number}')
                new = layer(x, train, known)
                x = jnp.concatenate([x, new], -1)
                known = jax.tree.map(lambda a, b: jnp.concatenate([a, b], -1), known,
                                     norm_moments(new, self.norm, train))
            last = block + 1 == len(self.blocks)
            x = Norm(self.norm, 'relu', self.dtype, name=f'norm{block}')(x, train, known)
            feats[f'block{block}'] = x = self.perturb(f'block{block}', x)
            if not last:
                x = Conv(x.shape[-1] // 2, one, dtype=self.dtype, name=f'half{block}')(x)
                x = nn.avg_pool(x, two, two)
        feats['pooled'] = x = x.astype(jnp.float32).mean(tuple(range(1, x.ndim - 1)))
        return nn.Dense(self.classes, name='logits')(Dropout(self.dropout)(x, train)), feats
