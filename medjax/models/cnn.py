"""Small convolutional networks of tutorials and early papers, reproduced layer by layer.

Unpadded 3×3 convolutions with bias and ReLU, each followed by 2×2 max pooling that drops an odd row, then a dense layer
and the logits: Keras' defaults, including the initialisation (Glorot 2010).
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import Conv, check_dims
from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout
from medjax.ops.pool import max_pool
from medjax.options import Count, Dims, FractionBelowOne, NonNegativeInt

# Each is for one image size, which determines its number of parameters. With one class the task applies a sigmoid.
VARIANTS: dict[str, dict[str, Any]] = {
    'lung': dict(features=(32, 64, 128), dense=512, classes=1),  # 224×224×3
    'digits': dict(features=(32,), dense=128, classes=10),  # 28×28×1
    'folder': dict(features=(32, 64, 128, 128), dense=512),  # 150×150×3
    'cancer': dict(features=(32, 64, 128), dense=128, classes=1),  # 128×128×3
    'logistic': dict(features=(), dense=0),  # logistic regression on the pixels, as a baseline
}


class Model(nn.Module):
    """A small CNN.

    Attributes:
      classes: number of outputs.
      dims: number of spatial dimensions, 2 or 3.
      features: channels of each convolution.
      dense: features of the dense layer; 0 for none. Without convolutions and dense layer it is a logistic regression.
      dropout: dropout rate of the dense layer's features before the logits.
      dtype: compute dtype; parameters and logits are float32.
    """

    classes: Count
    dims: Dims = 2
    features: Sequence[Count] = (32, 64, 128)
    dense: NonNegativeInt = 512
    dropout: FractionBelowOne = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`, of the size that the network was initialised with.
          train: for dropout.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest; before pooling) … and 'pooled', the dense
          layer's output `[B, dense]`.
        """
        min_size, glorot = 1, nn.initializers.glorot_uniform()
        for _ in self.features:
            min_size = 2 * min_size + 2
        check_dims(x, self.dims, min_size)
        feats: dict[str, Any] = {}
        two, three = (2,) * self.dims, (3,) * self.dims
        for number, features in enumerate(self.features):
            x = Conv(features, three, bias=True, init=glorot, pad=False, dtype=self.dtype, name=f'conv{number}')(x)
            feats[f'stage{number}'] = x = self.perturb(f'stage{number}', nn.relu(x))
            x = max_pool(x, two)
        x = x.reshape(x.shape[0], -1)
        if self.dense:
            x = nn.relu(Dense(self.dense, glorot, self.dtype, name='dense')(x))
        feats['pooled'] = x = x.astype(jnp.float32)
        return nn.Dense(self.classes, kernel_init=glorot, name='logits')(Dropout(self.dropout)(x, train)), feats
