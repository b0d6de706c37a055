"""VGG-16 for classification, in 2D and 3D (Simonyan 2015)."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import Block, check_dims, he_normal
from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout
from medjax.nn.pool import adaptive_pool
from medjax.ops.pool import max_pool
from medjax.options import Count, Dims, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {'16': {}}
DEPTHS = (2, 2, 3, 3, 3)  # number of convolutions before each pooling
BINS = 7  # extent of the dense layers' input along each axis: 224 pixels after five poolings


class Model(nn.Module):
    """A VGG-16.

    Attributes:
      classes: number of outputs.
      dims: number of spatial dimensions, 2 or 3.
      base: channels of the first stage; doubled with each stage, up to eight times as many.
      dense: features of the two dense layers.
      dropout: dropout rate after each of them.
      norm: 'none' as in the paper, 'batch' or 'instance'.
      dtype: compute dtype; parameters and logits are float32.
    """

    classes: Count
    dims: Dims = 2
    base: Count = 64
    dense: Count = 4096
    dropout: FractionBelowOne = 0.5
    norm: str = 'none'
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`, each S at least 32. The features after five poolings are averaged over 7 bins along each
            axis, as in torchvision; this has no effect for 224 pixels.
          train: for batch norm and dropout.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest; before pooling) … 'stage4' and 'pooled', the
          output of the last dense layer `[B, dense]`.
        """
        check_dims(x, self.dims, 2**len(DEPTHS))
        feats, two, three = {}, (2,) * self.dims, (3,) * self.dims
        for stage, depth in enumerate(DEPTHS):
            for layer in range(depth):
                x = Block(self.base * min(2**stage, 8), three, None, self.norm, 'relu', self.dtype,
                          name=f'stage{stage}_{layer}')(x, train)
            feats[f'stage{stage}'] = x = self.perturb(f'stage{stage}', x)
            x = max_pool(x, two)
        x = adaptive_pool(x, BINS, jnp.mean)
        x = x.reshape(x.shape[0], -1)
        for layer in range(2):
            x = nn.relu(Dense(self.dense, he_normal, self.dtype, name=f'dense{layer}')(x))
            feats['pooled'] = x.astype(jnp.float32)
            x = Dropout(self.dropout)(x, train)
        return nn.Dense(self.classes, name='logits')(x.astype(jnp.float32)), feats
