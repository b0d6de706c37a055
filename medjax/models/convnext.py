"""ConvNeXt for classification, in 2D and 3D (Liu 2022): a convolutional network with the design of a transformer."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from medjax.nn.conv import Conv, Patches, check_dims
from medjax.nn.dense import Dense, LayerNorm
from medjax.nn.dropout import Dropout
from medjax.options import Count, Dims, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {'tiny': dict(blocks=(3, 3, 9, 3), widths=(96, 192, 384, 768))}
INITIAL_SCALE = 1e-6  # of a block's residual branch
init = nn.initializers.truncated_normal(0.02)


class Block(nn.Module):
    """A residual block of a depthwise 7×7 convolution, layer norm and two dense layers.

    Attributes:
      rate: rate of stochastic depth.
      dtype: compute dtype.
    """

    rate: float
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to the same shape."""
        size = x.shape[-1]
        y = Conv(size, (7,) * (x.ndim - 2), bias=True, init=init, groups=size, dtype=self.dtype, name='conv')(x)
        y = LayerNorm(dtype=self.dtype, name='norm')(y)
        y = nn.gelu(Dense(4 * size, init, self.dtype, name='dense0')(y), approximate=False)
        y = Dense(size, init, self.dtype, name='dense1')(y)
        # In float32, because the gradient of the scale is a sum over all voxels.
        y = y.astype(jnp.float32) * self.param('scale', nn.initializers.constant(INITIAL_SCALE), (size,), jnp.float32)
        return x + Dropout(self.rate, whole=True)(y.astype(self.dtype), train)


class Model(nn.Module):
    """A ConvNeXt.

    Attributes:
      classes: number of outputs.
      dims: number of spatial dimensions, 2 or 3.
      blocks: number of blocks of each stage; extents are halved between stages.
      widths: channels of each stage.
      stochastic_depth: rate at which the last block's branch is dropped; it increases linearly from 0 at the first
        block.
      dtype: compute dtype; parameters, statistics of norms and logits are float32.
    """

    classes: Count
    dims: Dims = 2
    blocks: Sequence[Count] = (3, 3, 9, 3)
    widths: Sequence[Count] = (96, 192, 384, 768)
    stochastic_depth: FractionBelowOne = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`, each S at least 32 with four stages.
          train: for stochastic depth.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest) … and 'pooled' `[B, C]`.
        """
        check_dims(x, self.dims, 2**(len(self.blocks) + 1))
        feats: dict[str, Any] = {}
        rates = iter(np.linspace(0, self.stochastic_depth, sum(self.blocks)).tolist())
        for stage, (count, width) in enumerate(zip(self.blocks, self.widths)):
            if stage:
                x = LayerNorm(dtype=self.dtype, name=f'norm{stage}')(x)
            x = Patches(width, (2 if stage else 4,) * self.dims, init, self.dtype, name=f'patches{stage}')(x)
            if not stage:
                x = LayerNorm(dtype=self.dtype, name='norm0')(x)
            for number in range(count):
                x = Block(next(rates), self.dtype, name=f'stage{stage}_{number}')(x, train)
            feats[f'stage{stage}'] = x = self.perturb(f'stage{stage}', x)
        x = x.astype(jnp.float32).mean(tuple(range(1, x.ndim - 1)))
        feats['pooled'] = x = LayerNorm(name='norm')(x)
        return nn.Dense(self.classes, kernel_init=init, name='logits')(x), feats
