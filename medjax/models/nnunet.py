"""The networks of nnU-Net version 2: a plain and a residual U-Net with features, kernels and strides by level.

- plain: `PlainConvUNet` (Isensee 2021), convolutions with instance norm and leaky ReLU, strided where the level begins.
- residual: `ResidualEncoderUNet` (Isensee 2024), with residual blocks in the encoder (He 2019: average pooling and a
  1×1 convolution on the skip connection).

nnU-Net's convolutions have a bias, which the norm that follows cancels; it is left out here. `weights.nnunet` reads
nnU-Net's weights into these networks.
"""

import math
from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models.unet import Residual
from medjax.nn.conv import Block, Conv, TransposedConv, check_dims
from medjax.options import Count, Dims

VARIANTS: dict[str, dict[str, Any]] = {'plain': dict(residual=False), 'residual': dict(residual=True)}
NORM, ACTIVATION = 'instance', 'leaky'


class Model(nn.Module):
    """A U-Net of nnU-Net.

    Attributes:
      classes: number of output channels.
      dims: number of spatial dimensions, 2 or 3.
      features: channels of each level, finest first.
      kernels: extents of the kernel along each axis, for each level.
      strides: strides along each axis at the beginning of each level; the first are 1.
      convs: convolutions, or residual blocks, of each level of the encoder.
      decoder_convs: convolutions of each level of the decoder, coarsest first: one number less than there are levels.
      residual: whether the encoder has residual blocks.
      deep_supervision: whether to return logits of all coarser levels but the two coarsest as `feats['deep']`, as
        nnU-Net weights them.
      remat: whether to recompute features in the backward pass, to save memory.
      dtype: compute dtype; parameters, norms and logits are float32.
    """

    classes: Count
    features: Sequence[Count]
    kernels: Sequence[Sequence[Count]]
    strides: Sequence[Sequence[Count]]
    convs: Sequence[Count]
    decoder_convs: Sequence[Count]
    dims: Dims = 3
    residual: bool = False
    deep_supervision: bool = True
    remat: bool = False
    dtype: str = 'float32'

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images to logits.

        Args:
          x: `[B, *S, C]` with each S a multiple of the product of the strides.
          train: ignored; all norms are instance norms.

        Returns:
          Logits `[B, *S, classes]` float32, and the features 'enc0' (finest) …, 'dec0' …; with deep supervision also
          'deep', and 'coarsest', the logits of the coarsest level of the decoder, which nnU-Net does not weight.

        Raises:
          InputError: the fields or the shape of the images are not valid.
        """
        self._check(x)
        feats: dict[str, Any] = {}
        return self._decode(self._encode(x.astype(self.dtype), feats, train), feats, train), feats

    def _encode(self, x: jax.Array, feats: dict[str, Any], train: bool) -> jax.Array:
        """Applies the encoder and adds its features."""
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        residual = nn.remat(Residual, static_argnums=(2,)) if self.remat else Residual
        kind, one = (NORM, ACTIVATION, self.dtype), (1,) * self.dims
        if self.residual:
            x = block(self.features[0], tuple(self.kernels[0]), one, *kind, name='stem')(x, train)
        make = residual if self.residual else block
        for level, count in enumerate(self.convs):
            for number in range(count):
                stride = one if number else tuple(self.strides[level])
                x = make(self.features[level], tuple(self.kernels[level]), stride, *kind,
                         name=f'enc{level}_{number}')(x, train)
            feats[f'enc{level}'] = x
        return x

    def _decode(self, x: jax.Array, feats: dict[str, Any], train: bool) -> jax.Array:
        """Applies the decoder and returns the logits of the finest level."""
        block = nn.remat(Block, static_argnums=(2,)) if self.remat else Block
        kind, one, logits = (NORM, ACTIVATION, self.dtype), (1,) * self.dims, {}
        for place, count in enumerate(self.decoder_convs):
            level = len(self.decoder_convs) - 1 - place
            x = TransposedConv(self.features[level], tuple(self.strides[level + 1]), dtype=self.dtype,
                               name=f'dec{level}_up')(x)
            x = jnp.concatenate([x, feats[f'enc{level}']], -1)
            for number in range(count):
                x = block(self.features[level], tuple(self.kernels[level]), one, *kind,
                          name=f'dec{level}_{number}')(x, train)
            feats[f'dec{level}'] = x
            if level == 0 or self.deep_supervision:
                logits[level] = Conv(self.classes, one, bias=True, init=nn.initializers.lecun_normal(),
                                     name=f'logits{level}')(x)  # in float32, for the precision of the loss
        if self.deep_supervision:
            coarsest = len(self.decoder_convs) - 1
            feats['coarsest'] = logits[coarsest]
            feats['deep'] = tuple(logits[level] for level in range(1, coarsest))
        return logits[0]

    def _check(self, x: jax.Array) -> None:
        check_dims(x, self.dims)
        levels = len(self.features)
        lengths = {'kernels': self.kernels, 'strides': self.strides, 'convs': self.convs}
        for name, given in lengths.items():
            if len(given) != levels:
                raise InputError(f'config.model.{name}: {len(given)} entries; expected {levels}, as features has')
        if levels < 2 or len(self.decoder_convs) != levels - 1:
            raise InputError(f'config.model.decoder_convs: {len(self.decoder_convs)} entries for {levels} levels; '
                             'expected 2 levels or more, and one entry less')
        if any(len(extents) != self.dims for extents in (*self.kernels, *self.strides)):
            raise InputError(f'config.model: kernels {self.kernels}, strides {self.strides}; expected {self.dims} '
                             'numbers for each level')
        for axis, (size, along) in enumerate(zip(x.shape[1:-1], zip(*self.strides))):
            if size % (factor := math.prod(along)):
                raise InputError(f'config.data.patch: {size} voxels along axis {axis}; expected a multiple of {factor}')
