"""Transforms of boxes together with the voxels of their image, on the device: mirroring and affine maps."""

import itertools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from medjax.ops import warp

MIN_INSIDE = 0.3  # fraction of a transformed box that must lie in the image


def mirror_boxes(boxes: jax.Array, mask: jax.Array, axis: int, extent: int) -> jax.Array:
    """Mirrors boxes `[N, 2D]` along an axis of an image of this extent; padding, of mask `[N]` 0, stays zeros."""
    dims = boxes.shape[-1] // 2
    low, high = boxes[:, axis], boxes[:, axis + dims]
    boxes = boxes.at[:, axis].set(extent - high).at[:, axis + dims].set(extent - low)
    return jnp.where(mask[:, None] > 0, boxes, 0.0)


def warp_boxes(boxes: jax.Array, mask: jax.Array, shape: Sequence[int], spacing: jax.Array, matrix: jax.Array,
               shift: jax.Array, min_inside: float = MIN_INSIDE) -> tuple[jax.Array, jax.Array]:
    """Transforms boxes as an affine warp transforms the image.

    `warp.sampling_positions` maps each voxel to the position that it is read from; boxes are mapped by the inverse. A
    box becomes the bounding box of its transformed corners, which is larger than necessary for a rotated object. Boxes
    are clipped to the image, and dropped where less than `min_inside` of the transformed box lies in it.

    Args:
      boxes: `[N, 2D]`.
      mask: `[N]`, 1 or 0.
      shape: of the image, D numbers.
      spacing: `[D]`, mm along each axis.
      matrix: `[D, D]`, as for `warp.sampling_positions`.
      shift: `[D]`, its constant displacement, mm.
      min_inside: fraction of a box.

    Returns:
      Boxes, those of mask 0 as zeros, and the mask, float32.
    """
    dims = len(shape)
    # Positions are measured from the centre of the first voxel, boxes from its corner.
    centre = jnp.array(shape, jnp.float32) / 2
    sides = [boxes[:, :dims], boxes[:, dims:]]
    corners = jnp.stack([jnp.stack([sides[side][:, axis] for axis, side in enumerate(choice)], -1)
                         for choice in itertools.product((0, 1), repeat=dims)])
    place = (corners - centre) * spacing - shift
    place = jnp.einsum('ab,knb->kna', jnp.linalg.inv(matrix), place, precision=warp.HIGHEST) / spacing + centre
    low, high = place.min(0), place.max(0)
    inside = [jnp.clip(side, 0, jnp.array(shape, jnp.float32)) for side in (low, high)]
    area = (high - low).prod(-1)
    area_inside = (inside[1] - inside[0]).prod(-1)
    mask = jnp.where(area_inside >= min_inside * area, mask, 0.0) * (area_inside > 0).astype(mask.dtype)
    return jnp.where(mask[:, None] > 0, jnp.concatenate(inside, -1), 0.0), mask
