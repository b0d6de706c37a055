"""Latent diffusion (Rombach 2022): diffusion in the latent space of an autoencoder, which makes each step cheaper.

The autoencoder, of the variant 'grid', is trained first in a separate run
(`config.init.part='image_autoencoder'`). Its parameters are frozen here.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
from flax.core import FrozenDict

from medjax.errors import InputError
from medjax.models import autoencoder, diffusion
from medjax.options import Count, NonNegativeInt, check_all

VARIANTS: dict[str, dict[str, Any]] = {
    'grid': dict(denoiser=dict(base=64, levels=2)),
}

GRID = autoencoder.VARIANTS['grid']


class Model(nn.Module):
    """An autoencoder with a grid latent, and a denoiser of its latents.

    Attributes:
      classes: number of classes; 0 for images without class.
      size: voxels of an image along each of 2 or 3 axes.
      channels: channels of an image.
      autoencoder: options of `models.autoencoder`, the same as in its own run; the part
        'image_autoencoder'.
      denoiser: options of `models.diffusion.Model`, without size and channels, which are the latent's; the part
        'latent_denoiser'.
      dtype: compute dtype; parameters and outputs are float32.
    """

    classes: NonNegativeInt = 0
    size: Sequence[Count] = (28, 28)
    channels: Count = 1
    autoencoder: Mapping[str, Any] = FrozenDict()
    denoiser: Mapping[str, Any] = FrozenDict()
    dtype: str = 'float32'

    inputs = ('image', 'time', 'label')  # entries of a batch that are passed to the network; the image is a latent
    frozen = ('image_autoencoder',)  # parts that are not trained

    def setup(self) -> None:
        """Creates the two parts."""
        *size, channels = self.space
        self.image_autoencoder = autoencoder.Model(**self._autoencoder_fields)
        self.latent_denoiser = diffusion.Model(**submodel_fields(
            diffusion.Model, self.denoiser, 'denoiser', size=tuple(size), channels=channels, classes=self.classes,
            dtype=self.dtype))

    @property
    def _autoencoder_fields(self) -> dict[str, Any]:
        return {**GRID, **submodel_fields(autoencoder.Model, self.autoencoder, 'autoencoder', kind='grid',
                                          dims=len(self.size), dtype=self.dtype)}

    @property
    def space(self) -> tuple[int, ...]:
        """The shape of an image's latent, `(*S', C)`."""
        network = autoencoder.Model(**self._autoencoder_fields, parent=None)
        image = jnp.zeros((1, *self.size, self.channels))
        latent = jax.eval_shape(lambda: network.init_with_output(jax.random.key(0), image, train=False)[0][1]['grid'])
        return latent.shape[1:]

    def __call__(self, x: jax.Array, time: jax.Array, label: jax.Array, *,
                 train: bool) -> tuple[jax.Array, dict[str, Any]]:
        """Applies the denoiser to noisy latents `[B, *space]`; see `models.diffusion.Model`."""
        if self.is_initializing():
            self.encode(jnp.zeros((1, *self.size, self.channels)))
        return self.latent_denoiser(x, time, label, train=train)

    def encode(self, image: jax.Array) -> jax.Array:
        """Maps images `[B, *size, channels]` to latents `[B, *space]`, without gradient.

        Raises:
          InputError: the images do not have the size and channels of the network.
        """
        if image.shape[1:] != (*self.size, self.channels):
            raise InputError(f'config.model: size={tuple(self.size)}, channels={self.channels}; expected those of the '
                             f'images, {image.shape[1:-1]} and {image.shape[-1]}')
        return jax.lax.stop_gradient(self.image_autoencoder(image, train=False)[1]['grid'])

    def decode(self, latent: jax.Array) -> jax.Array:
        """Maps latents `[B, *space]` to images `[B, *size, channels]` float32."""
        placeholder = jnp.zeros((len(latent), *self.size, self.channels))  # its own latent is not used
        return self.image_autoencoder(placeholder, train=False, latent=latent)[0]


def submodel_fields(model: type[nn.Module], options: Mapping[str, Any], where: str, **given: Any) -> dict[str, Any]:
    """The fields of a part of the network: its options, and the fields that the whole network determines.

    Args:
      model: class of the part.
      options: the options in the config.
      where: their key in `config.model`, for messages.
      **given: fields that the whole network determines.

    Raises:
      InputError: an option that the part does not have, or that the whole network determines.
    """
    if not isinstance(options, Mapping):
        raise InputError(f'config.model.{where}: {options!r}; expected options, as in dict(base=16)')
    known = [name for name in model.__dataclass_fields__ if name not in (*given, 'name', 'parent')]
    for name in options:
        if name not in known:
            raise InputError(f'config.model.{where}.{name}: unknown key; config.model.{where} takes: '
                             + ', '.join(known))
    check_all(model, options, f'config.model.{where}')
    return {**given, **options}
