"""Networks that make one contrast of another: a generator, and critics that judge patches.

pix2pix: Isola 2017: a U-Net makes the target; a critic sees image and target together and judges each patch. The
  paper's dropout, which its generator learns to pass over, is left out.
cyclegan: Zhu 2017: two generators, forth and back, and a critic of each contrast's images by themselves.
regression: the generator alone, for losses without an opponent.
The papers' tanh is left out as well: a contrast's intensities have no top. Generators are U-Nets, or of Johnson's form
(2016): strided convolutions, residual blocks, and up again.
"""

from collections.abc import Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.models import unet
from medjax.nn.conv import Block, Conv, Up, check_dims

VARIANTS: dict[str, dict[str, Any]] = {
    'pix2pix': dict(kind='pix2pix', generator='unet', base=64, levels=6, width=64),
    'cyclegan': dict(kind='cyclegan', generator='residual', base=64, blocks=9, width=64),
    'regression': dict(kind='regression', generator='unet', base=64, levels=6),
}
GENERATORS, SLOPE = ('unet', 'residual'), 0.2
DOWN = 2  # halvings of the residual generator
PARTS = {'pix2pix': ('generator', 'critic'), 'regression': ('generator',),
         'cyclegan': ('forth', 'back', 'critic_target', 'critic_source')}


class Generator(nn.Module):
    """Makes one contrast of another; the attributes are `Model`'s."""

    form: str
    dims: int
    base: int
    levels: int
    cap: int
    blocks: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, channels: int, train: bool) -> jax.Array:
        """Maps `[B, *S, C]` to `[B, *S, channels]` float32."""
        if self.form == 'unet':
            net = unet.Model(channels, dims=self.dims, base=self.base, levels=self.levels, cap=self.cap,
                             norm=self.norm, dtype=self.dtype, name='unet')
            return net(x, train=train)[0]
        kind = (self.norm, 'relu', self.dtype)
        if any(n % 2**DOWN for n in x.shape[1:-1]):
            raise InputError(f'config.data.patch: {x.shape[1:-1]}; expected multiples of {2**DOWN}, by which the '
                             'generator shrinks an image')
        seven, three, two = ((n,) * self.dims for n in (7, 3, 2))
        y = Block(self.base, seven, None, *kind, name='first')(x, train)
        for step in range(1, DOWN + 1):
            y = Block(self.base * 2**step, three, two, *kind, name=f'down{step}')(y, train)
        for number in range(self.blocks):
            y = unet.Residual(y.shape[-1], three, (1,) * self.dims, *kind, name=f'block{number}')(y, train)
        for step in reversed(range(DOWN)):
            y = Up(self.base * 2**step, two, self.dtype, name=f'up{step}')(y)
            y = Block(self.base * 2**step, three, None, *kind, name=f'decode{step}')(y, train)
        last = Conv(channels, seven, bias=True, init=nn.initializers.lecun_normal(), dtype=self.dtype, name='out')
        return last(y).astype(jnp.float32)


class Critic(nn.Module):
    """Judges patches (Isola 2017): strided 4×4 convolutions, one more without a stride, and a number for each place.

    With `depth` strided ones a number is of a patch of 16, 34, 70 or 142 voxels for a depth of 1, 2, 3 or 4. Unlike the
    paper's, convolutions without a stride keep the extent.
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
    """The players of a translation; `PARTS` names each kind's, the first level of the parameters.

    Attributes:
      kind: 'pix2pix', 'cyclegan' or 'regression'.
      channels: of the image, and of what is made of it.
      dims: spatial dimensions, 2 or 3.
      generator: 'unet' or 'residual'.
      base: channels of a generator's finest level.
      levels: of a U-Net's resolutions.
      cap: most channels of a U-Net.
      blocks: of a residual generator.
      norm: of the generators: 'instance' or 'none'; statistics of a batch would be those of several passes.
      width: channels of a critic's first layer; they double up to eight times as many.
      depth: strided layers of a critic, see `Critic`.
      critic_norm: as norm, of the critics.
      dtype: compute type; weights and what comes out are float32.
    """

    kind: str
    channels: Sequence[int] = (1, 1)
    dims: int = 2
    generator: str = 'unet'
    base: int = 64
    levels: int = 6
    cap: int = 512
    blocks: int = 9
    norm: str = 'instance'
    width: int = 64
    depth: int = 3
    critic_norm: str = 'instance'
    dtype: str = 'float32'

    def setup(self) -> None:
        """Makes the players."""
        for name, value, known in (('kind', self.kind, PARTS), ('generator', self.generator, GENERATORS),
                                   ('norm', self.norm, ('instance', 'none')),
                                   ('critic_norm', self.critic_norm, ('instance', 'none'))):
            if value not in known:
                raise InputError(f'config.model.{name}: {value!r}; expected one of: {", ".join(known)}')
        form = (self.generator, self.dims, self.base, self.levels, self.cap, self.blocks, self.norm, self.dtype)
        judge = (self.dims, self.width, self.depth, self.critic_norm, self.dtype)
        self._players = {part: Critic(*judge, name=part) if part.startswith('critic') else Generator(*form, name=part)
                         for part in PARTS[self.kind]}

    def __call__(self, x: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Makes the target of images `[B, *S, C]`, `[B, *S, T]` float32; of 'cyclegan' with the way back as 'cycle'."""
        check_dims(x, self.dims)
        made = self.make(x, train=train)
        feats = {'cycle': self.make(made, train=train, back=True)} if self.kind == 'cyclegan' else {}
        if self.is_initializing() and self.kind != 'regression':
            self.judge(made, x, train=train)
            if self.kind == 'cyclegan':
                self.judge(x, made, train=train, source=True)
        return made, feats

    def make(self, x: jax.Array, *, train: bool, back: bool = False) -> jax.Array:
        """The target of an image, or back: the image of a target."""
        name = ('back' if back else 'forth') if self.kind == 'cyclegan' else 'generator'
        return self._players[name](x, self.channels[0 if back else 1], train)

    def judge(self, x: jax.Array, given: jax.Array, *, train: bool, source: bool = False) -> jax.Array:
        """What a critic says of each patch of a target, `[B, *S', 1]`.

        Args:
          x: the target; with `source` an image.
          given: what it was made of, which pix2pix's critic sees as well.
          train: for norms.
          source: ask CycleGAN's critic of images in place of that of targets.
        """
        if self.kind == 'pix2pix':
            return self._players['critic'](jnp.concatenate([given, x], -1), train)
        return self._players['critic_source' if source else 'critic_target'](x, train)
