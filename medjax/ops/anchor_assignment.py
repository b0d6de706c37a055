"""Which anchor stands for which object, and which of them a loss looks at.

Boxes are as in `ops/boxes.py`. An assignment has a number for each anchor: its object's, `BACKGROUND` or `IGNORED`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from medjax.ops.boxes import halves, paired_iou

BACKGROUND, IGNORED = -1, -2
INSIDE = 0.01  # voxels; an anchor's centre this far inside of an object is within, as nnDetection's
ROUNDING = 1e-6  # what counts as equal: compilers round one number in several ways


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
    centre, middle = sum(halves(all_)) / 2, sum(halves(boxes)) / 2
    nearest, first = [], 0
    for level in levels:
        away = ((middle[:, None] - centre[first:first + len(level)]) ** 2).sum(-1)
        nearest.append(first + jax.lax.top_k(-away, min(count * each, len(level)))[1])
        first += len(level)
    candidates = jnp.concatenate(nearest, 1)  # [M, K]
    overlap = paired_iou(boxes[:, None], all_[candidates])
    mean, spare = overlap.mean(1, keepdims=True), max(candidates.shape[1] - 1, 1)
    deviation = jnp.sqrt(((overlap - mean) ** 2).sum(1, keepdims=True) / spare)
    low, high = halves(boxes[:, None])
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
