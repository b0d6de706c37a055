"""Diffusion in the latent of an autoencoder (Rombach 2022): of fewer numbers than the image, so that a step costs less.

The autoencoder, one of the variant 'grid', learns first, in a run of its own (`config.init.part='first'`); here its
weights stay as they are.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from medjax.errors import InputError
from medjax.models import autoencoder, diffusion

VARIANTS: dict[str, dict[str, Any]] = {
    'grid': dict(denoiser=dict(base=64, levels=2)),
}

GRID = autoencoder.VARIANTS['grid']


class Model(nn.Module):
    """An autoencoder whose latent is a grid, and a denoiser of such latents.

    Attributes:
      classes: that a label may name; 0 where images have none.
      size: voxels of an image along each of 2 or 3 axes.
      channels: of an image.
      autoencoder: options of `models.autoencoder`, as its run has them; the part 'first'.
      denoiser: options of `models.diffusion.Model`, but for its size and channels, which are the latent's; the part
        'second'.
      dtype: compute type; weights and what is told are float32.
    """

    classes: int = 0
    size: Sequence[int] = (28, 28)
    channels: int = 1
    autoencoder: Mapping[str, Any] = FrozenDict()
    denoiser: Mapping[str, Any] = FrozenDict()
    dtype: str = 'float32'

    inputs = ('image', 'time', 'label')  # what of a batch it sees; the image is a latent here
    frozen = ('first',)  # parts that no optimiser changes

    def setup(self) -> None:
        """The two parts."""
        *size, channels = self.space
        self.first = autoencoder.Model(**self._fields)
        self.second = diffusion.Model(**fields(diffusion.Model, self.denoiser, 'denoiser', size=tuple(size),
                                               channels=channels, classes=self.classes, dtype=self.dtype))

    @property
    def _fields(self) -> dict[str, Any]:
        return {**GRID, **fields(autoencoder.Model, self.autoencoder, 'autoencoder', kind='grid', dims=len(self.size),
                                 dtype=self.dtype)}

    @property
    def space(self) -> tuple[int, ...]:
        """The shape of an image's latent, `(*S', C)`."""
        first, image = autoencoder.Model(**self._fields, parent=None), jnp.zeros((1, *self.size, self.channels))
        made = jax.eval_shape(lambda: first.init_with_output(jax.random.key(0), image, train=False)[0][1]['grid'])
        return made.shape[1:]

    def __call__(self, x: jax.Array, time: jax.Array, label: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Tells of latents with noise `[B, *space]` what `models.diffusion` tells of images."""
        if self.is_initializing():
            self.encode(jnp.zeros((1, *self.size, self.channels)))
        return self.second(x, time, label, train=train)

    def encode(self, image: jax.Array) -> jax.Array:
        """Maps images `[B, *size, channels]` to latents `[B, *space]`, whose gradient ends there."""
        if image.shape[1:] != (*self.size, self.channels):
            raise InputError(f'config.model: size={tuple(self.size)}, channels={self.channels}; expected those of the '
                             f'images, {image.shape[1:-1]} and {image.shape[-1]}')
        return jax.lax.stop_gradient(self.first(image, train=False)[1]['grid'])

    def decode(self, latent: jax.Array) -> jax.Array:
        """Maps latents `[B, *space]` to images `[B, *size, channels]` float32."""
        none = jnp.zeros((len(latent), *self.size, self.channels))  # what is encoded of it is not asked for
        return self.first(none, train=False, latent=latent)[0]


def fields(part: type[nn.Module], options: Mapping[str, Any], where: str, **given: Any) -> dict[str, Any]:
    """What a part of the network is made with: its options, and what the whole says of it.

    Raises:
      InputError: an option that the part has not, or that the whole gives.
    """
    if not isinstance(options, Mapping):
        raise InputError(f'config.model.{where}: {options!r}; expected options, as in dict(base=16)')
    for name in options:
        if name in given or name not in part.__dataclass_fields__ or name in ('name', 'parent'):
            raise InputError(f'config.model.{where}.{name}: nothing reads this key')
    return {**given, **options}
