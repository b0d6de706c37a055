"""Bounding boxes in 2D and 3D: areas, overlap, anchors, and encoding relative to anchors.

A box is an array `[2D]`: the lower corner, then the upper corner, in voxels, with the axes in the image's order and
the origin at the outer corner of the first voxel. Boxes are half-open: an object of the voxels 3, 4, 5 is [3, 6).
D is 2 or 3 and is inferred from the shape. A box whose upper corner is not above its lower corner is empty, as padding
is, and overlaps nothing. All arrays are float32.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

MAX_LOG_RATIO = math.log(1000 / 16)  # of a decoded extent, so that exp cannot overflow early in training; as Detectron
MIN_EXTENT = 1e-3  # voxels; the extent of an empty box when it is encoded


def area(boxes: jax.Array) -> jax.Array:
    """Area or volume in voxels, `[..., 2D] -> [...]`; 0 for empty boxes."""
    return _product(*halves(boxes))


def crop(boxes: jax.Array, start: jax.Array, size: Sequence[int],
         min_fraction: float = 0.5) -> tuple[jax.Array, jax.Array]:
    """Transforms boxes to the coordinates of a patch and clips them to it.

    Args:
      boxes: `[N, 2D]`, a NumPy or JAX array; the result is of the same kind.
      start: `[D]`, first voxel of the patch.
      size: extents of the patch.
      min_fraction: minimum fraction of a box that must lie in the patch for its object to be kept.

    Returns:
      The boxes `[N, 2D]` clipped to the patch, and `[N]` bool, True for objects that are kept.
    """
    dims = len(size)
    pairs = boxes.reshape(-1, 2, dims) - start.astype(np.float32)
    inside = pairs.clip(0, np.asarray(size, np.float32))
    whole, visible = ((corners[:, 1] - corners[:, 0]).prod(-1) for corners in (pairs, inside))
    return inside.reshape(-1, 2 * dims), (visible > 0) & (visible >= min_fraction * whole)


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of all pairs of boxes; 0 where both are empty.

    Args:
      a: `[N, 2D]`.
      b: `[M, 2D]`.

    Returns:
      `[N, M]` in 0..1.
    """
    return paired_iou(a[:, None], b[None])


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU of all pairs of boxes (Rezatofighi 2019); see `paired_giou`.

    Args:
      a: `[N, 2D]`.
      b: `[M, 2D]`.

    Returns:
      `[N, M]` in -1..1.
    """
    return paired_giou(a[:, None], b[None])


def paired_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Elementwise intersection over union, `[..., 2D]` and `[..., 2D] -> [...]`; 0 where both boxes are empty."""
    return _ratio(*_overlap(a, b))


def covered(a: jax.Array, b: jax.Array) -> jax.Array:
    """The fraction of each box that each other box covers, `[N, 2D]` and `[M, 2D] -> [N, M]`; 0 for empty boxes."""
    inter, _ = _overlap(a[:, None], b[None])
    return _ratio(inter, area(a)[:, None])


def paired_giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Elementwise generalised IoU (Rezatofighi 2019).

    This is the IoU minus the fraction of the enclosing box that neither box covers. The loss is 1 - GIoU; in contrast
    to IoU it has a non-zero gradient for boxes that do not intersect. Two empty boxes have the value 0 at the same
    position and -1 at different positions.

    Args:
      a: `[..., 2D]`.
      b: `[..., 2D]`.

    Returns:
      `[...]` in -1..1.
    """
    inter, union = _overlap(a, b)
    (low_a, high_a), (low_b, high_b) = halves(a), halves(b)
    hull = _product(jnp.minimum(low_a, low_b), jnp.maximum(high_a, high_b))
    return _ratio(inter, union) - _ratio(hull - union, hull)


def encode(boxes: jax.Array, anchors: jax.Array, scale: tuple[float, float] = (1.0, 1.0)) -> jax.Array:
    """Encodes boxes relative to anchors (Ren 2015).

    The code is the offset of the centre divided by the anchor's extent, and the log of the ratio of the extents.

    Args:
      boxes: `[..., 2D]`.
      anchors: `[..., 2D]`.
      scale: divisors of the offsets and of the log ratios; (0.1, 0.2) for the second stage of R-CNNs.

    Returns:
      `[..., 2D]`, offsets first; also finite for empty boxes and anchors.
    """
    (low, high), (start, end) = halves(boxes), halves(anchors)
    extent, unit = jnp.maximum(high - low, MIN_EXTENT), jnp.maximum(end - start, MIN_EXTENT)
    offset = ((low - start) + (high - end)) / 2 / unit
    return jnp.concatenate([offset / scale[0], jnp.log(extent / unit) / scale[1]], -1)


def decode(deltas: jax.Array, anchors: jax.Array, scale: tuple[float, float] = (1.0, 1.0)) -> jax.Array:
    """Decodes boxes: the inverse of `encode`. A box is at most 1000 / 16 times as long as its anchor.

    Args:
      deltas: `[..., 2D]`.
      anchors: `[..., 2D]`.
      scale: the value that was passed to `encode`.

    Returns:
      Boxes `[..., 2D]`.
    """
    (offset, log), (start, end) = halves(deltas), halves(anchors)
    unit = end - start
    centre = (start + end) / 2 + offset * scale[0] * unit
    half = unit / 2 * jnp.exp(jnp.minimum(log * scale[1], MAX_LOG_RATIO))
    return jnp.concatenate([centre - half, centre + half], -1)


def clip(boxes: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Clips boxes `[..., 2D]` to an image of `shape`; boxes outside of the image become empty."""
    return jnp.clip(boxes, 0, jnp.asarray([*shape, *shape], boxes.dtype))


def anchor_sizes(scales: Sequence[float], ratios: Sequence[float],
                 depths: Sequence[float] = ()) -> list[tuple[float, ...]]:
    """Extents of the anchors at one location: all combinations of scale, ratio and, in 3D, depth (Baumgartner 2021).

    Args:
      scales: side lengths of squares, voxels. RetinaNet uses s, s * 2 ** (1 / 3) and s * 2 ** (2 / 3).
      ratios: ratios of rows to columns (in a volume of x to y) at the square's area.
      depths: extents along the third axis, voxels; empty in 2D.

    Returns:
      D numbers for each anchor.
    """
    last = [(depth,) for depth in depths] or [()]
    return [(s * math.sqrt(r), s / math.sqrt(r), *d) for s, r, d in itertools.product(scales, ratios, last)]


def anchors(extents: Sequence[Sequence[int]], strides: Sequence[Sequence[int]],
            sizes: Sequence[Sequence[Sequence[float]]]) -> list[np.ndarray]:
    """Anchors of all levels of a feature pyramid, centred on the voxels of each grid.

    Args:
      extents: grid of each level, D numbers.
      strides: distance of neighbouring grid locations in voxels of the image, D numbers for each level.
      sizes: for each level the extents of its anchors in voxels of the image, D numbers for each anchor; see
        `anchor_sizes`.

    Returns:
      For each level `[prod(grid) * A, 2D]`, ordered by location (last axis fastest), then by anchor.
    """
    out = []
    for grid, stride, size in zip(extents, strides, sizes, strict=True):
        axes = [(np.arange(n) + 0.5) * s for n, s in zip(grid, stride, strict=True)]
        centre = np.stack(np.meshgrid(*axes, indexing='ij'), -1).reshape(-1, 1, len(axes))
        half = np.asarray(size, float) / 2
        boxes = np.concatenate([centre - half, centre + half], -1)
        out.append(boxes.reshape(-1, 2 * len(axes)).astype(np.float32))
    return out


def halves(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The two halves of the last axis, `[..., D]` each: lower and upper corners, or offsets and log ratios."""
    return boxes[..., :boxes.shape[-1] // 2], boxes[..., boxes.shape[-1] // 2:]


def _product(low: jax.Array, high: jax.Array) -> jax.Array:
    """Area between two corners, one axis at a time: XLA on CPU does not vectorise a product over two or three."""
    out = 1.0
    for axis in range(low.shape[-1]):
        out = out * jnp.maximum(high[..., axis] - low[..., axis], 0)
    return out


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Areas of intersection and union."""
    (low_a, high_a), (low_b, high_b) = halves(a), halves(b)
    inter = _product(jnp.maximum(low_a, low_b), jnp.minimum(high_a, high_b))
    return inter, area(a) + area(b) - inter


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """`part / whole`, 0 where `whole` is 0; both branches are finite, and so is the gradient."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), 0.0)
