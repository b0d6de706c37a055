"""A network that looks at two images and says how the one has to move to be like the other.

VoxelMorph (Balakrishnan 2019; its diffeomorphic form, Dalca 2019): a U-Net sees both as channels and gives a stationary
velocity, whose flow is the map. Before it there may be an affine stage (de Vos 2019): an encoder gives the logarithm of
an affine map, and the U-Net sees the moving image as that map brings it.
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

VARIANTS: dict[str, dict[str, Any]] = {
    'voxelmorph': dict(stages=('affine', 'velocity')), 'velocity': dict(stages=('velocity',)),
    'affine': dict(stages=('affine',)), 'instance': dict(stages=())}
STAGES = ('affine', 'velocity')
LITTLE = nn.initializers.normal(1e-3)  # of the last layers: the first maps are nearly the identity
SLOW = 0.1  # on the affine map's logarithm, or the first steps would throw the brain out of the image


class Affine(nn.Module):
    """The logarithm of an affine map from two images: strided convolutions, and what is left of space as numbers.

    Attributes:
      base: channels of the first convolution; they double with each, up to `cap`.
      levels: convolutions with stride 2.
      cap: most channels.
      norm: see `unet.Model`.
      dtype: compute type; weights are float32.
    """

    base: int
    levels: int
    cap: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, 2C]` to generators `[B, D, D + 1]` float32, as `flow.affine` takes them."""
        dims = x.ndim - 2
        for level in range(self.levels):
            width = min(self.base * 2**level, self.cap)
            x = Block(width, (3,) * dims, (2,) * dims, self.norm, 'leaky', self.dtype, name=f'block{level}')(x, train)
        out = nn.Dense(dims * (dims + 1), kernel_init=LITTLE, name='generator')(x.reshape(len(x), -1))
        return SLOW * out.astype(jnp.float32).reshape(-1, dims, dims + 1)


class Model(nn.Module):
    """A registration network.

    Attributes:
      dims: spatial dimensions, 2 or 3.
      stages: 'affine', 'velocity', both in this order, or none: then one affine map is learned that all pairs have in
        common, and the rest is what `tasks/registration/task.py` refines pair by pair.
      base: channels of the finest level; see `unet.Model`, as for levels, cap and norm.
      levels: …
      cap: …
      norm: …
      shrink: how much coarser than the images the velocity is.
      dtype: compute type; weights and velocities are float32.
    """

    dims: int = 2
    stages: Sequence[str] = STAGES
    base: int = 16
    levels: int = 4
    cap: int = 128
    norm: str = 'none'
    shrink: int = 2
    dtype: str = 'float32'

    inputs = ('fixed', 'moving')  # what of a batch it sees

    @nn.compact
    def __call__(self, fixed: jax.Array, moving: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps pairs to velocities.

        Args:
          fixed: `[B, *S, C]`, each S a multiple of 2^(levels - 1), and of `shrink`.
          moving: the same.
          train: for batch norm.

        Returns:
          Velocity `[B, D, *S / shrink]` float32, in voxels of its own grid, 0 without that stage; and the features
          'affine' `[B, D, D + 1]`, where there is that stage or none, and the U-Net's.
        """
        check_dims(fixed, self.dims, 4)
        shape = fixed.shape[1:-1]
        if tuple(self.stages) not in ((), *((s,) for s in STAGES), STAGES) or self.shrink < 1 or any(
                n % self.shrink for n in shape):
            raise InputError(f'config.model: stages={tuple(self.stages)}, shrink={self.shrink}; expected some of '
                             f'{", ".join(STAGES)} in this order, and a divisor of config.data.size, {shape}')
        feats: dict[str, Any] = {}
        small = tuple(n // self.shrink for n in shape)
        if 'affine' in self.stages:
            feats['affine'] = Affine(self.base, self.levels, self.cap, self.norm, self.dtype, name='affine')(
                jnp.concatenate([fixed, moving], -1), train)
            moving = jax.vmap(lambda image, generator: deformation.warped(image, deformation.moved_on(
                deformation.grid(shape), deformation.affine(generator, shape)) - deformation.grid(shape)))(moving, feats['affine'])
        elif not self.stages:
            common = self.param('common', nn.initializers.zeros, (self.dims, self.dims + 1), jnp.float32)
            feats['affine'] = jnp.broadcast_to(common, (len(fixed), *common.shape))
        if 'velocity' not in self.stages:
            return jnp.zeros((len(fixed), self.dims, *small)), feats
        net = unet.Model(self.base, self.dims, self.base, self.levels, self.cap, self.norm, dtype=self.dtype,
                         name='unet')
        out, more = net(jnp.concatenate([fixed, moving], -1), train=train)
        # Means over boxes of what the U-Net says: the velocity is smooth, and cheaper to integrate.
        out = nn.avg_pool(out, (self.shrink,) * self.dims, (self.shrink,) * self.dims)
        out = nn.Dense(self.dims, kernel_init=LITTLE, name='velocity')(nn.leaky_relu(out))
        return jnp.moveaxis(out.astype(jnp.float32), -1, 1), {**feats, **more}
