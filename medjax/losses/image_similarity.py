"""How alike two images are that should show the same: each a loss, one number per example, lower is better.

`(fixed [B, *S, C], moved [B, *S, C]) -> [B]` float32, with gradients by both. An image without contrast has no
correlation and no information: that is a value, never NaN.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp

from medjax.errors import InputError

FAINT = 1e-3  # of an image's variance: windows that vary less are as if they did not
TINY = 1e-7  # its square is a number still
LEAST = 1e-10
SMOOTH = 1e-5


def squared(fixed: jax.Array, moved: jax.Array) -> jax.Array:
    """The mean squared difference: for images of one contrast."""
    return ((fixed.astype(jnp.float32) - moved)**2).reshape(len(fixed), -1).mean(1)


def _boxes(x: jax.Array, width: int) -> jax.Array:
    """Sums over cubes of `width` about each voxel of `[N, *S]`, of what is in the image."""
    reach = width // 2
    for axis in range(1, x.ndim):
        wide = jnp.pad(x, [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)])
        x = sum(jax.lax.slice_in_dim(wide, k, k + x.shape[axis], axis=axis) for k in range(width))
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _windowed(x: jax.Array, width: int) -> jax.Array:
    """Means over cubes of `width` about each voxel of `[N, *S]`, of those of their voxels that are in the image."""
    return _boxes(x, width) / _counts(x.shape[1:], width)


def _counts(shape: Sequence[int], width: int) -> jax.Array:
    """How many voxels of a cube about each voxel are in the image, `[*S]`."""
    out, reach = jnp.ones(()), width // 2
    for size in shape:
        place = jnp.arange(size)
        along = jnp.minimum(place, reach) + jnp.minimum(size - 1 - place, reach) + 1
        out = out[..., None] * along.astype(jnp.float32)
    return out


def _forth(x: jax.Array, width: int) -> tuple[jax.Array, None]:
    return _windowed(x, width), None


def _back(width: int, _: None, slope: jax.Array) -> tuple[jax.Array]:
    """Sums over cubes are their own transpose; XLA's gradient of them takes seven times as long."""
    return (_boxes(slope / _counts(slope.shape[1:], width), width),)


_windowed.defvjp(_forth, _back)


def local_correlation(fixed: jax.Array, moved: jax.Array, *, window: int = 9) -> jax.Array:
    """1 - the mean squared correlation in windows (Avants 2008, Balakrishnan 2019): for contrasts that change slowly.

    Windows where the fixed image does not vary, as outside of the patient, do not count; where the moved image alone
    does not, the correlation is 0, and of a fixed image without contrast altogether the loss is 1. Brighter, darker,
    inverted and stretched images have the same loss.

    Args:
      fixed: `[B, *S, C]`.
      moved: `[B, *S, C]`.
      window: voxels along each axis, an odd number.
    """
    axes = tuple(range(1, fixed.ndim - 1))

    def planes(x: jax.Array) -> jax.Array:
        """Each channel as an image `[B * C, *S]`, less its mean: products of what is left lose no digits."""
        x = jnp.moveaxis(x.astype(jnp.float32), -1, 1).reshape(-1, *x.shape[1:-1])
        return x - x.mean(axes, keepdims=True)

    f, m = planes(fixed), planes(moved)
    # All that hangs on the moved image in one: only that has a gradient, as a rule.
    mean_f, ff = jnp.split(_windowed(jnp.concatenate([f, f * f]), window), 2)
    mean_m, mm, fm = jnp.split(_windowed(jnp.concatenate([m, m * m, f * m]), window), 3)
    of_f, of_m, both = jnp.maximum(ff - mean_f**2, 0), jnp.maximum(mm - mean_m**2, 0), fm - mean_f * mean_m
    least_f, least_m = (FAINT * (x * x).mean(axes, keepdims=True) for x in (f, m))
    ratio = both**2 / ((of_f + least_f + TINY) * (of_m + least_m + TINY))
    counted = jax.lax.stop_gradient((of_f > least_f + TINY).astype(jnp.float32))
    sums = [x.reshape(len(fixed), -1).sum(1) for x in (ratio * counted, counted)]
    return 1 - sums[0] / jnp.maximum(sums[1], 1)


def mutual_information(fixed: jax.Array, moved: jax.Array, *, bins: int = 32) -> jax.Array:
    """Minus the mutual information, nats: for images whose contrasts have nothing to do with each other.

    Of a soft histogram: each intensity falls into the bins about it by a cubic B-spline (Mattes 2003), bins of equal
    width from an image's least intensity to its largest.

    Args:
      fixed: `[B, *S, C]`; of several channels the mean.
      moved: `[B, *S, C]`.
      bins: of each image.
    """
    def shares(x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32).mean(-1).reshape(len(x), -1)
        low, high = (jax.lax.stop_gradient(end(1, keepdims=True)) for end in (x.min, x.max))
        # The outermost bins are half a spline's width beyond the intensities, so that each has its whole spline.
        place = 1 + (x - low) / jnp.maximum(high - low, LEAST) * (bins - 3)
        return _spline(place[..., None] - jnp.arange(bins))

    joint = jnp.einsum('bni,bnj->bij', shares(fixed), shares(moved)) / fixed[0, ..., 0].size
    apart = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    return -(joint * (jnp.log(joint + LEAST) - jnp.log(apart + LEAST))).sum((1, 2))


def _spline(x: jax.Array) -> jax.Array:
    """The cubic B-spline, whose translates by whole numbers sum to 1."""
    x = jnp.abs(x)
    return jnp.where(x < 1, 2 / 3 - x**2 + x**3 / 2, jnp.maximum(2 - x, 0)**3 / 6)


def label_overlap(fixed: jax.Array, moved: jax.Array) -> jax.Array:
    """1 - soft Dice of labels, a mean over the classes that the fixed one has; 0 where it has none.

    Args:
      fixed: `[B, *S, K]`, the classes that count, 0 or 1 each.
      moved: `[B, *S, K]`, 0 to 1.
    """
    axes = tuple(range(1, fixed.ndim - 1))
    there = fixed.sum(axes)
    dice = (2 * (fixed * moved).sum(axes) + SMOOTH) / (there + moved.sum(axes) + SMOOTH)
    known = (there > 0).astype(jnp.float32)
    return ((1 - dice) * known).sum(-1) / jnp.maximum(known.sum(-1), 1)


MEASURES: dict[str, Callable[..., jax.Array]] = {
    'ncc': local_correlation, 'mse': squared, 'mi': mutual_information}


def measure(section: Mapping[str, Any], where: str = 'config.task.similarity') -> Callable[..., jax.Array]:
    """A loss by its `name` ('ncc', 'mse' or 'mi') and options.

    Raises:
      InputError: another name; an option that nothing reads; a window that is not odd, or too few bins.
    """
    options = dict(section)
    name = options.pop('name', None)
    if name not in MEASURES:
        raise InputError(f'{where}.name: {name!r}; expected one of: {", ".join(MEASURES)}')
    known: Sequence[str] = list(inspect.signature(MEASURES[name]).parameters)[2:]
    for key in options:
        if key not in known:
            raise InputError(f'{where}.{key}: nothing reads this key; {name} takes: {", ".join(known) or "nothing"}')
    window, bins = options.get('window', 9), options.get('bins', 32)
    if not isinstance(window, int) or window < 3 or not window % 2:
        raise InputError(f'{where}.window: {window}; expected an odd number of 3 or more')
    if not isinstance(bins, int) or not 5 <= bins <= 256:
        raise InputError(f'{where}.bins: {bins}; expected 5 to 256')
    return lambda fixed, moved: MEASURES[name](fixed, moved, **options)
