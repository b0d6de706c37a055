"""MeshNet (Fedorov 2017): a small segmentation network of dilated convolutions at full resolution.

Its receptive field is 93 voxels along each axis with a few thousand weights, so that a whole brain of 256³ voxels fits
into the memory of a laptop. The dilations follow Yu and Koltun (2016): 1 to 16 and back.
"""

from collections.abc import Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.nn.conv import Conv, Norm, check_dims
from medjax.nn.dropout import Dropout
from medjax.options import Count, Dims, Probability

VARIANTS: dict[str, dict[str, Any]] = {
    'gwm': dict(base=5),  # grey and white matter; brainchop's model5_gw_ae
    'subcortical': dict(base=21, activation='elu'),  # brainchop's model18cls
}
ACTIVATIONS = {'relu': nn.relu, 'elu': nn.elu}


class Model(nn.Module):
    """A MeshNet.

    Attributes:
      classes: number of output channels.
      dims: number of spatial dimensions, 2 or 3.
      base: channels of each hidden layer.
      dilations: dilation of each hidden layer.
      norm: 'none' as in the published weights, 'batch' as in the paper, or 'instance'.
      activation: 'relu' or 'elu'.
      dropout: dropout rate of the hidden layers.
      dtype: compute dtype; parameters and logits are float32.
    """

    classes: Count
    dims: Dims = 3
    base: Count = 21
    dilations: Sequence[Count] = (1, 2, 4, 8, 16, 8, 4, 2, 1)
    norm: Literal['none', 'batch', 'instance'] = 'none'
    activation: Literal['relu', 'elu'] = 'relu'
    dropout: Probability = 0.0
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]`.
          train: for dropout and batch norm.

        Returns:
          Logits `[B, *S, classes]` float32, and the features 'last' of the last hidden layer.

        Raises:
          InputError: the images have another number of dimensions.
        """
        check_dims(x, self.dims)
        kernel, x = (3,) * self.dims, x.astype(self.dtype)
        for number, dilation in enumerate(self.dilations):
            x = Conv(self.base, kernel, bias=self.norm == 'none', dilation=(dilation,) * self.dims, dtype=self.dtype,
                     name=f'layer{number}')(x)
            x = ACTIVATIONS[self.activation](Norm(self.norm, 'none', self.dtype, name=f'norm{number}')(x, train))
            x = Dropout(self.dropout)(x, train)
        logits = Conv(self.classes, (1,) * self.dims, bias=True, dtype=self.dtype, name='logits')(x)
        return logits.astype(jnp.float32), {'last': x}
