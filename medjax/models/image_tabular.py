"""Fusion of an image and tabular covariates: residual network features concatenated with covariates."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models import resnet
from medjax.nn.conv import check_dims
from medjax.nn.dropout import Dropout
from medjax.options import Count

VARIANTS: dict[str, dict[str, Any]] = {encoder: resnet.VARIANTS[encoder] for encoder in ('18', '50')}


class Model(resnet.Model):
    """A residual network for the image, and dense layers on its features and the covariates.

    Attributes (besides those of `resnet.Model`, of which `classes` has no effect):
      outputs: number of outputs.
      hidden: number of image features that are concatenated with the covariates.
      linear: whether to add a linear function of the covariates to the outputs, as in Cox's model.
    """

    classes: int = 1
    outputs: Count = 1
    hidden: Count = 32
    linear: bool = True

    inputs = ('image', 'covariates')  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, x: jax.Array, covariates: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images and covariates to outputs.

        Args:
          x: `[B, *S, C]`.
          covariates: `[B, F]`.
          train: for batch norm and dropout.

        Returns:
          `[B, outputs]` float32, and the features 'stage0' (finest) … and 'pooled' `[B, C]` of the image.
        """
        check_dims(x, self.dims)
        feats = self.encode(x, train)
        image = nn.relu(nn.Dense(self.hidden, name='image')(Dropout(self.dropout)(feats['pooled'], train)))
        both = nn.relu(nn.Dense(self.hidden, name='both')(jnp.concatenate([image, covariates], -1)))
        out = nn.Dense(self.outputs, name='out')(Dropout(self.dropout)(both, train))
        if self.linear:
            zeros = nn.initializers.zeros
            out = out + nn.Dense(self.outputs, use_bias=False, kernel_init=zeros, name='linear')(covariates)
        return out, feats
