"""Boxes in the plane and in space: overlap, anchors, and boxes as seen from anchors.

A box is `[2D]`: its lows, then its highs, in voxels from the outer corner of the first one and in the order of the
image's axes; half-open, so an object of the voxels 3, 4, 5 is [3, 6). D is 2 or 3, and nothing here asks which. A box
whose high is not above its low is empty, as padding is, and overlaps nothing. All is float32.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

LARGEST = math.log(1000 / 16)  # of a decoded log ratio, lest exp overflow before anything is learnt; as Detectron's
SMALLEST = 1e-3  # voxels; the extent of an empty box when it is encoded


def area(boxes: jax.Array) -> jax.Array:
    """Area or volume in voxels, `[..., 2D] -> [...]`; 0 where a box is empty."""
    return _product(*halves(boxes))


def cut(boxes: jax.Array, start: jax.Array, size: Sequence[int], least: float = 0.5) -> tuple[jax.Array, jax.Array]:
    """Brings boxes into a patch of their image.

    Args:
      boxes: `[N, 2D]`, of NumPy or of jax, as what is returned.
      start: `[D]`, the patch's first voxel.
      size: its extents.
      least: the share of a box that must be in the patch for its object to be there.

    Returns:
      Boxes `[N, 2D]` clipped to the patch, and `[N]` bool, which of them are of objects that are there.
    """
    dims = len(size)
    pairs = boxes.reshape(-1, 2, dims) - start.astype(np.float32)
    inside = pairs.clip(0, np.asarray(size, np.float32))
    whole, seen = ((both[:, 1] - both[:, 0]).prod(-1) for both in (pairs, inside))
    return inside.reshape(-1, 2 * dims), (seen > 0) & (seen >= least * whole)


def iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of each with each; 0 where both are empty.

    Args:
      a: `[N, 2D]`.
      b: `[M, 2D]`.

    Returns:
      `[N, M]` in 0..1.
    """
    return paired_iou(a[:, None], b[None])


def giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU of each with each (Rezatofighi 2019): see `paired_giou`.

    Args:
      a: `[N, 2D]`.
      b: `[M, 2D]`.

    Returns:
      `[N, M]` in -1..1.
    """
    return paired_giou(a[:, None], b[None])


def paired_iou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Intersection over union of pairs, `[..., 2D]` and `[..., 2D] -> [...]`; 0 where both are empty."""
    return _ratio(*_overlap(a, b))


def paired_giou(a: jax.Array, b: jax.Array) -> jax.Array:
    """Generalised IoU of pairs (Rezatofighi 2019): IoU less the share of the hull that neither box covers.

    For a loss, 1 - this: unlike IoU's, its gradient brings boxes together that do not meet. Two empty boxes have 0 at
    one place, and -1 apart.

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
    """Boxes as seen from their anchors (Ren 2015): offsets of the centres in anchors, logs of the extents' ratios.

    Args:
      boxes: `[..., 2D]`.
      anchors: `[..., 2D]`.
      scale: what the offsets and the logs are divided by; (0.1, 0.2) for the second stage of R-CNNs.

    Returns:
      `[..., 2D]`, offsets first; finite for empty boxes and anchors too.
    """
    (low, high), (start, end) = halves(boxes), halves(anchors)
    extent, unit = jnp.maximum(high - low, SMALLEST), jnp.maximum(end - start, SMALLEST)
    offset = ((low - start) + (high - end)) / 2 / unit
    return jnp.concatenate([offset / scale[0], jnp.log(extent / unit) / scale[1]], -1)


def decode(deltas: jax.Array, anchors: jax.Array, scale: tuple[float, float] = (1.0, 1.0)) -> jax.Array:
    """The inverse of `encode`; a box is at most 1000 / 16 times as long as its anchor.

    Args:
      deltas: `[..., 2D]`.
      anchors: `[..., 2D]`.
      scale: as it was encoded with.

    Returns:
      Boxes `[..., 2D]`.
    """
    (offset, log), (start, end) = halves(deltas), halves(anchors)
    unit = end - start
    centre = (start + end) / 2 + offset * scale[0] * unit
    half = unit / 2 * jnp.exp(jnp.minimum(log * scale[1], LARGEST))
    return jnp.concatenate([centre - half, centre + half], -1)


def clip(boxes: jax.Array, shape: Sequence[int]) -> jax.Array:
    """The boxes' parts within an image of `shape`; `[..., 2D]`. What lies outside becomes empty."""
    return jnp.clip(boxes, 0, jnp.asarray([*shape, *shape], boxes.dtype))


def shapes(scales: Sequence[float], ratios: Sequence[float], depths: Sequence[float] = ()) -> list[tuple[float, ...]]:
    """Extents of the anchors at one place: each scale with each ratio, and in 3D with each depth (Baumgartner 2021).

    Args:
      scales: voxels; sides of squares. RetinaNet's are s, s * 2 ** (1 / 3) and s * 2 ** (2 / 3).
      ratios: of rows to columns (in a volume x to y), at the square's area.
      depths: voxels along the third axis; none in 2D.

    Returns:
      D numbers for each anchor.
    """
    last = [(depth,) for depth in depths] or [()]
    return [(s * math.sqrt(r), s / math.sqrt(r), *d) for s, r, d in itertools.product(scales, ratios, last)]


def anchors(extents: Sequence[Sequence[int]], strides: Sequence[Sequence[int]],
            sizes: Sequence[Sequence[Sequence[float]]]) -> list[np.ndarray]:
    """Anchors over the levels of a pyramid, centred on the voxels of its grids.

    Args:
      extents: each level's grid, D numbers.
      strides: the image's voxels from a place of the grid to the next, D numbers for each level.
      sizes: for each level the anchors' extents in the image's voxels, D numbers for each anchor: see `shapes`.

    Returns:
      For each level `[prod(grid) * A, 2D]`: by place, the last axis the fastest, then by anchor.
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
    """Lows and highs `[..., D]`, or what else stands in their places."""
    return boxes[..., :boxes.shape[-1] // 2], boxes[..., boxes.shape[-1] // 2:]


def _product(low: jax.Array, high: jax.Array) -> jax.Array:
    """Area between two corners. An axis at a time: XLA on a CPU does not vectorise a product over two or three."""
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
    """Part of the whole, 0 of nothing; both branches are finite, and so is the gradient."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), 0.0)
