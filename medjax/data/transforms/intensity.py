"""Intensity transforms of one image `[*S, C]`, compiled: blur, low resolution and gamma."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp

BLUR_TAPS = 6  # voxels to each side: four standard deviations of the broadest kernel


def channel_range(image: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The lowest and the highest value of each channel, `[C]` each."""
    space = tuple(range(image.ndim - 1))
    return image.min(space), image.max(space)


def gamma(image: jax.Array, power: jax.Array) -> jax.Array:
    """Raises intensities, scaled to 0–1 by each channel's range, to a power, and scales them back."""
    low, high = channel_range(image)
    extent = jnp.maximum(high - low, 1e-7)
    fraction = jnp.clip((image - low) / extent, 0, 1)
    return jnp.exp(power * jnp.log(fraction)) * extent + low  # XLA's power is twice as slow on a CPU


def blur(image: jax.Array, sigma: jax.Array) -> jax.Array:
    """Gaussian blur of each channel by its own standard deviation; the border's values are repeated.

    Args:
      image: `[*S, C]`.
      sigma: `[C]`, voxels.

    Returns:
      As `image`.
    """
    def matrix(n: int) -> jax.Array:
        place = jnp.arange(-BLUR_TAPS, n + BLUR_TAPS, dtype=jnp.float32)
        distance = place - jnp.arange(n, dtype=jnp.float32)[:, None]
        gaussian = jnp.exp(-0.5 * (distance / sigma[:, None, None]) ** 2)
        weights = jnp.where(jnp.abs(distance) <= BLUR_TAPS, gaussian, 0.0)
        inner = weights[..., BLUR_TAPS:-BLUR_TAPS]
        inner = inner.at[..., 0].add(weights[..., :BLUR_TAPS].sum(-1))
        inner = inner.at[..., -1].add(weights[..., -BLUR_TAPS:].sum(-1))
        return inner / inner.sum(-1, keepdims=True)

    return _separable(image, matrix, range(image.ndim - 1))


def low_resolution(image: jax.Array, factor: jax.Array, axes: Sequence[int]) -> jax.Array:
    """Downsamples each channel by its own factor, to the nearest voxel, and upsamples it by cubics (Keys 1981).

    Args:
      image: `[*S, C]`.
      factor: `[C]`, at least 1.
      axes: spatial axes.

    Returns:
      As `image`.
    """
    def matrix(n: int) -> jax.Array:
        coarse = jnp.maximum(jnp.round(n / factor), 1.0)[:, None]
        index = jnp.arange(n, dtype=jnp.float32)
        place = (index + 0.5) * coarse / n - 0.5
        out = jnp.zeros((image.shape[-1], n, n))
        for tap in range(-1, 3):
            t = jnp.abs(place - jnp.floor(place) - tap)
            weight = jnp.where(t <= 1, 1.5 * t**3 - 2.5 * t**2 + 1, -0.5 * t**3 + 2.5 * t**2 - 4 * t + 2)
            source = (jnp.clip(jnp.floor(place) + tap, 0, coarse - 1) + 0.5) * n / coarse - 0.5
            taken = jnp.clip(jnp.round(source), 0, n - 1)[..., None] == index
            out += weight[..., None] * taken.astype(weight.dtype)
        return out

    return _separable(image, matrix, axes)


def _separable(image: jax.Array, matrix: Callable[[int], jax.Array], axes: Sequence[int]) -> jax.Array:
    """Multiplies each channel, along axes, by its own matrix `[C, n, n]`: cheaper to compile and to run than taps."""
    for axis in axes:
        n = image.shape[axis]
        first = jnp.moveaxis(image, (-1, axis), (0, 1))
        flat = jnp.matmul(matrix(n), first.reshape(first.shape[0], n, -1), precision=jax.lax.Precision.HIGHEST)
        image = jnp.moveaxis(flat.reshape(first.shape), (0, 1), (-1, axis))
    return image
