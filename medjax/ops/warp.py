"""Geometric transforms of images on the device: affine and elastic maps, composed and applied in one interpolation.

A transform is given by sampling positions: for each voxel of the output, the position in the input to read. Positions
are in voxels, with voxel centres at integers. Rotations are computed in mm, so they remain rotations for anisotropic
voxels.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

# Sums and products are written out or use the highest precision: bfloat16, the default on TPU, would displace voxels.
HIGHEST = jax.lax.Precision.HIGHEST


def rotation_matrix(angles: jax.Array) -> jax.Array:
    """A rotation matrix.

    Args:
      angles: radians; `[1]` in 2D, or `[3]` for rotations about the first, second and third axis, in this order.

    Returns:
      `[2, 2]` or `[3, 3]` float32.
    """
    cos, sin = jnp.cos(angles), jnp.sin(angles)
    if angles.shape[0] == 1:
        return jnp.stack([jnp.stack([cos[0], -sin[0]]), jnp.stack([sin[0], cos[0]])])
    matrix = jnp.eye(3)
    for axis, (a, b) in enumerate(((1, 2), (0, 2), (0, 1))):
        turn = jnp.eye(3).at[a, a].set(cos[axis]).at[b, b].set(cos[axis])
        sign = -1 if axis == 1 else 1  # the right-hand rule about the second axis
        turn = turn.at[a, b].set(-sign * sin[axis]).at[b, a].set(sign * sin[axis])
        matrix = jnp.matmul(turn, matrix, precision=HIGHEST)
    return matrix


def shear_matrix(factors: jax.Array) -> jax.Array:
    """A shear matrix, which preserves volume.

    Args:
      factors: tangents of the angles; `[1]` in 2D, where the first coordinate changes by this times the second, or
        `[3]`: first by second, first by third, and second by third coordinate.

    Returns:
      `[2, 2]` or `[3, 3]` float32, upper triangular with ones on the diagonal.
    """
    if factors.shape[0] == 1:
        return jnp.eye(2).at[0, 1].set(factors[0])
    return jnp.eye(3).at[(0, 0, 1), (1, 2, 2)].set(factors)


def elastic_displacement(key: jax.Array, shape: Sequence[int], control_spacing: int = 32) -> jax.Array:
    """A smooth random displacement field: standard normal at control points, with cubic interpolation between them.

    Args:
      key: PRNG key.
      shape: shape of the image, `*S`.
      control_spacing: voxels between control points; an axis has at least three (Ronneberger 2015).

    Returns:
      `[len(S), *S]` float32.
    """
    points = tuple(max(3, round(n / control_spacing) + 1) if n > 1 else 1 for n in shape)
    control = jax.random.normal(key, (len(shape) * math.prod(points),)).reshape(len(shape), *points)
    return jax.image.resize(control, (len(shape), *shape), 'cubic', precision=HIGHEST)


def sampling_positions(shape: Sequence[int], spacing: jax.Array, matrix: jax.Array,
                       displacement: jax.Array | None = None) -> jax.Array:
    """Sampling positions of a linear map about the image's centre, in mm, plus a displacement.

    Args:
      shape: `*S`, of input and output.
      spacing: `[D]`, voxel size in mm.
      matrix: `[D, D]`, maps output to input coordinates: the image rotates in the opposite direction, and a factor
        above 1 shrinks it.
      displacement: `[D, *S]`, or an array that broadcasts to it, in mm; or None.

    Returns:
      `[D, *S]` float32, in voxels of the input.
    """
    centre = [(n - 1) / 2 for n in shape]
    axes = [((jnp.arange(n, dtype=jnp.float32) - c) * spacing[a]).reshape(
        [-1 if b == a else 1 for b in range(len(shape))]) for a, (n, c) in enumerate(zip(shape, centre))]
    out = []
    for a, c in enumerate(centre):
        place = sum(matrix[a, b] * axis for b, axis in enumerate(axes))
        place = place if displacement is None else place + displacement[a]
        out.append(jnp.broadcast_to(place / spacing[a] + c, tuple(shape)))
    return jnp.stack(out)


def sample(image: jax.Array, positions: jax.Array, kind: Literal['linear', 'nearest'],
           fill: Literal['mirror', 'nearest'] = 'mirror') -> jax.Array:
    """Interpolates an image at sampling positions.

    Args:
      image: `[*S, C]`.
      positions: `[D, *S']` in voxels.
      kind: interpolation: 'linear' for intensities, 'nearest' for labels.
      fill: values outside of the image: 'mirror' reflects about the centres of the outermost voxels, 'nearest' repeats
        the outermost voxels.

    Returns:
      `[*S', C]` of the dtype of the image.
    """
    shape, channels = image.shape[:-1], image.shape[-1]
    flat, pair = image.reshape(-1), 1 if kind == 'nearest' or shape[-1] == 1 else 2

    def voxels(positions: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """The index of the nearest or lowest voxel, and the weights of its upper neighbours along each axis."""
        axes = [_mirror(w, n) if fill == 'mirror' else jnp.clip(w, 0, n - 1) for w, n in zip(positions, shape)]
        if kind == 'nearest':
            return _flat_index([jnp.round(w).astype(jnp.int32) for w in axes], shape), []
        low = [jnp.clip(jnp.floor(w).astype(jnp.int32), 0, max(n - 2, 0)) for w, n in zip(axes, shape)]
        return _flat_index(low, shape), [(w - i.astype(w.dtype))[..., None] for w, i in zip(axes, low)]

    def read(index: jax.Array) -> jax.Array:
        """`pair` neighbouring voxels along the last axis, in one read."""
        return read_contiguous(flat, index * channels, pair * channels)

    # The condition holds unless positions are NaN. It stops XLA on CPU from computing indices inside the loop that
    # reads voxels, which would then not be vectorised and take three to six times as long.
    finite = jnp.isfinite(positions.reshape(-1)[0])
    zeros = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(voxels, positions))
    index, weights = jax.lax.cond(finite, voxels, lambda _: zeros, positions)
    if kind == 'nearest':
        return read(index)

    def blend(axis: int, index: jax.Array) -> jax.Array:
        """Linear interpolation along this and all later axes."""
        if axis == len(shape) - 1:
            both = read(index)
            lower, upper = both[..., :channels], both[..., channels:]
        else:
            lower = blend(axis + 1, index)
            upper = blend(axis + 1, index + math.prod(shape[axis + 1:])) if shape[axis] > 1 else lower
        return lower + (upper - lower) * weights[axis] if shape[axis] > 1 else lower

    return jnp.where(finite, blend(0, index), jnp.nan).astype(image.dtype)


def read_contiguous(flat: jax.Array, first: jax.Array, count: int) -> jax.Array:
    """Reads `count` consecutive numbers from each index in `first`, without bounds checks.

    Args:
      flat: `[N]`.
      first: `[…]` integer.
      count: how many numbers to read.

    Returns:
      `[…, count]`.
    """
    numbers = jax.lax.GatherDimensionNumbers((first.ndim,), (), (0,))
    return jax.lax.gather(flat, first.astype(jnp.uint32)[..., None], numbers, (count,), mode='promise_in_bounds')


def _mirror(position: jax.Array, size: int) -> jax.Array:
    """Reflects positions into the image along an axis."""
    if size == 1:
        return jnp.zeros_like(position)
    last = size - 1
    distance = jnp.abs(position)
    distance = distance - 2 * last * jnp.floor(distance / (2 * last))  # `mod` is not vectorised on CPU: 10 times slower
    # Clip NaN and rounding errors: there are no bounds checks after this.
    return jnp.clip(jnp.minimum(distance, 2 * last - distance), 0, last)


def _flat_index(voxel: Sequence[jax.Array], shape: Sequence[int]) -> jax.Array:
    index = jnp.zeros((), jnp.int32)
    for i, n in zip(voxel, shape):
        index = index * n + i
    return index
