"""A network for records: dense layers, for DeepSurv (Katzman 2018), DeepHit (Lee 2018) and their kin."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Norm
from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout

VARIANTS: dict[str, dict[str, Any]] = {
    'small': dict(features=(32, 32)),
    'linear': dict(features=()),  # Cox's own model, and other regressions
}
ACTIVATIONS = {'relu': nn.relu, 'selu': nn.selu, 'gelu': nn.gelu, 'tanh': nn.tanh}


class Model(nn.Module):
    """Dense layers, each with a norm, an activation and dropout.

    Attributes:
      outputs: numbers that come out.
      features: of each layer.
      activation: 'relu', 'selu', 'gelu' or 'tanh'.
      norm: 'batch' or 'none'.
      dropout: share of each layer's features that is zeroed.
      bias: whether what comes out has one; Cox's model cannot know it.
      dtype: compute type; weights and what comes out are float32.
    """

    outputs: int = 1
    features: Sequence[int] = (32, 32)
    activation: str = 'relu'
    norm: str = 'none'
    dropout: float = 0.0
    bias: bool = True
    dtype: str = 'float32'

    inputs = ('covariates',)  # what of a batch it sees

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps covariates `[B, F]` to `[B, outputs]` float32, and the last layer's features as 'pooled'."""
        if self.activation not in ACTIVATIONS:
            raise InputError(f'config.model.activation: {self.activation!r}; expected one of: {", ".join(ACTIVATIONS)}')
        for number, features in enumerate(self.features):
            x = Dense(features, nn.initializers.he_normal(), self.dtype, name=f'dense{number}')(x)
            x = Norm(self.norm, dtype=self.dtype, name=f'norm{number}')(x[:, None], train)[:, 0]  # as of one voxel
            x = Dropout(self.dropout)(ACTIVATIONS[self.activation](x), train)
        x = x.astype(jnp.float32)
        return nn.Dense(self.outputs, use_bias=self.bias, name='out')(x), {'pooled': x}
