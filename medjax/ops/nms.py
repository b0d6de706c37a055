"""Non-maximum suppression (NMS), soft NMS and weighted boxes fusion, with static shapes.

Boxes are defined in `ops/boxes.py`. A score of -inf (or NaN) marks padding. Results have `limit` rows and a mask of
valid rows. If labels are given, boxes of different classes do not affect each other.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from medjax.ops.boxes import paired_iou

BLOCK = 128  # number of boxes that are processed at once
CHUNK = 512  # number of kept boxes that a block is compared with at once

Selection = tuple[jax.Array, jax.Array]


@functools.partial(jax.jit, static_argnames='limit')
def nms(boxes: jax.Array, scores: jax.Array, threshold: float, limit: int,
        labels: jax.Array | None = None) -> Selection:
    """Exact greedy non-maximum suppression.

    In order of decreasing score, a box is kept unless it overlaps a kept box. Boxes are processed in blocks: each block
    is compared with the boxes kept so far and with itself. Within a block the greedy selection is the unique solution
    of `kept = not overlapped by a better kept box`, which is found by fixed-point iteration in as many rounds as the
    longest chain of suppressions. Memory grows with N + limit, and the loop stops once `limit` boxes are found.

    Args:
      boxes: `[N, 2D]`.
      scores: `[N]`; ties are resolved by the order of the boxes.
      threshold: boxes with a larger IoU are suppressed.
      limit: maximum number of boxes kept.
      labels: `[N]` int32, or None for one class.

    Returns:
      Indices `[limit]` int32 by decreasing score, 0 where not valid; and valid `[limit]` bool.
    """
    count, chunk = len(scores), min(limit, CHUNK)
    blocks, room = -(-count // BLOCK), -(-limit // chunk) * chunk
    order = jnp.argsort(-scores)
    order = jnp.pad(order, (0, blocks * BLOCK - count))
    real = jnp.sum(scores > -jnp.inf)
    labels = jnp.zeros(count, jnp.int32) if labels is None else labels
    ranked_higher = jnp.arange(BLOCK)[:, None] < jnp.arange(BLOCK)

    def overlapping(better: jax.Array, index: jax.Array) -> jax.Array:
        return (paired_iou(boxes[better][:, None], boxes[index][None]) > threshold) & (
            labels[better][:, None] == labels[index])

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        _, found, block = state
        return (found < limit) & (block * BLOCK < real)

    def process_block(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        kept, found, block = state
        index = lax.dynamic_slice(order, (block * BLOCK,), (BLOCK,))
        candidate = block * BLOCK + jnp.arange(BLOCK) < real

        def compare(number: jax.Array, candidate: jax.Array) -> jax.Array:
            better = lax.dynamic_slice(kept, (number * chunk,), (chunk,))
            known = number * chunk + jnp.arange(chunk) < found
            return candidate & ~(overlapping(better, index) & known[:, None]).any(0)

        candidate = lax.fori_loop(0, (found + chunk - 1) // chunk, compare, candidate)
        within = overlapping(index, index) & ranked_higher

        def iterate(guesses: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return guesses[1], candidate & ~(within & guesses[1][:, None]).any(0)

        keep, _ = lax.while_loop(lambda g: (g[0] != g[1]).any(), iterate, iterate((candidate, candidate)))
        place = jnp.where(keep, found + jnp.cumsum(keep) - 1, room)
        return kept.at[place].set(index, mode='drop'), found + keep.sum(), block + 1

    kept, found, _ = lax.while_loop(unfinished, process_block, (jnp.zeros(room, jnp.int32), 0, 0))
    valid = jnp.arange(limit) < found
    return jnp.where(valid, kept[:limit], 0), valid


@functools.partial(jax.jit, static_argnames=('limit', 'decay'))
def soft_nms(boxes: jax.Array, scores: jax.Array, limit: int, labels: jax.Array | None = None, *,
             decay: Literal['gaussian', 'linear'] = 'gaussian', sigma: float = 0.5, threshold: float = 0.3,
             lowest: float = 1e-3) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Soft non-maximum suppression (Bodla 2017): scores decay with the overlap with selected boxes.

    Each selection changes the scores that the next one depends on, so the boxes are selected one by one in `limit`
    steps.

    Args:
      boxes: `[N, 2D]`.
      scores: `[N]`, non-negative.
      limit: maximum number of boxes selected.
      labels: `[N]` int32, or None for one class.
      decay: 'gaussian' multiplies by exp(-IoU² / sigma); 'linear' multiplies by 1 - IoU if the IoU exceeds the
        threshold.
      sigma: width of the Gaussian decay.
      threshold: IoU threshold of the linear decay.
      lowest: boxes whose score decays to this value or below are not valid.

    Returns:
      Indices `[limit]` int32, their new scores `[limit]` in decreasing order, and valid `[limit]` bool.
    """
    def select(remaining: jax.Array, _: None) -> tuple[jax.Array, Selection]:
        best = remaining.argmax()
        overlap = paired_iou(boxes[best], boxes)
        if labels is not None:
            overlap = jnp.where(labels == labels[best], overlap, 0.0)
        if decay == 'gaussian':
            factor = jnp.exp(-(overlap**2) / sigma)
        else:
            factor = jnp.where(overlap > threshold, 1 - overlap, 1.0)
        return (remaining * factor).at[best].set(0.0), (best.astype(jnp.int32), remaining[best])

    _, (kept, score) = lax.scan(select, jnp.where(scores > lowest, scores, 0.0), length=limit)
    return kept, score, score > lowest


@functools.partial(jax.jit, static_argnames='limit')
def weighted_fusion(boxes: jax.Array, scores: jax.Array, labels: jax.Array, threshold: float, limit: int,
                    models: int = 1) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Weighted boxes fusion (Solovyev 2021): averages overlapping boxes by score instead of selecting one.

    In order of decreasing score, a box is merged into the fused box of its class with the largest IoU, which shifts
    that box, or starts a new one. Each step depends on all previous ones, so the boxes are processed one by one.

    Args:
      boxes: `[N, 2D]`, from all models or windows.
      scores: `[N]`; non-positive scores mark padding. Ties are resolved by the order of the boxes.
      labels: `[N]` int32.
      threshold: boxes with a larger IoU are merged.
      limit: maximum number of fused boxes; boxes that would start further ones are dropped.
      models: number of detectors that processed each location; the score of a fused box of fewer boxes is reduced in
        proportion.

    Returns:
      Fused boxes `[limit, 2D]`, their scores (means of the merged boxes) `[limit]` in decreasing order, labels
      `[limit]` int32, and valid `[limit]` bool; all 0 where not valid.
    """
    order = jnp.argsort(jnp.where(scores > 0, -scores, jnp.inf))
    real = (scores > 0).sum()

    def merge(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        total, weight, size, label, found, rank = state
        index = order[rank]
        overlap = paired_iou(boxes[index], total / jnp.maximum(weight, 1e-30)[:, None])
        overlap = jnp.where((label == labels[index]) & (size > 0), overlap, -1.0)
        best = overlap.argmax()
        joins = overlap[best] > threshold
        place = jnp.where(joins, best, found)  # an index beyond the last row is dropped
        total = total.at[place].add(scores[index] * boxes[index], mode='drop')
        weight = weight.at[place].add(scores[index], mode='drop')
        size, label = size.at[place].add(1, mode='drop'), label.at[place].set(labels[index], mode='drop')
        return total, weight, size, label, jnp.minimum(found + jnp.where(joins, 0, 1), limit), rank + 1

    empty = jnp.zeros(limit)
    start = (jnp.zeros((limit, boxes.shape[1])), empty, empty, jnp.zeros(limit, jnp.int32), 0, 0)
    total, weight, size, label, *_ = lax.while_loop(lambda state: state[-1] < real, merge, start)
    size = jnp.maximum(size, 1)
    score = weight / size * jnp.minimum(size, models) / models
    order = jnp.argsort(-score)
    fused = total / jnp.maximum(weight, 1e-30)[:, None]
    return fused[order], score[order], label[order], score[order] > 0
