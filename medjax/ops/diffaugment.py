"""Augmentation that gradients pass: what a critic sees is changed, real images and made ones alike (Zhao 2020).

With few real images a critic learns them by heart. Were they alone augmented, the generator would learn to make
augmented ones; as both are, and gradients pass, it learns what they are made of.
"""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

from medjax.errors import InputError

SHIFT, HOLE, LIGHT, SPREAD = 1 / 8, 1 / 2, 0.5, 0.5  # the paper's: shares of the extents, and of intensities


def translated(image: jax.Array, key: jax.Array) -> jax.Array:
    """Moves each image along each axis, by up to an eighth of it; zeros come in."""
    dims = image.ndim - 2
    share = jax.random.uniform(key, (dims, len(image)), minval=-SHIFT, maxval=SHIFT)
    for axis in range(dims):
        size = image.shape[axis + 1]
        place = jnp.arange(size)
        # A matrix of zeros and ones for each image, whose gradient is another product: no scattering.
        moved = place[:, None] == place + jnp.round(share[axis] * size).astype(jnp.int32)[:, None, None]
        image = jnp.moveaxis(jnp.einsum('bij,bj...->bi...', moved.astype(image.dtype), jnp.moveaxis(
            image, axis + 1, 1)), 1, axis + 1)
    return image


def holed(image: jax.Array, key: jax.Array) -> jax.Array:
    """Zeros in a box of half of each extent about any voxel, as far as it lies inside (cutout)."""
    dims = image.ndim - 2
    centre = jax.random.uniform(key, (dims, len(image)))
    inside = jnp.ones(image.shape, bool)
    for axis in range(dims):
        size = image.shape[axis + 1]
        low = jnp.floor(centre[axis] * size - HOLE * size / 2 + 0.5)[:, None]
        line = (jnp.arange(size) >= low) & (jnp.arange(size) < low + round(HOLE * size))
        inside &= line.reshape(len(image), *[size if a == axis else 1 for a in range(dims)], 1)
    return jnp.where(inside, 0, image)


def lightened(image: jax.Array, key: jax.Array) -> jax.Array:
    """Adds a number to each image, between -0.5 and 0.5."""
    return image + jax.random.uniform(key, (len(image), *[1] * (image.ndim - 1)), minval=-LIGHT, maxval=LIGHT)


def contrasted(image: jax.Array, key: jax.Array) -> jax.Array:
    """Stretches each image about its mean, by 0.5 to 1.5."""
    factor = jax.random.uniform(key, (len(image), *[1] * (image.ndim - 1)), minval=1 - SPREAD, maxval=1 + SPREAD)
    mean = image.mean(tuple(range(1, image.ndim)), keepdims=True)
    return (image - mean) * factor + mean


KINDS: dict[str, Callable[[jax.Array, jax.Array], jax.Array]] = {
    'brightness': lightened, 'contrast': contrasted, 'translation': translated, 'cutout': holed}


def check(kinds: Sequence[str], where: str) -> None:
    """Refuses what is not known, naming it."""
    for kind in kinds:
        if kind not in KINDS:
            raise InputError(f'{where}: {kind!r} is not known; expected some of: {", ".join(KINDS)}')


def augmented(image: jax.Array, key: jax.Array, kinds: Sequence[str]) -> jax.Array:
    """Changes each image of a batch by itself, in each of these ways, in the order of `KINDS`.

    Args:
      image: `[B, *S, C]`, of about the range -1 to 1.
      key: of all draws.
      kinds: names of `KINDS`.
    """
    for number, (kind, change) in enumerate(KINDS.items()):
        if kind in kinds:
            image = change(image, jax.random.fold_in(key, number))
    return image
