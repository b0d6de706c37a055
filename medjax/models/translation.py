"""Image-to-image translation networks: generators, and discriminators of patches.

- pix2pix (Isola 2017): a U-Net generates the target; a discriminator receives image and target together and classifies
  each patch. The paper's dropout, which its generator learns to ignore, is omitted.
- cyclegan (Zhu 2017): two generators, of targets from images and of images from targets, and a discriminator
  for each of the two domains.
- regression: the generator only, for losses without a discriminator.

The papers' final tanh is omitted as well, because intensities of medical images are not bounded. Generators are U-Nets,
or residual generators (Johnson 2016): strided convolutions, residual blocks and upsampling.
"""

from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import unet
from medjax.nn.conv import Block, Conv, TransposedConv, check_dims
from medjax.options import Count, Dims, NonNegativeInt

VARIANTS: dict[str, dict[str, Any]] = {
    'pix2pix': dict(kind='pix2pix', generator='unet', base=64, levels=6, width=64),
    'cyclegan': dict(kind='cyclegan', generator='residual', base=64, blocks=9, width=64),
    'regression': dict(kind='regression', generator='unet', base=64, levels=6),
}
GENERATORS, SLOPE = ('unet', 'residual'), 0.2
DOWNSAMPLINGS = 2  # of the residual generator
# The networks of each kind, which are the first level of the parameters.
PARTS = {'pix2pix': ('generator', 'discriminator'), 'regression': ('generator',),
         'cyclegan': ('generator_target', 'generator_source', 'discriminator_target', 'discriminator_source')}


class Generator(nn.Module):
    """Translates images of one domain to another; see `Model` for its attributes."""

    form: str
    dims: int
    base: int
    levels: int
    max_channels: int
    blocks: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, channels: int, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S, channels]` float32."""
        if self.form == 'unet':
            net = unet.Model(channels, dims=self.dims, base=self.base, levels=self.levels,
                             max_channels=self.max_channels,
                             norm=self.norm, dtype=self.dtype, name='unet')
            return net(x, train=train)[0]
        kind = (self.norm, 'relu', self.dtype)
        if any(n % 2**DOWNSAMPLINGS for n in x.shape[1:-1]):
            raise InputError(f'config.data.patch: {x.shape[1:-1]}; expected multiples of {2**DOWNSAMPLINGS}, by which '
                             'the generator shrinks an image')
        seven, three, two = ((n,) * self.dims for n in (7, 3, 2))
        y = Block(self.base, seven, None, *kind, name='first')(x, train)
        for step in range(1, DOWNSAMPLINGS + 1):
            y = Block(self.base * 2**step, three, two, *kind, name=f'down{step}')(y, train)
        for number in range(self.blocks):
            y = unet.Residual(y.shape[-1], three, (1,) * self.dims, *kind, name=f'block{number}')(y, train)
        for step in reversed(range(DOWNSAMPLINGS)):
            y = TransposedConv(self.base * 2**step, two, self.dtype, name=f'up{step}')(y)
            y = Block(self.base * 2**step, three, None, *kind, name=f'decode{step}')(y, train)
        last = Conv(channels, seven, bias=True, init=nn.initializers.lecun_normal(), dtype=self.dtype, name='out')
        return last(y).astype(jnp.float32)


class Discriminator(nn.Module):
    """A patch discriminator (PatchGAN, Isola 2017): strided 4×4 convolutions, one without stride, and an output layer.

    The receptive field of an output is 16, 34, 70 or 142 voxels for a `depth` of 1, 2, 3 or 4 strided convolutions. In
    contrast to the paper, convolutions without stride preserve the extent. See `Model` for the attributes.
    """

    dims: int
    width: int
    depth: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S / 2**depth, 1]` float32."""
        check_dims(x, self.dims, 2**self.depth)
        four = (4,) * self.dims
        for step in range(self.depth + 1):
            width, stride = self.width * min(2**step, 8), (2 if step < self.depth else 1,) * self.dims
            norm = self.norm if step else 'none'
            x = Block(width, four, stride, norm, 'none', self.dtype, name=f'layer{step}')(x, train)
            x = nn.leaky_relu(x, SLOPE)
        last = Conv(1, four, bias=True, init=nn.initializers.lecun_normal(), dtype=self.dtype, name='out')
        return last(x).astype(jnp.float32)


class Model(nn.Module):
    """The generators and discriminators of a translation; `PARTS` has their names.

    Attributes:
      kind: 'pix2pix', 'cyclegan' or 'regression'.
      channels: channels of the image and of the target.
      dims: number of spatial dimensions, 2 or 3.
      generator: 'unet' or 'residual'.
      base: channels of a generator's finest level.
      levels: number of resolutions of a U-Net.
      max_channels: maximum number of channels of a U-Net.
      blocks: number of blocks of a residual generator.
      norm: norm of the generators, 'instance' or 'none'; batch statistics would mix several passes.
      width: channels of a discriminator's first layer; doubled with each layer, up to eight times as many.
      depth: number of strided layers of a discriminator, see `Discriminator`.
      discriminator_norm: norm of the discriminators, 'instance' or 'none'.
      dtype: compute dtype; parameters and outputs are float32.
    """

    kind: str
    channels: tuple[Count, Count] = (1, 1)
    dims: Dims = 2
    generator: str = 'unet'
    base: Count = 64
    levels: Count = 6
    max_channels: Count = 512
    blocks: NonNegativeInt = 9
    norm: str = 'instance'
    width: Count = 64
    depth: Count = 3
    discriminator_norm: str = 'instance'
    dtype: str = 'float32'

    def setup(self) -> None:
        """Creates the generators and discriminators."""
        for name, value, choices in (('kind', self.kind, PARTS), ('generator', self.generator, GENERATORS),
                                     ('norm', self.norm, ('instance', 'none')),
                                     ('discriminator_norm', self.discriminator_norm, ('instance', 'none'))):
            if value not in choices:
                raise InputError(f'config.model.{name}: {value!r}; expected one of: {", ".join(choices)}')
        generator = (self.generator, self.dims, self.base, self.levels, self.max_channels, self.blocks, self.norm,
                     self.dtype)
        discriminator = (self.dims, self.width, self.depth, self.discriminator_norm, self.dtype)
        self._networks = {
            part: Discriminator(*discriminator, name=part) if part.startswith('discriminator') else Generator(
                *generator, name=part) for part in PARTS[self.kind]}

    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Translates images.

        Args:
          x: `[B, *S, C]`.
          train: for norms.

        Returns:
          The targets `[B, *S, T]` float32; and for 'cyclegan' the feature 'cycle' `[B, *S, C]`, their translation back.
        """
        check_dims(x, self.dims)
        target = self.translate(x, train=train)
        feats = {'cycle': self.translate(target, train=train, back=True)} if self.kind == 'cyclegan' else {}
        if self.is_initializing() and self.kind != 'regression':
            self.discriminate(target, x, train=train)
            if self.kind == 'cyclegan':
                self.discriminate(x, target, train=train, source=True)
        return target, feats

    def translate(self, x: jax.Array, *, train: bool, back: bool = False) -> jax.Array:
        """Translates images to targets, or with `back` targets to images."""
        name = ('generator_source' if back else 'generator_target') if self.kind == 'cyclegan' else 'generator'
        return self._networks[name](x, self.channels[0 if back else 1], train)

    def discriminate(self, x: jax.Array, given: jax.Array, *, train: bool, source: bool = False) -> jax.Array:
        """The outputs of a discriminator for the patches of targets, `[B, *S', 1]`.

        Args:
          x: the targets, or with `source` images.
          given: what they were translated from, which is another input of pix2pix's discriminator.
          train: for norms.
          source: whether to use CycleGAN's discriminator of images instead of that of targets.
        """
        if self.kind == 'pix2pix':
            return self._networks['discriminator'](jnp.concatenate([given, x], -1), train)
        return self._networks['discriminator_source' if source else 'discriminator_target'](x, train)
