"""Class-conditional generators of images and their critics, in 2D and 3D: DCGAN, projection, style.

- dcgan (Radford 2016): transposed convolutions and batch norm; the class is joined to the latent (Mirza 2014);
- projection (Miyato 2018): residual blocks, whose norms the class scales and shifts, and a critic of spectral norm;
- style (Karras 2020), a small one: a mapping network, modulated convolutions with noise, and colours summed over sizes.

Every critic takes the class by projection (Miyato & Koyama 2018) and looks at each image by itself: it has no batch
norm and no statistics of a minibatch, so that slopes are an image's own and batches may be cut.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Block, Conv, Norm, Up
from medjax.nn.dense import Dense
from medjax.nn.film import Film
from medjax.nn.style import Modulated, unit_length

VARIANTS: dict[str, dict[str, Any]] = {
    'projection': dict(kind='projection', spectral=True), 'dcgan': dict(kind='dcgan'), 'style': dict(kind='style')}
LEAST, WIDEST, SLOPE, MAPPING = 4, 256, 0.2, 4  # voxels to begin with, channels, below zero, layers


def halvings(size: tuple[int, ...]) -> int:
    """How often a size can be halved with 4 voxels left along each axis: of 28 twice, to 7."""
    found = 0
    while all(n % 2 ** (found + 1) == 0 and n // 2 ** (found + 1) >= LEAST for n in size):
        found += 1
    return found


def leaky(x: jax.Array) -> jax.Array:
    """The activation of critics and mapping networks."""
    return nn.leaky_relu(x, SLOPE)


def doubled(x: jax.Array) -> jax.Array:
    """Repeats each voxel along each axis."""
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, 2, axis)
    return x


def halved(x: jax.Array) -> jax.Array:
    """Means of boxes of two voxels along each axis."""
    space = [n for size in x.shape[1:-1] for n in (size // 2, 2)]
    return x.reshape(len(x), *space, x.shape[-1]).mean(tuple(range(2, len(space) + 1, 2)))


class Generator(nn.Module):
    """Makes images of classes; attributes as `Model` has them."""

    kind: str
    size: tuple[int, ...]
    channels: int
    classes: int
    base: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array, keys: jax.Array, train: bool) -> jax.Array:
        """Maps latents `[B, L]`, classes `[B]` and keys of the noise `[B]` to `[B, *S, C]` float32."""
        levels, three = halvings(self.size), (3,) * len(self.size)
        start = [n // 2**levels for n in self.size]
        widths = [min(self.base * 2 ** (levels - level), WIDEST) for level in range(levels + 1)]
        if self.classes > 1:
            known = nn.Embed(self.classes, latent.shape[-1], name='classes')(label)
        else:
            known = jnp.zeros_like(latent)
        if self.kind == 'style':
            return self.styled(jnp.concatenate([unit_length(latent), unit_length(known)], -1), keys, widths, start)
        steer = latent if self.kind == 'projection' else jnp.concatenate([latent, known], -1)
        x = Dense(math.prod(start) * widths[0], dtype=self.dtype, name='start')(steer)
        x = x.reshape(len(x), *start, widths[0])
        if self.kind == 'dcgan':
            x = Norm(self.norm, 'relu', self.dtype, name='norm')(x, train)
            for level, width in enumerate(widths[1:]):
                x = Up(width, (2,) * len(start), self.dtype, name=f'up{level}')(x)
                x = Block(width, three, None, self.norm, 'relu', self.dtype, name=f'block{level}')(x, train)
        else:
            for level, width in enumerate(widths[1:]):
                skip = Conv(width, (1,) * len(start), dtype=self.dtype, name=f'skip{level}')(doubled(x))
                x = Conv(width, three, dtype=self.dtype, name=f'first{level}')(
                    doubled(self.steered(x, known, train, f'norm{level}a')))
                x = skip + Conv(width, three, dtype=self.dtype, name=f'second{level}')(
                    self.steered(x, known, train, f'norm{level}b'))
            x = self.steered(x, known, train, 'norm')
        return jnp.tanh(Conv(self.channels, three, bias=True, dtype=self.dtype, name='out')(x).astype(jnp.float32))

    def steered(self, x: jax.Array, known: jax.Array, train: bool, name: str) -> jax.Array:
        """A norm that the class scales and shifts, and a rectifier."""
        x = Norm(self.norm, 'none', self.dtype, name=name)(x, train)
        return nn.relu(Film(self.dtype, name=f'{name}_class')(x, known) if self.classes > 1 else x)

    def styled(self, style: jax.Array, keys: jax.Array, widths: list[int], start: list[int]) -> jax.Array:
        """What comes of a style: a learned constant, convolutions by the style, and colours of every size summed."""
        for layer in range(MAPPING):
            style = leaky(Dense(max(2 * self.base, 32), nn.initializers.he_normal(), name=f'mapping{layer}')(style))
        three, one = (3,) * len(start), (1,) * len(start)
        first = self.param('constant', nn.initializers.normal(1.0), (*start, widths[0]), jnp.float32)
        x, image = jnp.broadcast_to(first, (len(style), *first.shape)).astype(self.dtype), 0.0
        for level, width in enumerate(widths):
            if level:
                x, image = doubled(x), doubled(image)
            for layer in range(1 + bool(level)):
                of = jax.vmap(lambda key, at=2 * level + layer: jax.random.fold_in(key, at))(keys)
                x = leaky(Modulated(width, three, dtype=self.dtype, name=f'conv{level}_{layer}')(x, style, of))
            colour = Modulated(self.channels, one, even=False, noise=False, dtype=self.dtype, name=f'colour{level}')
            image = image + colour(x, style).astype(jnp.float32)
        return image


class Critic(nn.Module):
    """Tells real images of a class from made ones; attributes as `Model` has them."""

    kind: str
    classes: int
    base: int
    spectral: bool
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, train: bool) -> jax.Array:
        """Maps images `[B, *S, C]` and classes `[B]` to `[B]` float32, the higher the more real."""
        dims, levels = x.ndim - 2, halvings(x.shape[1:-1])

        def bounded(layer: nn.Module, x: jax.Array) -> jax.Array:
            """A layer whose largest singular value is 1, where that is asked for (Miyato 2018)."""
            return nn.SpectralNorm(layer, name=f'{layer.name}_norm')(x, update_stats=train) if self.spectral else \
                layer(x)

        def conv(x: jax.Array, width: int, size: int, name: str, stride: int = 1) -> jax.Array:
            return bounded(Conv(width, (size,) * dims, (stride,) * dims, bias=True, dtype=self.dtype, name=name), x)

        x = conv(x, self.base, 3, 'colour')
        for level in range(levels):
            width = min(self.base * 2 ** (level + 1), WIDEST)
            if self.kind == 'dcgan':
                x = conv(leaky(x), width, 4, f'down{level}', 2)
            else:
                y = conv(leaky(x), width, 3, f'first{level}')
                y = conv(leaky(y), width, 3, f'second{level}')
                x = (halved(y) + conv(halved(x), width, 1, f'skip{level}')) / math.sqrt(2)
        x = leaky(x).reshape(len(x), -1).astype(jnp.float32)
        x = leaky(bounded(Dense(min(self.base * 2**levels, WIDEST), nn.initializers.he_normal(), name='whole'), x))
        told = bounded(Dense(1, name='real'), x)[:, 0]
        if self.classes == 1:
            return told
        # The class's own direction: how much more real the image is as one of this class.
        towards = bounded(nn.Dense(x.shape[-1], use_bias=False, name='classes'), jax.nn.one_hot(label, self.classes))
        return told + (towards * x).sum(-1)


class Model(nn.Module):
    """Both players, whose parameters lie under 'generator' and 'critic'.

    Attributes:
      size: of an image, any number of axes; halved as often as 4 voxels are left: choose multiples of powers of 2.
      channels: of an image.
      classes: that images are of; with 1 nothing is told of them.
      latent: numbers that an image is made from.
      kind: 'dcgan', 'projection' or 'style'.
      base: channels at full size; twice as many at half of it, and so on up to 256.
      norm: the generator's, see `nn.conv.Norm`; a style-based one has none.
      spectral: bound the critic's layers by spectral norm.
      dtype: compute type; weights and images are float32.
    """

    size: tuple[int, ...] = (28, 28)
    channels: int = 1
    classes: int = 2
    latent: int = 64
    kind: str = 'projection'
    base: int = 32
    norm: str = 'batch'
    spectral: bool = False
    dtype: str = 'float32'

    inputs = ('image', 'label')  # what of a batch it sees

    def setup(self) -> None:
        """Makes both players."""
        if self.kind not in ('dcgan', 'projection', 'style'):
            raise InputError(f"config.model.kind: {self.kind!r}; expected one of: dcgan, projection, style")
        if min(self.size) < LEAST or min(self.channels, self.classes, self.latent, self.base) < 1:
            raise InputError(f'config.model: size={self.size}, channels={self.channels}, classes={self.classes}, '
                             f'latent={self.latent}, base={self.base}; expected extents of at least {LEAST}, else 1')
        self.generator = Generator(self.kind, tuple(self.size), self.channels, self.classes, self.base, self.norm,
                                   self.dtype)
        self.critic = Critic(self.kind, self.classes, self.base, self.spectral, self.dtype)

    def __call__(self, image: jax.Array, label: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """What the critic says of images, `[B]`, and images of latents of zeros, the feature 'sample' `[B, *S, C]`."""
        if image.shape[1:] != (*self.size, self.channels):
            raise InputError(f'config.model: size={self.size}, channels={self.channels}; the images are of '
                             f'{image.shape[1:-1]} and {image.shape[-1]}: expected the same')
        made = self.generate(jnp.zeros((len(image), self.latent)), label, jax.random.split(jax.random.key(0),
                                                                                           len(image)), train=train)
        return self.judge(image, label, train=train), {'sample': made}

    def generate(self, latent: jax.Array, label: jax.Array, keys: jax.Array, *, train: bool) -> jax.Array:
        """Maps latents `[B, latent]`, classes `[B]` and keys of the noise `[B]` to images `[B, *S, C]` float32."""
        return self.generator(latent, label.astype(jnp.int32), keys, train)

    def judge(self, image: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """What the critic says of images `[B, *S, C]` of classes `[B]`, `[B]` float32."""
        return self.critic(image, label.astype(jnp.int32), train)
