"""Assignment of anchors to objects, and selection of the anchors that contribute to a loss.

Boxes are defined in `ops/boxes.py`. An assignment holds one integer per anchor: the index of its object, `BACKGROUND`
or `IGNORED`.
"""

from collections.abc import Sequence

import jax
import jax.numpy as jnp

from medjax.ops.boxes import covered, halves, paired_iou

BACKGROUND, IGNORED = -1, -2
CENTRE_MARGIN = 0.01  # voxels; minimum distance of an anchor's centre from its object's border, as in nnDetection
IN_REGION = 0.5  # fraction of a background anchor in an ignored region from which it is ignored
TOLERANCE = 1e-6  # values this close count as equal: compilers round the same number differently


def match(overlap: jax.Array, mask: jax.Array, low: float, high: float, force: bool = True) -> jax.Array:
    """Assigns each anchor to the object with the largest overlap, using two thresholds (Ren 2015).

    Args:
      overlap: `[A, M]`, IoU of every anchor with every object.
      mask: `[M]`, 0 for padding.
      low: anchors with a smaller IoU are background.
      high: anchors with at least this IoU are assigned to their object; those in between are ignored.
      force: if True, the anchors with the largest overlap for an object (including ties) are assigned however small
        the overlap is. Each is assigned to the object that it overlaps most itself, which may be a different one, as
        in torchvision.

    Returns:
      `[A]` int32.
    """
    overlap = jnp.where(mask > 0, overlap, -1.0)
    largest, nearest = overlap.max(1), overlap.argmax(1).astype(jnp.int32)
    assigned = jnp.where(largest >= high, nearest, jnp.where(largest < low, BACKGROUND, IGNORED))
    if not force:
        return assigned
    best = overlap.max(0)
    forced = (best > 0) & (overlap >= best * (1 - TOLERANCE))
    return jnp.where(forced.any(1), nearest, assigned)


def atss(levels: Sequence[jax.Array], boxes: jax.Array, mask: jax.Array, count: int = 9,
         anchors_per_location: int = 1) -> jax.Array:
    """Assigns anchors by adaptive training sample selection (ATSS, Zhang 2020).

    The candidates of an object are the anchors of each level whose centres are closest to the object's centre. The
    IoU threshold of the object is the mean plus the standard deviation of its candidates' IoUs. Candidates that reach
    the threshold and whose centre lies inside the object are assigned to it. An anchor claimed by several objects
    goes to the one with the larger IoU. An object may receive no anchor.

    Args:
      levels: the anchors, `[A_l, 2D]` for each level.
      boxes: `[M, 2D]`, objects.
      mask: `[M]`, 0 for padding.
      count: number of grid locations per level whose anchors are candidates.
      anchors_per_location: number of anchors at each grid location.

    Returns:
      `[A]` int32 over all levels; no anchor is ignored.
    """
    all_anchors = jnp.concatenate(levels)
    anchor_centre, box_centre = sum(halves(all_anchors)) / 2, sum(halves(boxes)) / 2
    nearest, first = [], 0
    for level in levels:
        distance = ((box_centre[:, None] - anchor_centre[first:first + len(level)]) ** 2).sum(-1)
        nearest.append(first + jax.lax.top_k(-distance, min(count * anchors_per_location, len(level)))[1])
        first += len(level)
    candidates = jnp.concatenate(nearest, 1)  # [M, K]
    overlap = paired_iou(boxes[:, None], all_anchors[candidates])
    mean, degrees = overlap.mean(1, keepdims=True), max(candidates.shape[1] - 1, 1)
    deviation = jnp.sqrt(((overlap - mean) ** 2).sum(1, keepdims=True) / degrees)
    low, high = halves(boxes[:, None])
    margin = jnp.minimum(anchor_centre[candidates] - low, high - anchor_centre[candidates]).min(-1)
    selected = (overlap >= mean + deviation - TOLERANCE) & (margin > CENTRE_MARGIN) & (mask[:, None] > 0)
    rows = jnp.arange(len(boxes))[:, None]
    claims = jnp.zeros((len(boxes), len(all_anchors))).at[rows, candidates].set(jnp.where(selected, overlap, 0))
    return jnp.where(claims.max(0) > 0, claims.argmax(0).astype(jnp.int32), BACKGROUND)


def ignore_regions(assigned: jax.Array, anchors: jax.Array, regions: jax.Array, mask: jax.Array) -> jax.Array:
    """Ignores background anchors of which at least the fraction IN_REGION lies in an ignored region.

    Args:
      assigned: `[A]`.
      anchors: `[A, 2D]`.
      regions: `[K, 2D]`, such as COCO's crowds and VOC's difficult objects.
      mask: `[K]`, 0 for padding.

    Returns:
      `[A]`; anchors of objects stay theirs.
    """
    inside = (covered(anchors, regions) >= IN_REGION) & (mask > 0)
    return jnp.where((assigned == BACKGROUND) & inside.any(1), IGNORED, assigned)


def sample(key: jax.Array, assigned: jax.Array, count: int, positive_fraction: float) -> jax.Array:
    """Samples anchors for a loss: up to `positive_fraction * count` positives, the rest background.

    Args:
      key: PRNG key.
      assigned: `[A]`.
      count: number of sampled anchors; fewer if there is not enough background.
      positive_fraction: maximum fraction of anchors that are assigned to objects, in 0..1.

    Returns:
      `[A]` float32, 1 for sampled anchors.
    """
    draws = jax.random.uniform(key, assigned.shape)
    weights, remaining = jnp.zeros(assigned.shape, jnp.float32), count
    for eligible, limit in ((assigned >= 0, int(positive_fraction * count)), (assigned == BACKGROUND, count)):
        value, index = jax.lax.top_k(jnp.where(eligible, draws, -1.0), min(limit, len(assigned)))
        drawn = (value >= 0) & (jnp.arange(len(index)) < remaining)
        weights, remaining = weights.at[index].add(drawn.astype(jnp.float32)), remaining - drawn.sum()
    return weights


def hard_negatives(score: jax.Array, assigned: jax.Array, ratio: float, min_negatives: int) -> jax.Array:
    """Selects all positive anchors and the background anchors with the largest scores (Liu 2016).

    Args:
      score: `[A]`, larger for harder anchors: a loss, or the predicted probability of an object.
      assigned: `[A]`.
      ratio: number of background anchors per positive anchor.
      min_negatives: minimum number of background anchors, which also applies to images without objects.

    Returns:
      `[A]` bool.
    """
    positive, negative = assigned >= 0, assigned == BACKGROUND
    count = jnp.maximum(jnp.floor(ratio * positive.sum(dtype=jnp.float32)), min_negatives)
    order = jnp.argsort(jnp.where(negative, -score, jnp.inf))
    hardest = jnp.zeros(assigned.shape, bool).at[order].set(
        jnp.arange(len(order), dtype=jnp.float32) < count)
    return positive | negative & hardest
