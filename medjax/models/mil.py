"""Multiple-instance learning by gated attention (Ilse 2018): one label for a bag of slices or patches.

A residual network makes features of each instance; the bag's are their mean, weighed by an attention that is learned.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import resnet
from medjax.nn.attention import GatedPool
from medjax.nn.dropout import Dropout

VARIANTS: dict[str, dict[str, Any]] = {encoder: resnet.VARIANTS[encoder] for encoder in ('18', '50')}


def cut(x: jax.Array, patch: Sequence[int]) -> jax.Array:
    """Cuts images `[B, *S, C]` into boxes: `[B, *grid, *patch, C]`, without what fills none at the far ends.

    Raises:
      InputError: a box is larger than the image.
    """
    dims, grid = len(patch), [n // p for n, p in zip(x.shape[1:-1], patch)]
    if not all(grid):
        raise InputError(f'config.model.patch: {tuple(patch)}; expected no more than the images, {x.shape[1:-1]}')
    x = x[(slice(None), *(slice(n * p) for n, p in zip(grid, patch)))]
    x = x.reshape(len(x), *(n for pair in zip(grid, patch) for n in pair), x.shape[-1])
    return x.transpose(0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1)


def join(x: jax.Array) -> jax.Array:
    """The inverse: boxes `[B, *grid, *patch, C]` side by side as `[B, *S, C]`."""
    dims = x.ndim // 2 - 1
    grid, patch = x.shape[1:dims + 1], x.shape[dims + 1:-1]
    x = x.transpose(0, *(axis for n in range(1, dims + 1) for axis in (n, n + dims)), 2 * dims + 1)
    return x.reshape(len(x), *(n * p for n, p in zip(grid, patch)), x.shape[-1])


class Model(resnet.Model):
    """A residual network shared by the instances of a bag, and attention over them.

    Attributes, besides those of `resnet.Model`:
      dims: spatial dimensions of an instance.
      norm: 'instance' by default: batch norm's statistics would be those of the padded instances too.
      hidden: features that the attention is computed from.
      along: the axis of x's space along which instances lie: 0 for bags, 2 for the axial slices of a volume in RAS+.
      patch: extents of the boxes that an image is cut into, each an instance; what fills none at the far end of an axis
        is left out. Empty where instances lie along an axis.
    """

    norm: str = 'instance'
    hidden: int = 128
    along: int = 0
    patch: Sequence[int] = ()

    def apart(self, x: jax.Array, patch: Sequence[int]) -> jax.Array:
        """Instances apart from an image's space: `[B, N, *S, C]`, or of patches `[B, *grid, *patch, C]`."""
        return cut(x, patch) if self.patch else jnp.moveaxis(x, self.along + 1, 1)

    def together(self, x: jax.Array) -> jax.Array:
        """The inverse: the instances where the image has them."""
        return join(x) if self.patch else jnp.moveaxis(x, 1, self.along + 1)

    def tap(self, name: str, x: jax.Array) -> jax.Array:
        """The same with the instances where the image has them."""
        return self.apart(self.perturb(name, self.together(x)), x.shape[-self.dims - 1:-1])

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Maps bags to logits.

        Args:
          x: `[B, N, *S, C]`: B bags of N instances; N stands where `along` says. Or images `[B, *S, C]` to be cut into
            patches, row by row.
          train: for dropout, and batch norm where it is used.
          mask: `[B, N]`, 1 for instances and 0 for padding, which changes no result; all are instances by default.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest) … `[B, N, *S', C']`, or the patches' side by
          side, 'pooled' `[B, C]`, the bag's, and 'attention' `[B, N]` float32, which sums to 1, or to 0 for a bag
          without instances.

        Raises:
          InputError: x has not one axis more than an image, or with patches as many; its instances are so small that
            instance norm would leave nothing of them; or a mask is given in training with batch norm.
        """
        if len(self.patch) not in (0, self.dims) or x.ndim != self.dims + (2 if self.patch else 3):
            raise InputError(f'config.model.dims: {self.dims}, config.model.patch: {self.patch}; expected '
                             f'{x.ndim - 3} for bags of shape {x.shape}, or {x.ndim - 2} and as many extents')
        if mask is not None and train and self.norm == 'batch':
            raise InputError("config.model.norm: 'batch'; expected 'instance' or 'none' for bags with padding")
        x = self.apart(x, self.patch)
        lead = x.shape[:-self.dims - 1]
        real = jnp.ones((len(x), math.prod(lead[1:])), bool) if mask is None else mask > 0
        # Zeros in place of the padding, whatever it holds: no NaN of it may come back in a gradient.
        x = jnp.where(real.reshape(*lead, *[1] * (self.dims + 1)), x, 0)
        feats = self.encode(x, train)
        coarsest = feats[f'stage{len(self.blocks) - 1}'].shape[-self.dims - 1:-1]
        if self.norm == 'instance' and math.prod(coarsest) == 1:
            raise InputError(f'config.data.size: {x.shape[len(lead):-1]}; expected larger instances: the last stage '
                             'has one voxel, which instance norm makes 0')
        each = feats['pooled'].reshape(*real.shape, -1)
        for name in feats:
            if name != 'pooled':  # places where the image has them, for maps
                feats[name] = self.together(feats[name])
        x, feats['attention'] = GatedPool(self.hidden, name='pool')(each, real)
        feats['pooled'] = x
        return nn.Dense(self.classes, name='logits')(Dropout(self.dropout)(x, train)), feats
