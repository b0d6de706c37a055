"""Boxes in the plane and in space: overlap, anchors, and which anchor stands for which object.

A box is `[2D]`: its lows, then its highs, in voxels from the outer corner of the first one and in the order of the
image's axes; half-open, so an object of the voxels 3, 4, 5 is [3, 6). D is 2 or 3, and nothing here asks which. A box
whose high is not above its low is empty, as padding is, and overlaps nothing. All is float32.

An assignment has a number for each anchor: its object's, `BACKGROUND` or `IGNORED`.
"""

import itertools
import math
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

BACKGROUND, IGNORED = -1, -2
LARGEST = math.log(1000 / 16)  # of a decoded log ratio, lest exp overflow before anything is learnt; as Detectron's
SMALLEST = 1e-3  # voxels; the extent of an empty box when it is encoded
INSIDE = 0.01  # voxels; an anchor's centre this far inside of an object is within, as nnDetection's
ROUNDING = 1e-6  # what counts as equal: compilers round one number in several ways


def area(boxes: jax.Array) -> jax.Array:
    """Area or volume in voxels, `[..., 2D] -> [...]`; 0 where a box is empty."""
    return _product(*_halves(boxes))


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
    (low_a, high_a), (low_b, high_b) = _halves(a), _halves(b)
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
    (low, high), (start, end) = _halves(boxes), _halves(anchors)
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
    (offset, log), (start, end) = _halves(deltas), _halves(anchors)
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


def match(overlap: jax.Array, mask: jax.Array, low: float, high: float, force: bool = True) -> jax.Array:
    """Gives each anchor the object that it overlaps the most, by two thresholds (Ren 2015).

    Args:
      overlap: `[A, M]`, IoU of anchors with objects.
      mask: `[M]`, 0 for padding.
      low: below it an anchor is background.
      high: from it on an anchor is its object's; between the two it is ignored.
      force: whether the anchors that overlap an object the most, all that are equal, keep the object that they
        themselves overlap the most, however little. (That may be another one, as in torchvision.)

    Returns:
      `[A]` int32.
    """
    overlap = jnp.where(mask > 0, overlap, -1.0)
    most, mine = overlap.max(1), overlap.argmax(1).astype(jnp.int32)
    assigned = jnp.where(most >= high, mine, jnp.where(most < low, BACKGROUND, IGNORED))
    if not force:
        return assigned
    best = overlap.max(0)
    forced = (best > 0) & (overlap >= best * (1 - ROUNDING))
    return jnp.where(forced.any(1), mine, assigned)


def atss(levels: Sequence[jax.Array], boxes: jax.Array, mask: jax.Array, count: int = 9, each: int = 1) -> jax.Array:
    """Adaptive training sample selection (Zhang 2020): each object finds its own threshold.

    Its candidates are the anchors of each level that are nearest, centre to centre. Those are its own whose IoU is at
    least the candidates' mean plus their deviation, and whose centre is within it. An anchor of two objects goes to
    the one that it overlaps more. An object may end with no anchor.

    Args:
      levels: the anchors, `[A_l, 2D]` for each level.
      boxes: `[M, 2D]`, objects.
      mask: `[M]`, 0 for padding.
      count: places of each level whose anchors are candidates.
      each: anchors at a place.

    Returns:
      `[A]` int32 over all levels, no anchor ignored.
    """
    all_ = jnp.concatenate(levels)
    centre, middle = sum(_halves(all_)) / 2, sum(_halves(boxes)) / 2
    nearest, first = [], 0
    for level in levels:
        away = ((middle[:, None] - centre[first:first + len(level)]) ** 2).sum(-1)
        nearest.append(first + jax.lax.top_k(-away, min(count * each, len(level)))[1])
        first += len(level)
    candidates = jnp.concatenate(nearest, 1)  # [M, K]
    overlap = paired_iou(boxes[:, None], all_[candidates])
    mean, spare = overlap.mean(1, keepdims=True), max(candidates.shape[1] - 1, 1)
    deviation = jnp.sqrt(((overlap - mean) ** 2).sum(1, keepdims=True) / spare)
    low, high = _halves(boxes[:, None])
    border = jnp.minimum(centre[candidates] - low, high - centre[candidates]).min(-1)
    own = (overlap >= mean + deviation - ROUNDING) & (border > INSIDE) & (mask[:, None] > 0)
    rows = jnp.arange(len(boxes))[:, None]
    claims = jnp.zeros((len(boxes), len(all_))).at[rows, candidates].set(jnp.where(own, overlap, 0))
    return jnp.where(claims.max(0) > 0, claims.argmax(0).astype(jnp.int32), BACKGROUND)


def sample(key: jax.Array, assigned: jax.Array, count: int, share: float) -> jax.Array:
    """Draws anchors for a loss: at most `share * count` of objects, and of background to make `count` in all.

    Args:
      key: of the draw.
      assigned: `[A]`.
      count: of anchors drawn; fewer where there is not enough background.
      share: of objects' anchors at most, 0..1.

    Returns:
      `[A]` float32, 1 for those drawn.
    """
    lot = jax.random.uniform(key, assigned.shape)
    weights, left = jnp.zeros(assigned.shape, jnp.float32), count
    for wanted, limit in ((assigned >= 0, int(share * count)), (assigned == BACKGROUND, count)):
        value, index = jax.lax.top_k(jnp.where(wanted, lot, -1.0), min(limit, len(assigned)))
        drawn = (value >= 0) & (jnp.arange(len(index)) < left)
        weights, left = weights.at[index].add(drawn.astype(jnp.float32)), left - drawn.sum()
    return weights


def hard_negatives(score: jax.Array, assigned: jax.Array, ratio: float, fewest: int) -> jax.Array:
    """The objects' anchors, and of the background's those with the largest scores (Liu 2016).

    Args:
      score: `[A]`, the larger the harder: a loss, or the probability of an object.
      assigned: `[A]`.
      ratio: background's anchors for each of an object.
      fewest: background's anchors at least, for images without objects too.

    Returns:
      `[A]` bool.
    """
    positive, negative = assigned >= 0, assigned == BACKGROUND
    count = jnp.maximum(jnp.floor(ratio * positive.sum()), fewest)
    order = jnp.argsort(jnp.where(negative, -score, jnp.inf))
    hardest = jnp.zeros(assigned.shape, bool).at[order].set(jnp.arange(len(order)) < count)
    return positive | negative & hardest


def _halves(boxes: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Lows and highs, or what else stands in their places."""
    return boxes[..., :boxes.shape[-1] // 2], boxes[..., boxes.shape[-1] // 2:]


def _product(low: jax.Array, high: jax.Array) -> jax.Array:
    """Area between two corners. An axis at a time: XLA on a CPU does not vectorise a product over two or three."""
    out = 1.0
    for axis in range(low.shape[-1]):
        out = out * jnp.maximum(high[..., axis] - low[..., axis], 0)
    return out


def _overlap(a: jax.Array, b: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Areas of intersection and union."""
    (low_a, high_a), (low_b, high_b) = _halves(a), _halves(b)
    inter = _product(jnp.maximum(low_a, low_b), jnp.minimum(high_a, high_b))
    return inter, area(a) + area(b) - inter


def _ratio(part: jax.Array, whole: jax.Array) -> jax.Array:
    """Part of the whole, 0 of nothing; both branches are finite, and so is the gradient."""
    return jnp.where(whole > 0, part / jnp.where(whole > 0, whole, 1.0), 0.0)
