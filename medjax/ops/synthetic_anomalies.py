"""Anomalies made on purpose, for networks that shall learn to find what does not belong: keyed, in 2D and 3D."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

COARSE, WOBBLE, EDGE = 4, 0.6, 0.25  # points of an outline's noise along an axis, how far it bends, and its softness


def spot(key: jax.Array, size: Sequence[int], radii: tuple[float, float] = (0.08, 0.35)) -> jax.Array:
    """A soft-edged spot of irregular outline at a random place.

    Args:
      key: of the draw.
      size: voxels along each axis.
      radii: least and greatest, as shares of each axis.

    Returns:
      `[*size]` float32 from 0 to 1: an ellipsoid with random radii, whose outline smooth noise bends.
    """
    dims = len(size)
    where, wide, bent = jax.random.split(key, 3)
    centre = jax.random.uniform(where, (dims,), minval=0.15, maxval=0.85)
    radius = jax.random.uniform(wide, (dims,), minval=radii[0], maxval=radii[1])
    axes = jnp.meshgrid(*((jnp.arange(n) + 0.5) / n for n in size), indexing='ij')
    inside = 1.0 - sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radius))
    noise = jax.image.resize(jax.random.normal(bent, (COARSE,) * dims), tuple(size), 'cubic')
    return jax.nn.sigmoid((inside + WOBBLE * noise) / EDGE)


def patch(image: jax.Array, other: jax.Array, mask: jax.Array, strength: jax.Array) -> jax.Array:
    """Foreign patch interpolation (Tan 2020): within a mask an image turns into another one.

    Args:
      image: `[*S, C]`.
      other: `[*S, C]`.
      mask: `[*S]` from 0 to 1.
      strength: scalar from 0 to 1.

    Returns:
      `[*S, C]`.
    """
    return image + (strength * mask)[..., None] * (other - image)


def opacity(image: jax.Array, mask: jax.Array, strength: jax.Array, quantile: float = 0.9) -> jax.Array:
    """Within a mask an image comes nearer to its own bright tissue, as lungs do where fluid takes the place of air.

    Args:
      image: `[*S, C]`, brighter where more is absorbed.
      mask: `[*S]` from 0 to 1.
      strength: scalar from 0, for nothing, to 1, for tissue that can no more be told from the brightest.
      quantile: which of the image's intensities is bright tissue.

    Returns:
      `[*S, C]`; what is brighter than that stays as it was.
    """
    axes = tuple(range(image.ndim - 1))
    bright = jnp.quantile(image, quantile, axes, keepdims=True)
    return image + (strength * mask)[..., None] * jnp.maximum(bright - image, 0)


def shade(image: jax.Array, mask: jax.Array, strength: jax.Array) -> jax.Array:
    """Within a mask an image becomes darker or brighter, as tissue does where there is more water, blood or fat.

    Args:
      image: `[*S, C]`.
      mask: `[*S]` from 0 to 1.
      strength: scalar from -1 to 1: by how much of the distance between the image's 5th and 95th percentiles.

    Returns:
      `[*S, C]`, within the image's own range.
    """
    axes = tuple(range(image.ndim - 1))
    low, high = jnp.quantile(image, jnp.array([0.05, 0.95]), axes, keepdims=True)
    moved = image + (strength * mask)[..., None] * (high - low)
    return jnp.clip(moved, image.min(axes, keepdims=True), image.max(axes, keepdims=True))
