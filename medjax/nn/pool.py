"""Pooling to as many bins as wanted, whatever the image's size."""

import math
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
from jax import lax


def largest(x: jax.Array, axis: int) -> jax.Array:
    """The largest value along an axis, which alone gets the gradient.

    `jnp.max` divides its gradient among all values that equal the largest. Where the compiler computes x once more for
    the backward pass, by other instructions, none need equal it any longer, and the gradient is NaN.
    """
    first = jnp.argmax(x, axis, keepdims=True)
    return jnp.where(lax.broadcasted_iota(first.dtype, x.shape, axis % x.ndim) == first, x, 0).sum(axis)


def adaptive_pool(x: jax.Array, bins: int, reduce: Callable[..., jax.Array]) -> jax.Array:
    """Reduces each axis of space to a number of bins.

    Bin i of an axis with n voxels goes from floor(i n / bins) to ceil((i + 1) n / bins), as in PyTorch's adaptive
    pooling: bins share a voxel where n is no multiple, and repeat voxels where there are fewer of them than bins.

    Args:
      x: `[B, *S, C]`.
      bins: along each spatial axis.
      reduce: `(array, axis) -> array` without that axis, such as `largest` or `jnp.mean`.

    Returns:
      `[B, bins, …, C]`.
    """
    for axis in range(1, x.ndim - 1):
        size = x.shape[axis]
        if size != bins:
            # One axis after the other: all the rows of a bin are as long as each other, so means are those of the box.
            x = jnp.stack([reduce(lax.slice_in_dim(x, i * size // bins, -(-(i + 1) * size // bins), axis=axis), axis)
                           for i in range(bins)], axis)
    return x


def pyramid(x: jax.Array, levels: Sequence[int] = (1, 2, 4)) -> jax.Array:
    """Spatial pyramid pooling: the largest value in each bin of several grids (He 2014).

    Args:
      x: `[B, *S, C]`.
      levels: bins along each axis, of each grid.

    Returns:
      `[B, C × sum(levelᵈ)]`, with d spatial axes: as many features for every size of image.
    """
    grids = [adaptive_pool(x, bins, largest) for bins in levels]
    return jnp.concatenate([grid.reshape(x.shape[0], math.prod(grid.shape[1:])) for grid in grids], -1)
