"""RandAugment (Cubuk 2020) for 2D images of any intensity scale, compiled: N operations, all of magnitude M.

The strength of an operation that has a magnitude increases with it, in a random direction, from none at 0 to about that
of AutoAugment (Cubuk 2019) at 10. Intensities are changed on a scale where 0 is the lowest and 1 the highest value of
each channel of the image, and stay within this range, so that 8-bit grey, HU and z-scores are treated alike.

Deviations: the N operations of an image are distinct and applied in the table's order, the geometric ones first, as one
warp; gamma replaces colour, which grey images lack; autocontrast excludes a hundredth of the pixels at either end,
since the scale already spans the range of the values.
"""

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp

from medjax.ops import warp

DEGREES, SHEAR, SHIFT = 30.0, 0.3, 0.45  # at magnitude 10: the angle, the slope, and the fraction of the extent
FACTOR = 0.9  # brightness, contrast and sharpness are multiplied by 1 - this, or 1 + this
STEPS = 256  # grey levels of histograms and of solarising


def _brightness(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    return x * (1 + FACTOR * level * sign)


def _contrast(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    mean = x.mean((0, 1))
    return mean + (x - mean) * (1 + FACTOR * level * sign)


def _gamma(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    return jnp.exp(2.0 ** (level * sign) * jnp.log(x))


def _sharpness(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    """Moves pixels from, or towards, the mean of nine pixels, the middle one with weight five, as in Pillow."""
    padded = jnp.pad(x, ((1, 1), (1, 1), (0, 0)), 'edge')
    rows = padded[:-2] + padded[1:-1] + padded[2:]
    smooth = (rows[:, :-2] + rows[:, 1:-1] + rows[:, 2:] + 4 * x) / 13
    return smooth + (x - smooth) * (1 + FACTOR * level * sign)


def _posterise(x: jax.Array, level: float, sign: jax.Array) -> jax.Array:
    """Keeps all 8 bits at level 0 and 4 bits at level 1."""
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
    equalised = (below - lowest) / jnp.maximum(1 - lowest, 1e-7)
    return jnp.take_along_axis(equalised, step, 0).reshape(x.shape)


INTENSITIES: dict[str, Callable[[jax.Array, float, jax.Array], jax.Array]] = {
    'brightness': _brightness, 'contrast': _contrast, 'gamma': _gamma, 'sharpness': _sharpness,
    'posterise': _posterise, 'solarise': _solarise, 'autocontrast': _autocontrast, 'equalise': _equalise}
GEOMETRY = ('rotate', 'shear_rows', 'shear_columns', 'shift_rows', 'shift_columns')
OPERATIONS = ('identity', *GEOMETRY, *INTENSITIES)


def draw_operations(uniform: jax.Array, count: int) -> jax.Array:
    """Draws distinct operations for an image.

    Args:
      uniform: `[len(OPERATIONS), 2]` or wider, uniform in 0–1: the first column selects operations, the second gives
        their signs.
      count: of operations.

    Returns:
      Signs `[len(OPERATIONS)]` float32: -1 or 1 for operations that are drawn, 0 for the others.
    """
    _, first = jax.lax.top_k(uniform[:, 0], count)
    return jnp.zeros(len(OPERATIONS)).at[first].set(jnp.where(uniform[first, 1] < 0.5, -1.0, 1.0))


def has_geometry(signs: jax.Array) -> jax.Array:
    """Whether a geometric operation is drawn; `signs` is the result of `draw_operations`."""
    return (_signs_of(signs, *GEOMETRY) != 0).any()


def geometric_map(signs: jax.Array, magnitude: float) -> tuple[jax.Array, jax.Array]:
    """The geometric operations as one affine map.

    Args:
      signs: the result of `draw_operations`.
      magnitude: 0 to 10.

    Returns:
      A matrix `[2, 2]` and a shift `[2]`, in fractions of the extent, for `warp.sampling_positions`.
    """
    angle, rows, columns, *shift = _signs_of(signs, *GEOMETRY) * (magnitude / 10)
    row_shear, column_shear = warp.shear_matrix(SHEAR * rows[None]), warp.shear_matrix(SHEAR * columns[None])
    shear = jnp.matmul(row_shear, column_shear.T, precision=warp.HIGHEST)
    rotation = warp.rotation_matrix(jnp.deg2rad(DEGREES * angle[None]))
    matrix = jnp.matmul(rotation, shear, precision=warp.HIGHEST)
    return matrix, SHIFT * jnp.stack(shift)


def apply_intensities(image: jax.Array, signs: jax.Array, magnitude: float) -> jax.Array:
    """Applies the intensity operations.

    Args:
      image: `[*S, C]` with two spatial axes, float.
      signs: the result of `draw_operations`.
      magnitude: 0 to 10.

    Returns:
      As `image`; each channel stays within its range.
    """
    for name, change in INTENSITIES.items():
        sign = _signs_of(signs, name)[0]
        changed = functools.partial(_change_scaled, functools.partial(change, level=magnitude / 10, sign=sign))
        image = jax.lax.cond(sign != 0, changed, lambda x: x, image)
    return image


def _signs_of(signs: jax.Array, *names: str) -> jax.Array:
    return jnp.stack([signs[OPERATIONS.index(name)] for name in names])


def _change_scaled(change: Callable[[jax.Array], jax.Array], image: jax.Array) -> jax.Array:
    """Changes an image on the 0–1 scale of the range of each channel, and clips it to that range."""
    low, high = image.min((0, 1)), image.max((0, 1))
    fraction = jnp.clip((image - low) / jnp.maximum(high - low, 1e-30), 0, 1)
    return (low + jnp.clip(change(fraction), 0, 1) * (high - low)).astype(image.dtype)


def _cumulative(x: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The fraction of pixels up to each grey level, `[STEPS, C]`, and the grey level of each pixel, `[N, C]`."""
    step = jnp.clip(x * STEPS, 0, STEPS - 1).astype(jnp.int32).reshape(-1, x.shape[-1])
    counts = jnp.zeros((STEPS, x.shape[-1])).at[step, jnp.arange(x.shape[-1])].add(1.0)
    return jnp.cumsum(counts, 0) / len(step), step
