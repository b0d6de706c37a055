"""Pooling to a fixed number of bins for images of any size."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax


def max_along_axis(x: jax.Array, axis: int) -> jax.Array:
    """The maximum along an axis, with the gradient going to its first occurrence.

    `jnp.max` divides its gradient among all values equal to the maximum. If the compiler recomputes `x` for the
    backward pass with other instructions, no value may equal the maximum exactly, and the gradient becomes NaN.
    """
    first = jnp.argmax(x, axis, keepdims=True)
    return jnp.where(lax.broadcasted_iota(first.dtype, x.shape, axis % x.ndim) == first, x, 0).sum(axis)


def adaptive_pool(x: jax.Array, bins: int, reduce: Callable[..., jax.Array]) -> jax.Array:
    """Reduces each spatial axis to a given number of bins.

    Bin i of an axis with n voxels is [floor(i n / bins), ceil((i + 1) n / bins)), as in PyTorch's adaptive pooling.
    Bins overlap if n is not a multiple of their number, and voxels are repeated if n is smaller.

    Args:
      x: `[B, *S, C]`.
      bins: number of bins along each spatial axis.
      reduce: `(array, axis) -> array` without that axis, such as `max_along_axis` or `jnp.mean`.

    Returns:
      `[B, bins, …, C]`.
    """
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        if size != bins:
            # Axes can be reduced in turn: all rows of a bin have the same length, so means of means are exact.
            x = jnp.stack([reduce(lax.slice_in_dim(x, i * size // bins, -(-(i + 1) * size // bins), axis=axis), axis)
                           for i in range(bins)], axis)
    return x


def spatial_pyramid_pool(x: jax.Array, levels: Sequence[int] = (1, 2, 4)) -> jax.Array:
    """Spatial pyramid pooling: the maximum in each bin of several grids (He 2014).

    Args:
      x: `[B, *S, C]`.
      levels: number of bins along each axis, for each grid.

    Returns:
      `[B, C × sum(levelᵈ)]`, with d spatial axes: the same number of features for every image size.
    """
    grids = [adaptive_pool(x, bins, max_along_axis) for bins in levels]
    return jnp.concatenate([grid.reshape(x.shape[0], math.prod(grid.shape[1:])) for grid in grids], -1)
