"""Multiple-instance learning with gated attention (Ilse 2018): one label for a bag of slices or patches.

A residual network computes features of each instance; the features of the bag are their attention-weighted mean.
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
from medjax.options import Count, NonNegativeInt

VARIANTS: dict[str, dict[str, Any]] = {encoder: resnet.VARIANTS[encoder] for encoder in ('18', '50')}


def split_patches(x: jax.Array, patch: Sequence[int]) -> jax.Array:
    """Splits images `[B, *S, C]` into patches `[B, *grid, *patch, C]`; incomplete patches at the end are dropped.

    Raises:
      InputError: a patch is larger than the image.
    """
    dims, grid = len(patch), [n // p for n, p in zip(x.shape[1:-1], patch)]
    if not all(grid):
        raise InputError(f'config.model.patch: {tuple(patch)}; expected no more than the images, {x.shape[1:-1]}')
    x = x[(slice(None), *(slice(n * p) for n, p in zip(grid, patch)))]
    x = x.reshape(x.shape[0], *(n for pair in zip(grid, patch) for n in pair), x.shape[-1])
    return x.transpose(0, *range(1, 2 * dims, 2), *range(2, 2 * dims + 1, 2), 2 * dims + 1)


def join_patches(x: jax.Array) -> jax.Array:
    """Joins patches `[B, *grid, *patch, C]` to images `[B, *S, C]`: the inverse of `split_patches`."""
    dims = x.ndim // 2 - 1
    grid, patch = x.shape[1:dims + 1], x.shape[dims + 1:-1]
    x = x.transpose(0, *(axis for n in range(1, dims + 1) for axis in (n, n + dims)), 2 * dims + 1)
    return x.reshape(x.shape[0], *(n * p for n, p in zip(grid, patch)), x.shape[-1])


class Model(resnet.Model):
    """A residual network shared by the instances of a bag, and attention pooling over them.

    Attributes (besides those of `resnet.Model`):
      dims: number of spatial dimensions of an instance.
      norm: 'instance' by default, because the statistics of batch norm would include padded instances.
      hidden: hidden features of the attention.
      instance_axis: spatial axis of the input along which the instances are: 0 for bags, 2 for axial slices of a volume
        in RAS+ orientation.
      patch: extents of patches that an image is split into, each an instance; incomplete patches are dropped. Empty if
        the instances are along an axis.
    """

    norm: str = 'instance'
    hidden: Count = 128
    instance_axis: NonNegativeInt = 0
    patch: Sequence[Count] = ()

    def split_instances(self, x: jax.Array, patch: Sequence[int]) -> jax.Array:
        """Moves the instances to the front: `[B, N, *S, C]`, or for patches `[B, *grid, *patch, C]`."""
        return split_patches(x, patch) if self.patch else jnp.moveaxis(x, self.instance_axis + 1, 1)

    def join_instances(self, x: jax.Array) -> jax.Array:
        """Moves the instances to their positions in the image: the inverse of `split_instances`."""
        return join_patches(x) if self.patch else jnp.moveaxis(x, 1, self.instance_axis + 1)

    def perturb_feature(self, name: str, x: jax.Array) -> jax.Array:
        """Adds a perturbation, in the layout of the image, to a feature; see `resnet.Model.perturb_feature`."""
        return self.split_instances(self.perturb(name, self.join_instances(x)), x.shape[-self.dims - 1:-1])

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, mask: jax.Array | None = None) -> tuple[jax.Array, dict[str, Any]]:
        """Maps bags to logits.

        Args:
          x: `[B, N, *S, C]`: B bags of N instances, with N at the position given by `instance_axis`; or images `[B, *S,
            C]` to be split into patches, in row-major order.
          train: for dropout, and batch norm if it is used.
          mask: `[B, N]`, 1 for instances and 0 for padding, which does not affect the result; 1 by default.

        Returns:
          Logits `[B, classes]` float32, and the features 'stage0' (finest) … `[B, N, *S', C']` (joined if there are
          patches), 'pooled' `[B, C]` of the bag, and 'attention' `[B, N]` float32, which sums to 1, or to 0 for a bag
          without instances.

        Raises:
          InputError: the shape of `x` does not match `dims` and `patch`; the instances are so small that instance norm
            removes all information; or a mask is given in training with batch norm.
        """
        if len(self.patch) not in (0, self.dims) or x.ndim != self.dims + (2 if self.patch else 3):
            raise InputError(f'config.model.dims: {self.dims}, config.model.patch: {self.patch}; expected '
                             f'{x.ndim - 3} for bags of shape {x.shape}, or {x.ndim - 2} and as many extents')
        if mask is not None and train and self.norm == 'batch':
            raise InputError("config.model.norm: 'batch'; expected 'instance' or 'none' for bags with padding")
        x = self.split_instances(x, self.patch)
        lead = x.shape[:-self.dims - 1]
        real = jnp.ones((x.shape[0], math.prod(lead[1:])), bool) if mask is None else mask > 0
        # Set padding to zero, so that NaN in it does not reach gradients.
        x = jnp.where(real.reshape(*lead, *[1] * (self.dims + 1)), x, 0)
        feats = self.encode(x, train)
        coarsest = feats[f'stage{len(self.blocks) - 1}'].shape[-self.dims - 1:-1]
        if self.norm == 'instance' and math.prod(coarsest) == 1:
            raise InputError(f'config.data.size: {x.shape[len(lead):-1]}; expected larger instances: the last stage '
                             'has one voxel, which instance norm makes 0')
        instances = feats['pooled'].reshape(*real.shape, -1)
        for name in feats:
            if name != 'pooled':
                feats[name] = self.join_instances(feats[name])
        x, feats['attention'] = GatedPool(self.hidden, name='pool')(instances, real)
        feats['pooled'] = x
        return nn.Dense(self.classes, name='logits')(Dropout(self.dropout)(x, train)), feats
