"""Max pooling with a fast gradient on CPU.

XLA's gradient of max pooling on CPU searches each window again and scatters, which takes fourteen times as long as the
forward pass. Here the forward pass on CPU also returns the position of the maximum in each window, and the gradient is
a sum of shifted copies.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

from medjax.ops.by_platform import by_platform

Pads = tuple[tuple[int, int], ...]


def max_pool(x: jax.Array, window: Sequence[int], stride: Sequence[int] | None = None,
             padding: Sequence[tuple[int, int]] | None = None) -> jax.Array:
    """The maximum of each window. Among equal values the first receives the gradient; NaN is the maximum.

    Args:
      x: `[B, *S, C]`, floating point.
      window: extent along each spatial axis.
      stride: stride along each spatial axis; the window by default.
      padding: number of padded voxels, which are never the maximum, before and after each axis; none by default.

    Returns:
      `[B, *S', C]` of the dtype of `x`.
    """
    window = tuple(window)
    return _max_pool(x, window, tuple(stride or window), tuple(map(tuple, padding or ((0, 0),) * len(window))))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: tuple[int, ...], stride: tuple[int, ...], padding: Pads) -> jax.Array:
    return _native(x, window, stride, padding)


def _forward(x, window, stride, padding):
    def native(x):
        # The native gradient does not use the positions of the maxima; it uses x.
        value = _native(x, window, stride, padding)
        return value, jnp.zeros(value.shape, jnp.int32)

    value, winner = by_platform(x, cpu=lambda x: _max_and_position(x, window, stride, padding), default=native)
    return value, (x, winner)


def _backward(window, stride, padding, residuals, dy):
    x, winner = residuals

    def shifted(dy, winner, x):
        # The condition always holds. It stops XLA from fusing the sum of copies into every consumer of the gradient,
        # where it would be recomputed and not vectorised, which takes ten times as long.
        return lax.cond(winner.reshape(-1)[0] >= 0,
                        lambda dy, winner: _sum_to_winners(dy, winner, x.shape, window, stride, padding),
                        lambda dy, winner: jnp.zeros(x.shape, x.dtype), dy, winner)

    def native(dy, winner, x):
        return jax.vjp(lambda x: _native(x, window, stride, padding), x)[1](dy)[0]

    return (by_platform(dy, winner, x, cpu=shifted, default=native),)


_max_pool.defvjp(_forward, _backward)


def _native(x, window, stride, padding):
    """XLA's max pooling."""
    full_padding = [(0, 0), *padding, (0, 0)]
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), full_padding)


def _max_and_position(x, window, stride, padding):
    """The maximum of each window, and its index in the window (row-major order)."""
    x = lax.pad(x, jnp.array(-jnp.inf, x.dtype), [(0, 0, 0), *((*sides, 0) for sides in padding), (0, 0, 0)])
    spans = [(n - w) // s * s + 1 for n, w, s in zip(x.shape[1:-1], window, stride)]
    value = winner = None
    for number, place in enumerate(itertools.product(*map(range, window))):
        here = x[(slice(None), *(slice(p, p + span, s) for p, span, s in zip(place, spans, stride)))]
        if value is None:
            value, winner = here, jnp.zeros(here.shape, jnp.int32)
        else:
            larger = (here > value) | jnp.isnan(here)
            value, winner = jnp.where(larger, here, value), jnp.where(larger, number, winner)
    return value, winner


def _sum_to_winners(dy, winner, shape, window, stride, padding):
    """Adds the gradient of each window to the voxel that was its maximum."""
    total = 0
    for number, place in enumerate(itertools.product(*map(range, window))):
        selected = jnp.where(winner == number, dy, 0)
        ends = []
        for n, p, s, count, (before, _) in zip(shape[1:-1], place, stride, dy.shape[1:-1], padding):
            first = p - before
            ends.append((first, n - first - (count - 1) * s - 1, s - 1))
        total += lax.pad(selected, jnp.zeros((), dy.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    return total
