"""Geometric transforms of images on the device: affine and elastic maps composed, so that voxels are read once.

A map says, for each voxel of the output, where in the input it is read from. Positions count voxels, whose centres are
whole numbers, and rotations are in mm: on voxels that are no cubes they stay rotations.
"""

import math
from collections.abc import Sequence
from typing import Literal

import jax
import jax.numpy as jnp

# Sums and products written out, or at the highest precision: a TPU's default, bfloat16, would misplace voxels.
HIGHEST = jax.lax.Precision.HIGHEST


def rotation(angles: jax.Array) -> jax.Array:
    """A rotation matrix.

    Args:
      angles: radians; `[1]` in the plane, or `[3]` about the first, the second, and the third axis, in this order.

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


def shear(factors: jax.Array) -> jax.Array:
    """A shear's matrix: planes slide along the axes before theirs, and no volume changes.

    Args:
      factors: tangents of the angles; `[1]` in the plane, where the first coordinate grows by this times the second,
        or `[3]`: the first by the second, the first by the third, and the second by the third.

    Returns:
      `[2, 2]` or `[3, 3]` float32, triangular with ones on its diagonal.
    """
    if factors.shape[0] == 1:
        return jnp.eye(2).at[0, 1].set(factors[0])
    return jnp.eye(3).at[(0, 0, 1), (1, 2, 2)].set(factors)


def elastic(key: jax.Array, shape: Sequence[int], every: int = 32) -> jax.Array:
    """A smooth random displacement field, normal with deviation 1 at control points and cubic between them.

    Args:
      key: of the draw.
      shape: of the image, `*S`.
      every: voxels from a control point to the next; an axis has three at least (Ronneberger 2015).

    Returns:
      `[len(S), *S]` float32.
    """
    points = tuple(max(3, round(n / every) + 1) if n > 1 else 1 for n in shape)
    control = jax.random.normal(key, (len(shape) * math.prod(points),)).reshape(len(shape), *points)
    return jax.image.resize(control, (len(shape), *shape), 'cubic', precision=HIGHEST)


def positions(shape: Sequence[int], spacing: jax.Array, matrix: jax.Array,
              displacement: jax.Array | None = None) -> jax.Array:
    """Where each voxel is read from: about the image's centre in mm, `matrix` times its place, plus displacement.

    Args:
      shape: `*S`, of input and output.
      spacing: `[D]`, mm along each axis.
      matrix: `[D, D]`; a rotation turns the picture the other way, a factor above 1 shrinks it.
      displacement: `[D, *S]`, or what is broadcast to it, in mm; or None.

    Returns:
      `[D, *S]` float32, in voxels of the input.
    """
    centre = [(n - 1) / 2 for n in shape]
    axes = [((jnp.arange(n) - c) * spacing[a]).reshape([-1 if b == a else 1 for b in range(len(shape))])
            for a, (n, c) in enumerate(zip(shape, centre))]
    out = []
    for a, c in enumerate(centre):
        place = sum(matrix[a, b] * axis for b, axis in enumerate(axes))
        place = place if displacement is None else place + displacement[a]
        out.append(jnp.broadcast_to(place / spacing[a] + c, tuple(shape)))
    return jnp.stack(out)


def sample(image: jax.Array, where: jax.Array, kind: Literal['linear', 'nearest'],
           fill: Literal['mirror', 'nearest'] = 'mirror') -> jax.Array:
    """Reads an image at positions.

    Args:
      image: `[*S, C]`.
      where: `[D, *S']` in voxels.
      kind: 'linear' for intensities, 'nearest' for labels.
      fill: what lies outside of the image: 'mirror', its mirror image about the outermost voxels' centres, or
        'nearest', the outermost voxels going on.

    Returns:
      `[*S', C]` of the image's dtype.
    """
    shape, channels = image.shape[:-1], image.shape[-1]
    flat, pair = image.reshape(-1), 1 if kind == 'nearest' or shape[-1] == 1 else 2

    def places(where: jax.Array) -> tuple[jax.Array, list[jax.Array]]:
        """The number of the voxel that is read, or of the lowest of those that are blended, and the others' shares."""
        axes = [_mirrored(w, n) if fill == 'mirror' else jnp.clip(w, 0, n - 1) for w, n in zip(where, shape)]
        if kind == 'nearest':
            return _index([jnp.round(w).astype(jnp.int32) for w in axes], shape), []
        low = [jnp.clip(jnp.floor(w).astype(jnp.int32), 0, max(n - 2, 0)) for w, n in zip(axes, shape)]
        return _index(low, shape), [(w - i)[..., None] for w, i in zip(axes, low)]

    def corners(index: jax.Array) -> jax.Array:
        """`pair` voxels that lie side by side along the last axis, in one read."""
        return read(flat, index * channels, pair * channels)

    # A condition that always holds, but for positions that are not numbers: XLA on a CPU would otherwise compute the
    # places inside the reading's loop, which then is not vectorised, and takes three to six times as long.
    known = jnp.isfinite(where.reshape(-1)[0])
    nowhere = jax.tree.map(lambda s: jnp.zeros(s.shape, s.dtype), jax.eval_shape(places, where))
    index, shares = jax.lax.cond(known, places, lambda _: nowhere, where)
    if kind == 'nearest':
        return corners(index)

    def blend(axis: int, index: jax.Array) -> jax.Array:
        """Along this axis and those behind it."""
        if axis == len(shape) - 1:
            both = corners(index)
            lower, upper = both[..., :channels], both[..., channels:]
        else:
            lower = blend(axis + 1, index)
            upper = blend(axis + 1, index + math.prod(shape[axis + 1:])) if shape[axis] > 1 else lower
        return lower + (upper - lower) * shares[axis] if shape[axis] > 1 else lower

    return jnp.where(known, blend(0, index), jnp.nan).astype(image.dtype)


def read(flat: jax.Array, first: jax.Array, count: int) -> jax.Array:
    """Reads `count` numbers that lie side by side, from each place of `first`; nothing looks at bounds.

    Args:
      flat: `[N]`.
      first: `[…]` integer.
      count: how many.

    Returns:
      `[…, count]`.
    """
    numbers = jax.lax.GatherDimensionNumbers((first.ndim,), (), (0,))
    return jax.lax.gather(flat, first.astype(jnp.uint32)[..., None], numbers, (count,), mode='promise_in_bounds')


def _mirrored(where: jax.Array, size: int) -> jax.Array:
    if size == 1:
        return jnp.zeros_like(where)
    last = size - 1
    away = jnp.abs(where)
    away = away - 2 * last * jnp.floor(away / (2 * last))  # `mod` is not vectorised on a CPU: ten times as slow
    # NaN and what rounding left outside are brought in: nothing looks at bounds behind this.
    return jnp.clip(jnp.minimum(away, 2 * last - away), 0, last)


def _index(voxel: Sequence[jax.Array], shape: Sequence[int]) -> jax.Array:
    index = jnp.zeros((), jnp.int32)
    for i, n in zip(voxel, shape):
        index = index * n + i
    return index
