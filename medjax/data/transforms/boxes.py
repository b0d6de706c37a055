"""How boxes move with the voxels of their image, on the device: mirrored, and by affine maps."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from medjax.ops import warp

LEFT = 0.3  # share of a moved box that must be left in the image


def mirrored(boxes: jax.Array, mask: jax.Array, axis: int, extent: int) -> jax.Array:
    """Mirrors boxes `[N, 2D]` with an image of some extent along the axis; padding, of mask `[N]` 0, stays zeros."""
    dims = boxes.shape[-1] // 2
    low, high = boxes[:, axis], boxes[:, axis + dims]
    boxes = boxes.at[:, axis].set(extent - high).at[:, axis + dims].set(extent - low)
    return jnp.where(mask[:, None] > 0, boxes, 0.0)


def moved(boxes: jax.Array, mask: jax.Array, shape: Sequence[int], spacing: jax.Array, matrix: jax.Array,
          away: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Moves boxes as an image's voxels move.

    Of each voxel `warp.positions` says where it is read from; this is the way back.
    A box becomes that of its moved corners: a turned object's is looser than need be. What crosses the border is cut
    off, and where less than `LEFT` of the moved box is left, it is gone.

    Args:
      boxes: `[N, 2D]`.
      mask: `[N]`, 1 or 0.
      shape: of the image, D numbers.
      spacing: `[D]`, mm along each axis.
      matrix: `[D, D]`, as `warp.positions` has it.
      away: `[D]`, its displacement, in mm.

    Returns:
      Boxes, those of mask 0 as zeros, and the mask, float32.
    """
    dims = len(shape)
    centre = jnp.array(shape) / 2  # positions count from a voxel's centre, boxes from the first one's corner
    sides = [boxes[:, :dims], boxes[:, dims:]]
    corners = jnp.stack([jnp.stack([sides[side][:, axis] for axis, side in enumerate(choice)], -1)
                         for choice in itertools.product((0, 1), repeat=dims)])
    place = (corners - centre) * spacing - away
    place = jnp.einsum('ab,knb->kna', jnp.linalg.inv(matrix), place, precision=warp.HIGHEST) / spacing + centre
    low, high = place.min(0), place.max(0)
    inside = [jnp.clip(side, 0, jnp.array(shape, jnp.float32)) for side in (low, high)]
    area = (high - low).prod(-1)
    left = (inside[1] - inside[0]).prod(-1)
    mask = jnp.where(left >= LEFT * area, mask, 0.0) * (left > 0)
    return jnp.where(mask[:, None] > 0, jnp.concatenate(inside, -1), 0.0), mask
