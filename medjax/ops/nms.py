"""Of the boxes found for one object, one: non-maximum suppression and its kin, with static shapes.

Boxes are as in `ops/boxes.py`. A score of -inf (or NaN) is padding. Results have `limit` rows, and say which are valid.
With labels, boxes of different classes leave each other alone.
"""

import functools
from typing import Literal

import jax
import jax.numpy as jnp
from jax import lax

from medjax.ops.boxes import paired_iou

BLOCK = 128  # boxes that are decided upon at once
PART = 512  # of the kept ones, that a block is compared with at once

Kept = tuple[jax.Array, jax.Array]


@functools.partial(jax.jit, static_argnames='limit')
def nms(boxes: jax.Array, scores: jax.Array, threshold: float, limit: int, labels: jax.Array | None = None) -> Kept:
    """Greedy non-maximum suppression, exactly: by falling score, a box is kept unless it overlaps one that was.

    Boxes are taken a block at a time: each is compared with those kept so far, and with those of its block. Within the
    block the greedy choice is the one solution of `kept = not overlapped by a better kept one`; repeating that from a
    guess finds it, in as many rounds as suppressions hang on each other. Memory grows with N and with the limit, not
    with their product, and nothing is done once `limit` are found.

    Args:
      boxes: `[N, 2D]`.
      scores: `[N]`; of equal ones the earlier box goes first.
      threshold: an IoU above it suppresses.
      limit: boxes kept at most.
      labels: `[N]` int32, or None for one class.

    Returns:
      Indices `[limit]` int32 by falling score, 0 where not valid; and valid `[limit]` bool.
    """
    count, part = len(scores), min(limit, PART)
    blocks, room = -(-count // BLOCK), -(-limit // part) * part
    order = jnp.argsort(-scores)
    order = jnp.pad(order, (0, blocks * BLOCK - count))
    real = jnp.sum(scores > -jnp.inf)
    labels = jnp.zeros(count, jnp.int32) if labels is None else labels
    ahead = jnp.arange(BLOCK)[:, None] < jnp.arange(BLOCK)

    def overlapping(better: jax.Array, index: jax.Array) -> jax.Array:
        return (paired_iou(boxes[better][:, None], boxes[index][None]) > threshold) & (
            labels[better][:, None] == labels[index])

    def unfinished(state: tuple[jax.Array, ...]) -> jax.Array:
        _, found, block = state
        return (found < limit) & (block * BLOCK < real)

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        kept, found, block = state
        index = lax.dynamic_slice(order, (block * BLOCK,), (BLOCK,))
        free = block * BLOCK + jnp.arange(BLOCK) < real

        def against(number: jax.Array, free: jax.Array) -> jax.Array:
            better = lax.dynamic_slice(kept, (number * part,), (part,))
            known = number * part + jnp.arange(part) < found
            return free & ~(overlapping(better, index) & known[:, None]).any(0)

        free = lax.fori_loop(0, (found + part - 1) // part, against, free)
        within = overlapping(index, index) & ahead

        def again(guesses: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
            return guesses[1], free & ~(within & guesses[1][:, None]).any(0)

        keep, _ = lax.while_loop(lambda g: (g[0] != g[1]).any(), again, again((free, free)))
        place = jnp.where(keep, found + jnp.cumsum(keep) - 1, room)
        return kept.at[place].set(index, mode='drop'), found + keep.sum(), block + 1

    kept, found, _ = lax.while_loop(unfinished, step, (jnp.zeros(room, jnp.int32), 0, 0))
    valid = jnp.arange(limit) < found
    return jnp.where(valid, kept[:limit], 0), valid


@functools.partial(jax.jit, static_argnames=('limit', 'decay'))
def soft_nms(boxes: jax.Array, scores: jax.Array, limit: int, labels: jax.Array | None = None, *,
             decay: Literal['gaussian', 'linear'] = 'gaussian', sigma: float = 0.5, threshold: float = 0.3,
             lowest: float = 1e-3) -> tuple[jax.Array, jax.Array, jax.Array]:
    """Soft non-maximum suppression (Bodla 2017): scores fall by how much a box overlaps those that were taken.

    Each choice changes the scores that the next is made by, so the boxes are taken one after the other, `limit` steps.

    Args:
      boxes: `[N, 2D]`.
      scores: `[N]`, not below 0.
      limit: boxes taken at most.
      labels: `[N]` int32, or None for one class.
      decay: 'gaussian', by exp(-IoU² / sigma); 'linear', by 1 - IoU where that is above the threshold.
      sigma: of the Gaussian.
      threshold: of the linear decay.
      lowest: a score not above it is no longer valid.

    Returns:
      Indices `[limit]` int32 and their new scores `[limit]`, falling; and valid `[limit]` bool.
    """
    def step(left: jax.Array, _: None) -> tuple[jax.Array, Kept]:
        best = left.argmax()
        overlap = paired_iou(boxes[best], boxes)
        if labels is not None:
            overlap = jnp.where(labels == labels[best], overlap, 0.0)
        if decay == 'gaussian':
            factor = jnp.exp(-(overlap**2) / sigma)
        else:
            factor = jnp.where(overlap > threshold, 1 - overlap, 1.0)
        return (left * factor).at[best].set(0.0), (best.astype(jnp.int32), left[best])

    _, (kept, score) = lax.scan(step, jnp.where(scores > lowest, scores, 0.0), length=limit)
    return kept, score, score > lowest


@functools.partial(jax.jit, static_argnames='limit')
def weighted_fusion(boxes: jax.Array, scores: jax.Array, labels: jax.Array, threshold: float, limit: int,
                    models: int = 1) -> tuple[jax.Array, jax.Array, jax.Array, jax.Array]:
    """Weighted boxes fusion (Solovyev 2021): averages the boxes of one object, by score, in place of choosing one.

    By falling score a box joins the fused box of its class that it overlaps the most, and moves it, or begins a new
    one. So it depends on all that went before, and the boxes are taken one after the other.

    Args:
      boxes: `[N, 2D]`, of all models or windows together.
      scores: `[N]`; those not above 0 are padding. Of equal ones the earlier box goes first.
      labels: `[N]` int32.
      threshold: an IoU above it joins.
      limit: fused boxes at most; what begins one more is dropped.
      models: how many detectors saw each place: a fused box that fewer boxes went into loses score in proportion.

    Returns:
      Fused boxes `[limit, 2D]`, scores (the mean of those that went in) `[limit]`, falling, labels `[limit]` int32, and
      valid `[limit]` bool; all 0 where not valid.
    """
    order = jnp.argsort(jnp.where(scores > 0, -scores, jnp.inf))
    real = (scores > 0).sum()

    def step(state: tuple[jax.Array, ...]) -> tuple[jax.Array, ...]:
        total, weight, size, label, found, turn = state
        index = order[turn]
        overlap = paired_iou(boxes[index], total / jnp.maximum(weight, 1e-30)[:, None])
        overlap = jnp.where((label == labels[index]) & (size > 0), overlap, -1.0)
        best = overlap.argmax()
        joins = overlap[best] > threshold
        place = jnp.where(joins, best, found)  # one behind the last is dropped
        total = total.at[place].add(scores[index] * boxes[index], mode='drop')
        weight = weight.at[place].add(scores[index], mode='drop')
        size, label = size.at[place].add(1, mode='drop'), label.at[place].set(labels[index], mode='drop')
        return total, weight, size, label, jnp.minimum(found + ~joins, limit), turn + 1

    empty = jnp.zeros(limit)
    start = (jnp.zeros((limit, boxes.shape[1])), empty, empty, jnp.zeros(limit, jnp.int32), 0, 0)
    total, weight, size, label, *_ = lax.while_loop(lambda state: state[-1] < real, step, start)
    size = jnp.maximum(size, 1)
    score = weight / size * jnp.minimum(size, models) / models
    order = jnp.argsort(-score)
    fused = total / jnp.maximum(weight, 1e-30)[:, None]
    return fused[order], score[order], label[order], score[order] > 0
