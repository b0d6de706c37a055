"""Class-conditional GANs in 2D and 3D: DCGAN, projection GAN and a style-based GAN.

- dcgan (Radford 2016): transposed convolutions and batch norm; the class embedding is concatenated to the latent (Mirza
  2014).
- projection (Miyato 2018): residual blocks with class-conditional norms, and a discriminator with spectral norm.
- style (Karras 2020), small: a mapping network, modulated convolutions with noise, and a sum of images of all sizes.

All discriminators use class projection (Miyato & Koyama 2018) and process each image independently: they have neither
batch norm nor minibatch statistics, so that gradient penalties are per image and batches can be split.
"""

import math
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.nn.conv import Block, Conv, Norm, TransposedConv
from medjax.nn.dense import Dense
from medjax.nn.film import FiLM
from medjax.nn.resize import downsample, upsample
from medjax.nn.style import ModulatedConv, pixel_norm
from medjax.options import Count

VARIANTS: dict[str, dict[str, Any]] = {
    'projection': dict(kind='projection', spectral_norm=True), 'dcgan': dict(kind='dcgan'), 'style': dict(kind='style')}
# Extent of the coarsest features, maximum number of channels, slope of leaky ReLU, layers of the mapping network.
MIN_SIZE, MAX_WIDTH, SLOPE, MAPPING_LAYERS = 4, 256, 0.2, 4


def halvings(size: tuple[int, ...]) -> int:
    """The number of times that a size can be halved with at least 4 voxels left along each axis: 28 twice, to 7."""
    count = 0
    while all(n % 2 ** (count + 1) == 0 and n // 2 ** (count + 1) >= MIN_SIZE for n in size):
        count += 1
    return count


def leaky_relu(x: jax.Array) -> jax.Array:
    """The activation of discriminators and mapping networks."""
    return nn.leaky_relu(x, SLOPE)


class Generator(nn.Module):
    """A class-conditional generator; see `Model` for its attributes."""

    kind: str
    size: tuple[int, ...]
    channels: int
    classes: int
    base: int
    norm: str
    dtype: str

    @nn.compact
    def __call__(self, latent: jax.Array, label: jax.Array, keys: jax.Array, train: bool) -> jax.Array:
        """Maps latents `[B, L]`, classes `[B]` and PRNG keys `[B]` of the noise to `[B, *S, C]` float32."""
        levels, three = halvings(self.size), (3,) * len(self.size)
        start = [n // 2**levels for n in self.size]
        widths = [min(self.base * 2 ** (levels - level), MAX_WIDTH) for level in range(levels + 1)]
        if self.classes > 1:
            embedding = nn.Embed(self.classes, latent.shape[-1], name='classes')(label)
        else:
            embedding = jnp.zeros_like(latent)
        if self.kind == 'style':
            return self.synthesise(jnp.concatenate([pixel_norm(latent), pixel_norm(embedding)], -1), keys, widths,
                                   start)
        condition = latent if self.kind == 'projection' else jnp.concatenate([latent, embedding], -1)
        x = Dense(math.prod(start) * widths[0], dtype=self.dtype, name='start')(condition)
        x = x.reshape(len(x), *start, widths[0])
        if self.kind == 'dcgan':
            x = Norm(self.norm, 'relu', self.dtype, name='norm')(x, train)
            for level, width in enumerate(widths[1:]):
                x = TransposedConv(width, (2,) * len(start), self.dtype, name=f'up{level}')(x)
                x = Block(width, three, None, self.norm, 'relu', self.dtype, name=f'block{level}')(x, train)
        else:
            for level, width in enumerate(widths[1:]):
                skip = Conv(width, (1,) * len(start), dtype=self.dtype, name=f'skip{level}')(upsample(x))
                x = Conv(width, three, dtype=self.dtype, name=f'first{level}')(
                    upsample(self.conditional_norm(x, embedding, train, f'norm{level}a')))
                x = skip + Conv(width, three, dtype=self.dtype, name=f'second{level}')(
                    self.conditional_norm(x, embedding, train, f'norm{level}b'))
            x = self.conditional_norm(x, embedding, train, 'norm')
        return jnp.tanh(Conv(self.channels, three, bias=True, dtype=self.dtype, name='out')(x).astype(jnp.float32))

    def conditional_norm(self, x: jax.Array, embedding: jax.Array, train: bool, name: str) -> jax.Array:
        """A norm whose scale and shift depend on the class, and ReLU."""
        x = Norm(self.norm, 'none', self.dtype, name=name)(x, train)
        return nn.relu(FiLM(self.dtype, name=f'{name}_class')(x, embedding) if self.classes > 1 else x)

    def synthesise(self, style: jax.Array, keys: jax.Array, widths: list[int], start: list[int]) -> jax.Array:
        """The style-based generator: a learned constant, modulated convolutions, and a sum of images of all sizes."""
        for layer in range(MAPPING_LAYERS):
            style = Dense(max(2 * self.base, 32), nn.initializers.he_normal(), name=f'mapping{layer}')(style)
            style = leaky_relu(style)
        three, one = (3,) * len(start), (1,) * len(start)
        constant = self.param('constant', nn.initializers.normal(1.0), (*start, widths[0]), jnp.float32)
        x, image = jnp.broadcast_to(constant, (len(style), *constant.shape)).astype(self.dtype), 0.0
        for level, width in enumerate(widths):
            if level:
                x, image = upsample(x), upsample(image)
            for layer in range(2 if level else 1):
                noise_keys = jax.vmap(lambda key, number=2 * level + layer: jax.random.fold_in(key, number))(keys)
                conv = ModulatedConv(width, three, dtype=self.dtype, name=f'conv{level}_{layer}')
                x = leaky_relu(conv(x, style, noise_keys))
            colour = ModulatedConv(self.channels, one, demodulate=False, noise=False, dtype=self.dtype,
                                   name=f'colour{level}')
            image = image + colour(x, style).astype(jnp.float32)
        return image


class Discriminator(nn.Module):
    """A class-conditional discriminator; see `Model` for its attributes."""

    kind: str
    classes: int
    base: int
    spectral_norm: bool
    dtype: str

    @nn.compact
    def __call__(self, x: jax.Array, label: jax.Array, train: bool) -> jax.Array:
        """Maps images `[B, *S, C]` and classes `[B]` to outputs `[B]` float32, higher for real images."""
        dims, levels = x.ndim - 2, halvings(x.shape[1:-1])

        def normalised(layer: nn.Module, x: jax.Array) -> jax.Array:
            """Applies a layer, with spectral norm if `spectral_norm` (Miyato 2018)."""
            if not self.spectral_norm:
                return layer(x)
            return nn.SpectralNorm(layer, name=f'{layer.name}_norm')(x, update_stats=train)

        def conv(x: jax.Array, width: int, size: int, name: str, stride: int = 1) -> jax.Array:
            return normalised(Conv(width, (size,) * dims, (stride,) * dims, bias=True, dtype=self.dtype, name=name), x)

        x = conv(x, self.base, 3, 'colour')
        for level in range(levels):
            width = min(self.base * 2 ** (level + 1), MAX_WIDTH)
            if self.kind == 'dcgan':
                x = conv(leaky_relu(x), width, 4, f'down{level}', 2)
            else:
                y = conv(leaky_relu(x), width, 3, f'first{level}')
                y = conv(leaky_relu(y), width, 3, f'second{level}')
                x = (downsample(y) + conv(downsample(x), width, 1, f'skip{level}')) / math.sqrt(2)
        x = leaky_relu(x).reshape(len(x), -1).astype(jnp.float32)
        dense = Dense(min(self.base * 2**levels, MAX_WIDTH), nn.initializers.he_normal(), name='whole')
        x = leaky_relu(normalised(dense, x))
        out = normalised(Dense(1, name='real'), x)[:, 0]
        if self.classes == 1:
            return out
        # Class projection: the product of the features with an embedding of the class.
        embed = nn.Dense(x.shape[-1], use_bias=False, name='classes')
        return out + (normalised(embed, jax.nn.one_hot(label, self.classes)) * x).sum(-1)


class Model(nn.Module):
    """A generator and a discriminator, with parameters under 'generator' and 'discriminator'.

    Attributes:
      size: extents of an image; they are halved while at least 4 voxels are left: multiples of powers of 2 are best.
      channels: channels of an image.
      classes: number of classes; with 1 the GAN is unconditional.
      latent: size of the latent.
      kind: 'dcgan', 'projection' or 'style'.
      base: channels at full resolution; doubled with each halving, up to 256.
      norm: norm of the generator, see `nn.conv.Norm`; a style-based generator has none.
      spectral_norm: whether the discriminator has spectral norm.
      dtype: compute dtype; parameters and images are float32.
    """

    size: tuple[Count, ...] = (28, 28)
    channels: Count = 1
    classes: Count = 2
    latent: Count = 64
    kind: str = 'projection'
    base: Count = 32
    norm: str = 'batch'
    spectral_norm: bool = False
    dtype: str = 'float32'

    inputs = ('image', 'label')  # entries of a batch that are passed to the network

    def setup(self) -> None:
        """Creates both networks."""
        if self.kind not in ('dcgan', 'projection', 'style'):
            raise InputError(f"config.model.kind: {self.kind!r}; expected one of: dcgan, projection, style")
        if min(self.size) < MIN_SIZE or min(self.channels, self.classes, self.latent, self.base) < 1:
            raise InputError(f'config.model: size={self.size}, channels={self.channels}, classes={self.classes}, '
                             f'latent={self.latent}, base={self.base}; expected extents of at least {MIN_SIZE}, else 1')
        self.generator = Generator(self.kind, tuple(self.size), self.channels, self.classes, self.base, self.norm,
                                   self.dtype)
        self.discriminator = Discriminator(self.kind, self.classes, self.base, self.spectral_norm, self.dtype)

    def __call__(self, image: jax.Array, label: jax.Array, *, train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Maps images and classes `[B]` to the discriminator's outputs `[B]` and a feature, for initialisation.

        The feature 'sample' `[B, *S, C]` has images generated from zero latents.

        Raises:
          InputError: the images do not have the size and channels of the network.
        """
        if image.shape[1:] != (*self.size, self.channels):
            raise InputError(f'config.model: size={self.size}, channels={self.channels}; the images are of '
                             f'{image.shape[1:-1]} and {image.shape[-1]}: expected the same')
        keys = jax.random.split(jax.random.key(0), len(image))
        sample = self.generate(jnp.zeros((len(image), self.latent)), label, keys, train=train)
        return self.discriminate(image, label, train=train), {'sample': sample}

    def generate(self, latent: jax.Array, label: jax.Array, keys: jax.Array, *, train: bool) -> jax.Array:
        """Maps latents `[B, latent]`, classes `[B]` and PRNG keys `[B]` of the noise to images `[B, *S, C]` float32."""
        return self.generator(latent, label.astype(jnp.int32), keys, train)

    def discriminate(self, image: jax.Array, label: jax.Array, *, train: bool) -> jax.Array:
        """Maps images `[B, *S, C]` and classes `[B]` to the discriminator's outputs `[B]` float32."""
        return self.discriminator(image, label.astype(jnp.int32), train)
