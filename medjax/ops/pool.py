"""Pooling by the largest value, by what is fastest on each backend.

XLA's gradient of it on the CPU looks for the largest value again, window by window, and scatters: fourteen times what
the values cost. There the forward pass keeps which voxel of its window was the largest, and the gradient is a sum of
shifted copies.
"""

import functools
import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
from jax import lax

Pads = tuple[tuple[int, int], ...]


def max_pool(x: jax.Array, window: Sequence[int], stride: Sequence[int] | None = None,
             padding: Sequence[tuple[int, int]] | None = None) -> jax.Array:
    """The largest value of each window; of equal ones the first alone gets the gradient, and NaN is the largest.

    Args:
      x: `[B, *S, C]`, floating.
      window: extent along each spatial axis.
      stride: along each spatial axis; the window by default, so that none overlap.
      padding: places before and behind along each axis that are never the largest; none by default.

    Returns:
      `[B, *S', C]` of x's type.
    """
    window = tuple(window)
    return _max_pool(x, window, tuple(stride or window), tuple(map(tuple, padding or ((0, 0),) * len(window))))


@functools.partial(jax.custom_vjp, nondiff_argnums=(1, 2, 3))
def _max_pool(x: jax.Array, window: tuple[int, ...], stride: tuple[int, ...], padding: Pads) -> jax.Array:
    return _native(x, window, stride, padding)


def _forward(x, window, stride, padding):
    def native(x):
        # Of no use to the native gradient, which looks again; so x itself is what it needs kept.
        value = _native(x, window, stride, padding)
        return value, jnp.zeros(value.shape, jnp.int32)

    value, winner = lax.platform_dependent(x, cpu=lambda x: _largest(x, window, stride, padding), default=native)
    return value, (x, winner)


def _backward(window, stride, padding, kept, dy):
    like, winner = kept

    def shifted(dy, winner, x):
        # A condition that always holds. XLA would otherwise add the copies up inside the loops of all that reads the
        # gradient, again for each of them and not vectorised, which takes ten times as long.
        return lax.cond(winner.reshape(-1)[0] >= 0,
                        lambda dy, winner: _to_winners(dy, winner, x.shape, window, stride, padding),
                        lambda dy, winner: jnp.zeros(x.shape, x.dtype), dy, winner)

    def native(dy, winner, x):
        return jax.vjp(lambda x: _native(x, window, stride, padding), x)[1](dy)[0]

    return (lax.platform_dependent(dy, winner, like, cpu=shifted, default=native),)


_max_pool.defvjp(_forward, _backward)


def _native(x, window, stride, padding):
    around = [(0, 0), *padding, (0, 0)]
    return lax.reduce_window(x, -jnp.inf, lax.max, (1, *window, 1), (1, *stride, 1), around)


def _largest(x, window, stride, padding):
    """The largest values, and the number of the window's place that each is at."""
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


def _to_winners(dy, winner, shape, window, stride, padding):
    """Adds each gradient to the voxel that was the largest."""
    total = 0
    for number, place in enumerate(itertools.product(*map(range, window))):
        mine = jnp.where(winner == number, dy, 0)
        ends = []
        for n, p, s, count, (before, _) in zip(shape[1:-1], place, stride, dy.shape[1:-1], padding):
            first = p - before
            ends.append((first, n - first - (count - 1) * s - 1, s - 1))
        total += lax.pad(mine, jnp.zeros((), dy.dtype), [(0, 0, 0), *ends, (0, 0, 0)])
    return total
