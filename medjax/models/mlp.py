"""Multilayer perceptrons for tabular data, as used by DeepSurv (Katzman 2018) and DeepHit (Lee 2018)."""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Norm
from medjax.nn.dense import Dense
from medjax.nn.dropout import Dropout
from medjax.options import Count, FractionBelowOne

VARIANTS: dict[str, dict[str, Any]] = {
    'small': dict(features=(32, 32)),
    'linear': dict(features=()),  # linear predictors, such as Cox's model
}
ACTIVATIONS = {'relu': nn.relu, 'selu': nn.selu, 'gelu': nn.gelu, 'tanh': nn.tanh}


class Model(nn.Module):
    """A multilayer perceptron; each hidden layer has a norm, an activation and dropout.

    Attributes:
      outputs: number of outputs.
      features: number of features of each hidden layer.
      activation: 'relu', 'selu', 'gelu' or 'tanh'.
      norm: 'batch' or 'none'.
      dropout: dropout rate of each hidden layer.
      bias: whether the output layer has a bias; it is not identifiable in Cox's model.
      dtype: compute dtype; parameters and outputs are float32.
    """

    outputs: Count = 1
    features: Sequence[Count] = (32, 32)
    activation: str = 'relu'
    norm: str = 'none'
    dropout: FractionBelowOne = 0.0
    bias: bool = True
    dtype: str = 'float32'

    inputs = ('covariates',)  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Maps covariates `[B, F]` to `[B, outputs]` float32; returns the last hidden layer as 'pooled'."""
        if self.activation not in ACTIVATIONS:
            raise InputError(f'config.model.activation: {self.activation!r}; expected one of: {", ".join(ACTIVATIONS)}')
        for number, features in enumerate(self.features):
            x = Dense(features, nn.initializers.he_normal(), self.dtype, name=f'dense{number}')(x)
            # The norm expects a spatial axis.
            x = Norm(self.norm, dtype=self.dtype, name=f'norm{number}')(x[:, None], train)[:, 0]
            x = Dropout(self.dropout)(ACTIVATIONS[self.activation](x), train)
        x = x.astype(jnp.float32)
        return nn.Dense(self.outputs, use_bias=self.bias, name='out')(x), {'pooled': x}
