"""An image and a record in one network: a residual network's features of the image beside the covariates."""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.models import resnet
from medjax.nn.conv import check_dims
from medjax.nn.dropout import Dropout

VARIANTS: dict[str, dict[str, Any]] = {encoder: resnet.VARIANTS[encoder] for encoder in ('18', '50')}


class Model(resnet.Model):
    """A residual network and dense layers that see the covariates too.

    Attributes, besides those of `resnet.Model`, whose `classes` say nothing here:
      outputs: numbers that come out.
      hidden: features that the image's are brought to before the covariates join them.
      linear: the covariates go straight to what comes out as well, as in Cox's model.
    """

    classes: int = 1
    outputs: int = 1
    hidden: int = 32
    linear: bool = True

    inputs = ('image', 'covariates')  # what of a batch it sees

    @nn.compact
    def __call__(self, x: jax.Array, covariates: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images and covariates to numbers.

        Args:
          x: `[B, *S, C]`.
          covariates: `[B, F]`.
          train: for batch norm and dropout.

        Returns:
          `[B, outputs]` float32, and the features 'stage0' (finest) … and 'pooled' `[B, C]`, the image's.
        """
        check_dims(x, self.dims)
        feats = self.encode(x, train)
        image = nn.relu(nn.Dense(self.hidden, name='image')(Dropout(self.dropout)(feats['pooled'], train)))
        both = nn.relu(nn.Dense(self.hidden, name='both')(jnp.concatenate([image, covariates], -1)))
        out = nn.Dense(self.outputs, name='out')(Dropout(self.dropout)(both, train))
        if self.linear:
            flat = nn.initializers.zeros
            out = out + nn.Dense(self.outputs, use_bias=False, kernel_init=flat, name='linear')(covariates)
        return out, feats
