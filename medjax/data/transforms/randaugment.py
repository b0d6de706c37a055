"""RandAugment (Cubuk 2020) for 2D pictures of any scale of intensities, compiled: N operations, all of magnitude M.

An operation that has a magnitude gets stronger with it, by a random sign one way or the other, and does nothing at 0;
at 10 it is about as strong as in AutoAugment (Cubuk 2019). Intensities are changed on a scale on which 0 is the lowest
and 1 the highest value of the picture's own channel, and stay within them: 8-bit grey, HU and z-scores are alike.

Deviations: the N operations of a picture are different ones, and come in the table's order, those of geometry first, as
one warp; gamma is in the place of colour, which grey pictures have none of; autocontrast leaves out a hundredth of the
pixels at either end, since the scale already begins at the lowest and ends at the highest.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from medjax.ops import warp

DEGREES, SHEAR, SHIFT = 30.0, 0.3, 0.45  # at magnitude 10: the angle, the slope, and the share of the extent
FACTOR = 0.9  # brightness, contrast and sharpness are multiplied by 1 - this, or 1 + this
STEPS = 256  # of grey, in histograms and in what solarising counts


def _brightness(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    return x * (1 + FACTOR * level * sign)


def _contrast(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    mean = x.mean((0, 1))
    return mean + (x - mean) * (1 + FACTOR * level * sign)


def _gamma(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    return jnp.exp(2.0 ** (level * sign) * jnp.log(x))


def _sharpness(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    """Away from, or towards, the mean of nine pixels of which the middle one counts five times, as in Pillow."""
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), 'edge')
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    smooth = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * x) / 13
    return smooth + (x - smooth) * (1 + FACTOR * level * sign)


def _posterise(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    """Keeps 8 bits at level 0, which is all of them, and 4 at level 1."""
    bits = 8 - round(4 * level)
    return x if bits == 8 else jnp.floor(jnp.minimum(x * 2**bits, 2**bits - 1)) / (2**bits - 1)


def _solarise(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    return jnp.where(x >= (1 - level) * STEPS / (STEPS - 1), 1 - x, x)


def _autocontrast(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    below, _ = _cumulative(x)
    low, high = (below < 0.01).sum(0) / STEPS, ((below < 0.99).sum(0) + 1) / STEPS
    return (x - low) / (high - low)


def _equalise(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    below, step = _cumulative(x)
    lowest = below[0]
    flat = (below - lowest) / jnp.maximum(1 - lowest, 1e-7)
    return jnp.take_along_axis(flat, step, 0).reshape(x.shape)


INTENSITIES: dict[str, Callable[[jax.Array, float, jax.Array], jax.Array]] = {
    'brightness': _brightness, 'contrast': _contrast, 'gamma': _gamma, 'sharpness': _sharpness,
    'posterise': _posterise, 'solarise': _solarise, 'autocontrast': _autocontrast, 'equalise': _equalise}
GEOMETRY = ('rotate', 'shear_rows', 'shear_columns', 'shift_rows', 'shift_columns')
OPERATIONS = ('identity', *GEOMETRY, *INTENSITIES)


def chosen(uniform: jax.Array, count: int) -> jax.Array:
    """Draws a picture's operations, all different.

    Args:
      uniform: `[len(OPERATIONS), 2]` or wider, uniform in 0–1: the first column decides which, the second the signs.
      count: of operations.

    Returns:
      `[len(OPERATIONS)]` float32: 0 for what is not drawn, else the sign, -1 or 1.
    """
    _, first = jax.lax.top_k(uniform[:, 0], count)
    return jnp.zeros(len(OPERATIONS)).at[first].set(jnp.where(uniform[first, 1] < 0.5, -1.0, 1.0))


def moves(signs: jax.Array) -> jax.Array:
    """Whether any of the operations drawn is one of geometry; `signs` as `chosen` gives them."""
    return (_of(signs, *GEOMETRY) != 0).any()


def geometry(signs: jax.Array, magnitude: float) -> tuple[jax.Array, jax.Array]:
    """The operations of geometry as one map.

    Args:
      signs: as `chosen` gives them.
      magnitude: 0 to 10.

    Returns:
      A matrix `[2, 2]` and a shift `[2]`, in shares of the extent, for `warp.positions`.
    """
    turn, rows, columns, *shift = _of(signs, *GEOMETRY) * (magnitude / 10)
    slide = jnp.matmul(warp.shear(SHEAR * rows[None]), warp.shear(SHEAR * columns[None]).T, precision=warp.HIGHEST)
    matrix = jnp.matmul(warp.rotation(jnp.deg2rad(DEGREES * turn[None])), slide, precision=warp.HIGHEST)
    return matrix, SHIFT * jnp.stack(shift)


def intensities(image: jax.Array, signs: jax.Array, magnitude: float) -> jax.Array:
    """Applies the operations on intensities.

    Args:
      image: `[*S, C]` with two spatial axes, float.
      signs: as `chosen` gives them.
      magnitude: 0 to 10.

    Returns:
      As `image`; each channel within the range it had.
    """
    for name, change in INTENSITIES.items():
        sign = _of(signs, name)[0]
        scaled = functools.partial(_scaled, functools.partial(change, level=magnitude / 10, sign=sign))
        image = jax.lax.cond(sign != 0, scaled, lambda x: x, image)
    return image


def _of(signs: jax.Array, *names: str) -> jax.Array:
    return jnp.stack([signs[OPERATIONS.index(name)] for name in names])


def _scaled(change: Callable[[jax.Array], jax.Array], image: jax.Array) -> jax.Array:
    """Changes an image on the scale of its own channels' range, and keeps it in there."""
    low, high = image.min((0, 1)), image.max((0, 1))
    share = jnp.clip((image - low) / jnp.maximum(high - low, 1e-30), 0, 1)
    return (low + jnp.clip(change(share), 0, 1) * (high - low)).astype(image.dtype)


def _cumulative(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The share of pixels in each step of grey or below it, `[STEPS, C]`, and each pixel's step, `[N, C]`."""
    step = jnp.clip(x * STEPS, 0, STEPS - 1).astype(jnp.int32).reshape(-1, x.shape[-1])
    counts = jnp.zeros((STEPS, x.shape[-1])).at[step, jnp.arange(x.shape[-1])].add(1.0)
    return jnp.cumsum(counts, 0) / len(step), step
