"""Registration networks that map a pair of images to a spatial transform.

VoxelMorph (Balakrishnan 2019; diffeomorphic, Dalca 2019): a U-Net receives both images as channels and predicts a
stationary velocity field, which is integrated to a displacement field. An optional affine stage (de Vos 2019) comes
first: an encoder predicts the logarithm of an affine map, and the U-Net receives the affinely warped moving image.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import unet
from medjax.nn.conv import Block, check_dims
from medjax.ops import deformation
from medjax.options import Count, Dims

VARIANTS: dict[str, dict[str, Any]] = {
    'voxelmorph': dict(stages=('affine', 'velocity')), 'velocity': dict(stages=('velocity',)),
    'affine': dict(stages=('affine',)), 'instance': dict(stages=())}
STAGES = ('affine', 'velocity')
SMALL_INIT = nn.initializers.normal(1e-3)  # of output layers, so that the initial maps are close to the identity
AFFINE_SCALE = 0.1  # of the affine map's logarithm; larger initial steps would move the object out of the image


class Affine(nn.Module):
    """Predicts the logarithm of an affine map from two images, by strided convolutions and a dense layer.

    Attributes:
      base: channels of the first convolution; doubled with each, up to `max_channels`.
      levels: number of convolutions with stride 2.
      max_channels: maximum number of channels.
      norm: see `unet.Model`.
      dtype: compute dtype; parameters are float32.
    """

    base: int
    levels: int
    max_channels: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, 2C]` to generators `[B, D, D + 1]` float32 for `deformation.affine_matrix`."""
        dims = x.ndim - 2
        for level in range(self.levels):
            width = min(self.base * 2**level, self.max_channels)
            x = Block(width, (3,) * dims, (2,) * dims, self.norm, 'leaky', self.dtype, name=f'block{level}')(x, train)
        out = nn.Dense(dims * (dims + 1), kernel_init=SMALL_INIT, name='generator')(
            x.reshape(x.shape[0], -1).astype(jnp.float32))
        return AFFINE_SCALE * out.astype(jnp.float32).reshape(-1, dims, dims + 1)


class Model(nn.Module):
    """A registration network.

    Attributes:
      dims: number of spatial dimensions, 2 or 3.
      stages: 'affine', 'velocity', both in this order, or none. Without stages the network learns one affine map for
        all pairs, which `tasks/registration/task.py` refines for each pair.
      base: channels of the finest level; see `unet.Model`, also for levels, max_channels and norm.
      levels: …
      max_channels: …
      norm: …
      velocity_downsampling: downsampling factor of the velocity field relative to the images.
      dtype: compute dtype; parameters and velocities are float32.
    """

    dims: Dims = 2
    stages: Sequence[str] = STAGES
    base: Count = 16
    levels: Count = 4
    max_channels: Count = 128
    norm: str = 'none'
    velocity_downsampling: Count = 2
    dtype: str = 'float32'

    inputs = ('fixed', 'moving')  # entries of a batch that are passed to the network

    @nn.compact
    def __call__(self, fixed: jax.Array, moving: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps pairs of images to velocity fields.

        Args:
          fixed: `[B, *S, C]`, each S a multiple of 2^(levels - 1) and of `velocity_downsampling`.
          moving: `[B, *S, C]`.
          train: for batch norm.

        Returns:
          Velocity `[B, D, *S / velocity_downsampling]` float32, in voxels of its own grid, 0 without that stage; and
          the features 'affine' `[B, D, D + 1]`, with that stage or without stages, and those of the U-Net.

        Raises:
          InputError: the stages are unknown, or `velocity_downsampling` does not divide the shape of the images.
        """
        check_dims(fixed, self.dims, 4)
        shape = fixed.shape[1:-1]
        if tuple(self.stages) not in ((), *((s,) for s in STAGES), STAGES) or self.velocity_downsampling < 1 or any(
                n % self.velocity_downsampling for n in shape):
            raise InputError(f'config.model: stages={tuple(self.stages)}, '
                             f'velocity_downsampling={self.velocity_downsampling}; expected some of '
                             f'{", ".join(STAGES)} in this order, and a divisor of config.data.size, {shape}')
        feats: dict[str, Any] = {}
        small = tuple(n // self.velocity_downsampling for n in shape)
        if 'affine' in self.stages:
            feats['affine'] = Affine(self.base, self.levels, self.max_channels, self.norm, self.dtype, name='affine')(
                jnp.concatenate([fixed, moving], -1), train)
            moving = jax.vmap(_warp_affine)(moving, feats['affine'])
        elif not self.stages:
            common = self.param('common', nn.initializers.zeros, (self.dims, self.dims + 1), jnp.float32)
            feats['affine'] = jnp.broadcast_to(common, (fixed.shape[0], *common.shape))
        if 'velocity' not in self.stages:
            return jnp.zeros((fixed.shape[0], self.dims, *small)), feats
        net = unet.Model(self.base, self.dims, self.base, self.levels, self.max_channels, self.norm, dtype=self.dtype,
                         name='unet')
        out, unet_feats = net(jnp.concatenate([fixed, moving], -1), train=train)
        # Average pooling: the velocity field is smooth, and a coarser grid is cheaper to integrate.
        factors = (self.velocity_downsampling,) * self.dims
        out = nn.avg_pool(out, factors, factors)
        out = nn.Dense(self.dims, kernel_init=SMALL_INIT, name='velocity')(nn.leaky_relu(out))
        return jnp.moveaxis(out.astype(jnp.float32), -1, 1), {**feats, **unet_feats}


def _warp_affine(image: jax.Array, generator: jax.Array) -> jax.Array:
    """Warps an image `[*S, C]` by the affine map of a generator `[D, D + 1]`."""
    grid = deformation.identity_grid(image.shape[:-1])
    matrix = deformation.affine_matrix(generator, image.shape[:-1])
    return deformation.warp(image, deformation.transform_points(grid, matrix) - grid)
