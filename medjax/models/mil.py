"""Multiple-instance learning by gated attention (Ilse 2018): one label for a bag of slices or patches.

A residual network makes features of each instance; the bag's are their mean, weighed by an attention that is learned.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import resnet
from medjax.nn.dropout import Dropout

VARIANTS: dict[str, dict[str, Any]] = {encoder: resnet.VARIANTS[encoder] for encoder in ('18', '50')}


class Model(resnet.Model):
    """A residual network shared by the instances of a bag, and attention over them.

    Attributes, besides those of `resnet.Model`:
      dims: spatial dimensions of an instance.
      norm: 'instance' by default: batch norm's statistics would be those of the padded instances too.
      hidden: features that the attention is computed from.
      along: the axis of x's space along which instances lie: 0 for bags, 2 for the axial slices of a volume in RAS+.
    """

    norm: str = 'instance'
    hidden: int = 128
    along: int = 0

    def tap(self, name: str, x: jax.Array) -> jax.Array:
        """The same with the instances where the image has them."""
        moved = self.perturb(name, jnp.moveaxis(x, 1, self.along + 1))
        return jnp.moveaxis(moved, self.along + 1, 1)

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Maps bags to logits.

        Args:
          x: `[B, N, *S, C]`: B bags of N instances; N stands where `along` says.
          train: for dropout, and batch norm where it is used.
          mask: `[B, N]`, 1 for instances and 0 for padding, which changes no result; all are instances by default.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest) … `[B, N, *S', C']`, 'pooled' `[B, C]`, the
          bag's, and 'attention' `[B, N]` float32, which sums to 1, or to 0 for a bag without instances.

        Raises:
          InputError: x has not one axis more than an image; its instances are so small that instance norm would leave
            nothing of them; or a mask is given in training with batch norm.
        """
        if x.ndim != self.dims + 3:
            raise InputError(f'config.model.dims: {self.dims}; expected {x.ndim - 3} for bags of shape {x.shape}')
        if mask is not None and train and self.norm == 'batch':
            raise InputError("config.model.norm: 'batch'; expected 'instance' or 'none' for bags with padding")
        x = jnp.moveaxis(x, self.along + 1, 1)
        real = jnp.ones(x.shape[:2], bool) if mask is None else mask > 0
        # Zeros in place of the padding, whatever it holds: no NaN of it may come back in a gradient.
        x = jnp.where(real.reshape(*real.shape, *[1] * (self.dims + 1)), x, 0)
        feats = self.encode(x, train)
        if self.norm == 'instance' and math.prod(feats[f'stage{len(self.blocks) - 1}'].shape[2:-1]) == 1:
            raise InputError(f'config.data.size: {x.shape[2:-1]}; expected larger instances: the last stage has one '
                             'voxel, which instance norm makes 0')
        each = feats['pooled']
        for name in feats:
            if name != 'pooled':  # places where the image has them, for maps
                feats[name] = jnp.moveaxis(feats[name], 1, self.along + 1)
        gate = nn.tanh(nn.Dense(self.hidden, name='content')(each)) * nn.sigmoid(
            nn.Dense(self.hidden, name='gate')(each))
        score = nn.Dense(1, use_bias=False, name='score')(gate)[..., 0]
        weights = jnp.where(real, jax.nn.softmax(jnp.where(real, score, jnp.finfo(score.dtype).min)), 0)
        feats['attention'] = weights
        feats['pooled'] = x = jnp.einsum('bn,bnc->bc', weights, each)
        return nn.Dense(self.classes, name='logits')(Dropout(self.dropout)(x, train)), feats
