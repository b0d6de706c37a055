"""Resizing of images `[B, *S, C]` by a factor of 2."""

import jax
import jax.numpy as jnp


def upsample(x: jax.Array) -> jax.Array:
    """Nearest-neighbour upsampling by 2 along each spatial axis."""
    for axis in range(1, x.ndim - 1):
        x = jnp.repeat(x, 2, axis)
    return x


def downsample(x: jax.Array) -> jax.Array:
    """Average pooling by 2 along each spatial axis."""
    space = [n for size in x.shape[1:-1] for n in (size // 2, 2)]
    return x.reshape(x.shape[0], *space, x.shape[-1]).mean(tuple(range(2, len(space) + 1, 2)))
