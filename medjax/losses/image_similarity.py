"""Dissimilarity of images for registration: losses with one number per example, lower is better.

`(fixed [B, *S, C], moved [B, *S, C]) -> [B]` float32, differentiable with respect to both. For an image without
contrast, correlation and mutual information are defined as 0 and never NaN.
"""

import functools
import inspect
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import jax
import jax.numpy as jnp

from medjax.errors import InputError
from medjax.options import Range, check_all

MIN_RELATIVE_VARIANCE = 1e-3  # of an image's variance; windows with less are treated as constant
MIN_VARIANCE = 1e-7  # its square is still representable
MIN_VALUE = 1e-10
SMOOTH = 1e-5


def mean_squared_error(fixed: jax.Array, moved: jax.Array) -> jax.Array:
    """The mean squared difference, for images of the same contrast."""
    return ((fixed.astype(jnp.float32) - moved)**2).reshape(len(fixed), -1).mean(1)


def _window_sums(x: jax.Array, width: int) -> jax.Array:
    """Sums over cubes of `width` around each voxel of `[N, *S]`, with zeros outside of the image."""
    reach = width // 2
    for axis in range(1, x.ndim):
        wide = jnp.pad(x, [(reach, reach) if a == axis else (0, 0) for a in range(x.ndim)])
        x = sum(jax.lax.slice_in_dim(wide, k, k + x.shape[axis], axis=axis) for k in range(width))
    return x


@functools.partial(jax.custom_vjp, nondiff_argnums=(1,))
def _window_means(x: jax.Array, width: int) -> jax.Array:
    """Means over cubes of `width` around each voxel of `[N, *S]`, restricted to the image."""
    return _window_sums(x, width) / _window_counts(x.shape[1:], width)


def _window_counts(shape: Sequence[int], width: int) -> jax.Array:
    """The number of voxels inside the image in a cube around each voxel, `[*S]`."""
    out, reach = jnp.ones(()), width // 2
    for size in shape:
        place = jnp.arange(size)
        along = jnp.minimum(place, reach) + jnp.minimum(size - 1 - place, reach) + 1
        out = out[..., None] * along.astype(jnp.float32)
    return out


def _forward(x: jax.Array, width: int) -> tuple[jax.Array, None]:
    return _window_means(x, width), None


def _backward(width: int, _: None, gradient: jax.Array) -> tuple[jax.Array]:
    """The transpose of a sum over windows is the same sum; XLA's gradient takes seven times as long."""
    return (_window_sums(gradient / _window_counts(gradient.shape[1:], width), width),)


_window_means.defvjp(_forward, _backward)


def local_correlation(fixed: jax.Array, moved: jax.Array, *, window: Annotated[int, Range(low=3)] = 9) -> jax.Array:
    """1 - the mean squared local normalised cross-correlation (LNCC; Avants 2008, Balakrishnan 2019).

    It suits images whose contrasts differ by slowly varying intensities, and is invariant to affine transforms of the
    intensities, including inversion. Windows where the fixed image is constant, such as the background, are excluded.
    Where only the moved image is constant, the correlation is 0. For a constant fixed image the loss is 1.

    Args:
      fixed: `[B, *S, C]`.
      moved: `[B, *S, C]`.
      window: extent of a window along each axis in voxels, odd.

    Returns:
      `[B]` float32, from 0 to 1.
    """
    axes = tuple(range(1, fixed.ndim - 1))

    def centred_channels(x: jax.Array) -> jax.Array:
        """Each channel as an image `[B * C, *S]` minus its mean, so that products keep their precision."""
        x = jnp.moveaxis(x.astype(jnp.float32), -1, 1).reshape(-1, *x.shape[1:-1])
        return x - x.mean(axes, keepdims=True)

    f, m = centred_channels(fixed), centred_channels(moved)
    # The terms of the moved image are computed together: usually only they need a gradient.
    mean_f, ff = jnp.split(_window_means(jnp.concatenate([f, f * f]), window), 2)
    mean_m, mm, fm = jnp.split(_window_means(jnp.concatenate([m, m * m, f * m]), window), 3)
    var_f, var_m = jnp.maximum(ff - mean_f**2, 0), jnp.maximum(mm - mean_m**2, 0)
    covariance = fm - mean_f * mean_m
    min_f, min_m = (MIN_RELATIVE_VARIANCE * (x * x).mean(axes, keepdims=True) for x in (f, m))
    squared = covariance**2 / ((var_f + min_f + MIN_VARIANCE) * (var_m + min_m + MIN_VARIANCE))
    included = jax.lax.stop_gradient((var_f > min_f + MIN_VARIANCE).astype(jnp.float32))
    sums = [x.reshape(len(fixed), -1).sum(1) for x in (squared * included, included)]
    return 1 - sums[0] / jnp.maximum(sums[1], 1)


def mutual_information(fixed: jax.Array, moved: jax.Array, *,
                       bins: Annotated[int, Range(low=5, high=256)] = 32) -> jax.Array:
    """Minus the mutual information in nats, for images of different contrasts.

    It is computed from a soft joint histogram with cubic B-spline windows (Mattes 2003). Bins have equal width from the
    minimum to the maximum of each image.

    Args:
      fixed: `[B, *S, C]`; channels are averaged.
      moved: `[B, *S, C]`.
      bins: number of bins for each image.

    Returns:
      `[B]` float32.
    """
    def bin_weights(x: jax.Array) -> jax.Array:
        x = x.astype(jnp.float32).mean(-1).reshape(len(x), -1)
        low, high = (jax.lax.stop_gradient(end(1, keepdims=True)) for end in (x.min, x.max))
        # One extra bin at each end holds the tails of the splines, so that the weights of a voxel sum to 1.
        place = 1 + (x - low) / jnp.maximum(high - low, MIN_VALUE) * (bins - 3)
        return _cubic_spline(place[..., None] - jnp.arange(bins, dtype=jnp.float32))

    joint = jnp.einsum('bni,bnj->bij', bin_weights(fixed), bin_weights(moved)) / fixed[0, ..., 0].size
    independent = joint.sum(2, keepdims=True) * joint.sum(1, keepdims=True)
    return -(joint * (jnp.log(joint + MIN_VALUE) - jnp.log(independent + MIN_VALUE))).sum((1, 2))


def _cubic_spline(x: jax.Array) -> jax.Array:
    """The cubic B-spline, whose integer translates sum to 1."""
    x = jnp.abs(x)
    return jnp.where(x < 1, 2 / 3 - x**2 + x**3 / 2, jnp.maximum(2 - x, 0)**3 / 6)


def label_overlap(fixed: jax.Array, moved: jax.Array) -> jax.Array:
    """1 - soft Dice of label maps, averaged over the classes that occur in the fixed one; 0 if none occurs.

    Args:
      fixed: `[B, *S, K]`, one-hot labels of the foreground classes.
      moved: `[B, *S, K]`, from 0 to 1.

    Returns:
      `[B]` float32.
    """
    axes = tuple(range(1, fixed.ndim - 1))
    size = fixed.sum(axes)
    dice = (2 * (fixed * moved).sum(axes) + SMOOTH) / (size + moved.sum(axes) + SMOOTH)
    present = (size > 0).astype(jnp.float32)
    return ((1 - dice) * present).sum(-1) / jnp.maximum(present.sum(-1), 1)


DISSIMILARITIES: dict[str, Callable[..., jax.Array]] = {
    'ncc': local_correlation, 'mse': mean_squared_error, 'mi': mutual_information}


def make_dissimilarity(section: Mapping[str, Any], where: str = 'config.task.similarity') -> Callable[..., jax.Array]:
    """Returns the loss that a config section specifies by its `name` ('ncc', 'mse' or 'mi') and options.

    Args:
      section: the name and keyword arguments of the loss.
      where: the section's key, for messages.

    Returns:
      `(fixed, moved) -> [B]`.

    Raises:
      InputError: an unknown name or option, a window that is not odd, or an invalid number of bins.
    """
    options = dict(section)
    name = options.pop('name', None)
    if name not in DISSIMILARITIES:
        raise InputError(f'{where}.name: {name!r}; expected one of: {", ".join(DISSIMILARITIES)}')
    known: Sequence[str] = list(inspect.signature(DISSIMILARITIES[name]).parameters)[2:]
    for key in options:
        if key not in known:
            raise InputError(f'{where}.{key}: unknown key; {name} takes: {", ".join(known) or "no key"}')
    check_all(DISSIMILARITIES[name], options, where)
    if not options.get('window', 9) % 2:
        raise InputError(f"{where}.window: {options['window']}; expected an odd number")
    return functools.partial(DISSIMILARITIES[name], **options)
