"""Spatial transforms of one sample: flips, and a warp of rotation, zoom, shear, shift and elastic deformation."""

from collections.abc import Sequence
from typing import Any, Protocol

import jax
import jax.numpy as jnp

from medjax.data.transforms import boxes as transforms_boxes
from medjax.data.transforms import randaugment
from medjax.data.transforms.draws import WARPS, Draws
from medjax.ops import warp

# Entries of a batch, and their masks.
BOXES = {'boxes': 'box_mask', 'proposals': 'proposal_mask', 'ignored_boxes': 'ignored_mask'}

Arrays = dict[str, jax.Array]


class WarpOptions(Protocol):
    """The options of `augment.Recipe` that the warp reads."""

    rotate: float
    degrees: float | None
    zoom: float
    zoom_range: tuple[float, float]
    zoom_per_axis: bool
    shear: float
    shear_range: float
    shift: float
    shift_range: float
    elastic: float
    elastic_mm: float
    fill: str
    randaugment_magnitude: float


def random_warp(options: WarpOptions, arrays: Arrays, spacing: jax.Array, draws: Draws,
                signs: jax.Array | None) -> Arrays:
    """Applies the composed warp to a sample, where at least one of its parts is drawn; traceable.

    Args:
      options: probabilities and ranges.
      arrays: `image [*S, C]` and, where present, `label [*S]`, `target [*S, T]` and `BOXES` with masks.
      spacing: `[len(S)]`, mm.
      draws: the sample's.
      signs: of RandAugment's operations, None without a policy.

    Returns:
      As `arrays`.
    """
    drawn = jnp.stack([draws.occurs(name, getattr(options, name)) for name in WARPS])
    any_drawn = drawn.any()
    if signs is not None:
        any_drawn = any_drawn | randaugment.has_geometry(signs)

    def warped(arrays: Arrays) -> Arrays:
        shape = draws.shape
        matrix, shift = _affine(options, spacing, drawn, signs, draws)
        field = _displacement(options, shift, drawn, draws)
        positions = warp.sampling_positions(shape, spacing, matrix, field)
        boxed = [name for name in BOXES if name in arrays]
        fill = options.fill or ('nearest' if boxed else 'mirror')
        out = dict(arrays)
        for name in ('image', 'target'):
            if name in arrays:
                out[name] = warp.sample(arrays[name], positions, 'linear', fill)
        if 'label' in arrays:
            out['label'] = warp.sample(arrays['label'][..., None], positions, 'nearest', fill)[..., 0]
        for name in boxed:
            out[name], out[BOXES[name]] = transforms_boxes.warp_boxes(
                arrays[name], arrays[BOXES[name]], shape, spacing, matrix,
                jnp.zeros(len(shape)) if shift is None else shift,
                0.0 if name == 'ignored_boxes' else transforms_boxes.MIN_INSIDE)
        return out

    return jax.lax.cond(any_drawn, warped, unchanged, arrays)


def _affine(options: WarpOptions, spacing: jax.Array, drawn: jax.Array, signs: jax.Array | None,
            draws: Draws) -> tuple[jax.Array, jax.Array | None]:
    """The composed warp's matrix, and its shift in mm, None for none; see `warp.sampling_positions`.

    `drawn` says which of `WARPS` the warp is composed of.
    """
    shape, inplane = draws.shape, draws.inplane
    dims, planar = len(shape), len(shape) == 2 or len(inplane) == 2
    rotated, zoomed, sheared, shifted, _ = drawn
    limit = _largest_angle(options.degrees, planar, [shape[axis] for axis in inplane])
    angles = draws.uniform('rotate', -limit, limit, 1 if planar else 3)
    angles = jnp.where(rotated, jnp.deg2rad(angles), 0.0)
    matrix = warp.rotation_matrix(angles)
    if options.shear:
        slants = jnp.deg2rad(draws.uniform('shear', -options.shear_range, options.shear_range, len(angles)))
        shear = warp.shear_matrix(jnp.where(sheared, jnp.tan(slants), 0.0))
        matrix = jnp.matmul(matrix, shear, precision=warp.HIGHEST)
    zoom = draws.uniform('zoom', *options.zoom_range, len(matrix) if options.zoom_per_axis else 0)
    matrix = matrix / jnp.where(zoomed, zoom, 1.0)
    if dims == 3 and planar:
        # Rotated and zoomed in its plane only: slices are not mixed.
        matrix = jnp.eye(3).at[jnp.ix_(jnp.array(inplane), jnp.array(inplane))].set(matrix)
    shift = jnp.zeros(dims)
    if options.shift:
        shift = jnp.where(shifted, draws.uniform('shift', -options.shift_range, options.shift_range, dims), 0.0)
    if signs is not None:
        policy_matrix, policy_shift = randaugment.geometric_map(signs, options.randaugment_magnitude)
        matrix, shift = jnp.matmul(matrix, policy_matrix, precision=warp.HIGHEST), shift + policy_shift
    if not options.shift and signs is None:
        return matrix, None
    return matrix, shift * jnp.array(shape, jnp.float32) * spacing * _indicator(inplane, dims)


def _largest_angle(degrees: float | None, planar: bool, extents: Sequence[int]) -> float:
    """The largest rotation angle, in degrees; see `augment.Recipe.degrees`."""
    if degrees is not None:
        return degrees
    if not planar:
        return 30.0
    return 15.0 if max(extents) / min(extents) > 1.5 else 180.0


def _displacement(options: WarpOptions, shift: jax.Array | None, drawn: jax.Array, draws: Draws) -> jax.Array | None:
    """The composed warp's displacement at each voxel, mm, broadcastable to `[D, *S]`; None where there is none."""
    shape = draws.shape
    ones = [1] * len(shape)
    field = None if shift is None else shift.reshape(-1, *ones)
    if options.elastic:
        occurs = drawn[WARPS.index('elastic')]
        deviation = jnp.where(occurs, draws.uniform('elastic', 0, options.elastic_mm), 0.0)
        inplane = _indicator(draws.inplane, len(shape)).reshape(-1, *ones)
        elastic = deviation * inplane * warp.elastic_displacement(draws.named_key('elastic field'), shape)
        field = elastic if field is None else field + elastic
    return field


def flip(axis: int, arrays: Arrays) -> Arrays:
    """A sample mirrored along an axis; `arrays` as for `random_warp`."""
    out = dict(arrays)
    for name, mask in BOXES.items():
        if name in arrays:
            extent = arrays['image'].shape[axis]
            out[name] = transforms_boxes.mirror_boxes(arrays[name], arrays[mask], axis, extent)
    for name in ('image', 'label', 'target'):
        if name in arrays:
            out[name] = jnp.flip(arrays[name], axis)
    return out


def unchanged(x: Any) -> Any:
    """Its argument: the branch of `jax.lax.cond` for a transform that is not drawn."""
    return x


def _indicator(axes: Sequence[int], dims: int) -> jax.Array:
    """1 for some axes, 0 for the others, `[dims]`."""
    return jnp.array([float(axis in axes) for axis in range(dims)])
