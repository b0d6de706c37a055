"""Synthetic anomalies for self-supervised anomaly detection, in 2D and 3D."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

# Control points of the outline's noise along each axis, its amplitude, and the softness of the edge.
NOISE_POINTS, NOISE_AMPLITUDE, EDGE_WIDTH = 4, 0.6, 0.25


def random_blob_mask(key: jax.Array, size: Sequence[int], radii: tuple[float, float] = (0.08, 0.35)) -> jax.Array:
    """A soft mask of a randomly placed blob with an irregular outline.

    Args:
      key: PRNG key.
      size: extent along each axis, voxels.
      radii: smallest and largest radius, as fractions of each axis.

    Returns:
      `[*size]` float32 from 0 to 1: an ellipsoid with random radii whose outline is deformed by smooth noise.
    """
    dims = len(size)
    centre_key, radius_key, noise_key = jax.random.split(key, 3)
    centre = jax.random.uniform(centre_key, (dims,), minval=0.15, maxval=0.85)
    radius = jax.random.uniform(radius_key, (dims,), minval=radii[0], maxval=radii[1])
    axes = jnp.meshgrid(*((jnp.arange(n, dtype=jnp.float32) + 0.5) / n for n in size), indexing='ij')
    inside = 1.0 - sum(((x - c) / r) ** 2 for x, c, r in zip(axes, centre, radius))
    noise = jax.image.resize(jax.random.normal(noise_key, (NOISE_POINTS,) * dims), tuple(size), 'cubic')
    return jax.nn.sigmoid((inside + NOISE_AMPLITUDE * noise) / EDGE_WIDTH)


def interpolate_patch(image: jax.Array, other: jax.Array, mask: jax.Array, strength: jax.Array) -> jax.Array:
    """Foreign patch interpolation (Tan 2020): blends another image into an image within a mask.

    Args:
      image: `[*S, C]`.
      other: `[*S, C]`.
      mask: `[*S]` from 0 to 1.
      strength: scalar from 0 to 1.

    Returns:
      `[*S, C]`.
    """
    return image + (strength * mask)[..., None] * (other - image)


def add_opacity(image: jax.Array, mask: jax.Array, strength: jax.Array, quantile: float = 0.9) -> jax.Array:
    """Moves intensities within a mask towards bright tissue, as in a lung where fluid replaces air.

    Args:
      image: `[*S, C]`, brighter where absorption is higher.
      mask: `[*S]` from 0 to 1.
      strength: scalar from 0, no change, to 1, the intensity of bright tissue.
      quantile: quantile of the image's intensities that represents bright tissue.

    Returns:
      `[*S, C]`; brighter intensities are unchanged.
    """
    axes = tuple(range(image.ndim - 1))
    bright = jnp.quantile(image, quantile, axes, keepdims=True)
    return image + (strength * mask)[..., None] * jnp.maximum(bright - image, 0)


def shift_intensity(image: jax.Array, mask: jax.Array, strength: jax.Array) -> jax.Array:
    """Darkens or brightens an image within a mask, as a change of water, blood or fat content does.

    Args:
      image: `[*S, C]`.
      mask: `[*S]` from 0 to 1.
      strength: scalar from -1 to 1, as a fraction of the range between the image's 5th and 95th percentiles.

    Returns:
      `[*S, C]`, clipped to the range of the image.
    """
    axes = tuple(range(image.ndim - 1))
    low, high = jnp.quantile(image, jnp.array([0.05, 0.95]), axes, keepdims=True)
    shifted = image + (strength * mask)[..., None] * (high - low)
    return jnp.clip(shifted, image.min(axes, keepdims=True), image.max(axes, keepdims=True))
