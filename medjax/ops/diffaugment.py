"""Differentiable augmentation for GANs: the same random changes for real and generated images (DiffAugment, Zhao 2020).

With few real images a discriminator memorises them. If only the real images were augmented, the generator would learn
to generate augmented images. Here both are augmented, and gradients reach the generator through the augmentation.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from medjax.errors import InputError

# The paper's ranges, as fractions of the image's extents and as intensities.
MAX_SHIFT, HOLE, MAX_BRIGHTNESS, MAX_CONTRAST = 1 / 8, 1 / 2, 0.5, 0.5


def random_translation(image: jax.Array, key: jax.Array) -> jax.Array:
    """Translates each image along each axis by up to an eighth of its extent, filling with zeros."""
    dims = image.ndim - 2
    share = jax.random.uniform(key, (dims, len(image)), minval=-MAX_SHIFT, maxval=MAX_SHIFT)
    for axis in range(dims):
        size = image.shape[axis + 1]
        place = jnp.arange(size)
        # A 0/1 matrix per image: its gradient is another matrix product, without a scatter.
        matrix = place[:, None] == place + jnp.round(share[axis] * size).astype(jnp.int32)[:, None, None]
        image = jnp.moveaxis(jnp.einsum('bij,bj...->bi...', matrix.astype(image.dtype), jnp.moveaxis(
            image, axis + 1, 1)), 1, axis + 1)
    return image


def random_cutout(image: jax.Array, key: jax.Array) -> jax.Array:
    """Sets a box of half of each extent to zero, centred on a random voxel and clipped to the image (cutout)."""
    dims = image.ndim - 2
    centre = jax.random.uniform(key, (dims, len(image)))
    inside = jnp.ones(image.shape, bool)
    for axis in range(dims):
        size = image.shape[axis + 1]
        low = jnp.floor(centre[axis] * size - HOLE * size / 2 + 0.5)[:, None]
        at = jnp.arange(size, dtype=jnp.float32)
        line = (at >= low) & (at < low + round(HOLE * size))
        inside &= line.reshape(len(image), *[size if a == axis else 1 for a in range(dims)], 1)
    return jnp.where(inside, 0, image)


def random_brightness(image: jax.Array, key: jax.Array) -> jax.Array:
    """Adds a random number between -0.5 and 0.5 to each image."""
    return image + jax.random.uniform(key, (len(image), *[1] * (image.ndim - 1)), minval=-MAX_BRIGHTNESS,
                                      maxval=MAX_BRIGHTNESS)


def random_contrast(image: jax.Array, key: jax.Array) -> jax.Array:
    """Scales the deviation of each image from its mean by a random factor between 0.5 and 1.5."""
    factor = jax.random.uniform(key, (len(image), *[1] * (image.ndim - 1)), minval=1 - MAX_CONTRAST,
                                maxval=1 + MAX_CONTRAST)
    mean = image.mean(tuple(range(1, image.ndim)), keepdims=True)
    return (image - mean) * factor + mean


KINDS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    'brightness': random_brightness, 'contrast': random_contrast, 'translation': random_translation,
    'cutout': random_cutout}


def check_kinds(kinds: Sequence[str], where: str) -> None:
    """Raises an `InputError` that names the first unknown kind of augmentation."""
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f'{where}: {kind!r} is not known; expected some of: {", ".join(KINDS)}')


def augment(image: jax.Array, key: jax.Array, kinds: Sequence[str]) -> jax.Array:
    """Applies the given kinds of augmentation to each image independently, in the order of `KINDS`.

    Args:
      image: `[B, *S, C]`, with intensities of about -1 to 1.
      key: PRNG key.
      kinds: names in `KINDS`.
    """
    for number, (kind, change) in enumerate(KINDS.items()):
        if kind in kinds:
            image = change(image, jax.random.fold_in(key, number))
    return image
