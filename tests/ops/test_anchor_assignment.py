"""Assignment of anchors to objects, compared with loops."""

import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import anchor_assignment
from medjax.ops import boxes as ops
from tests.ops.test_boxes import draw, overlap

rng = np.random.default_rng(0)


def match_by_loop(overlap, mask, low, high, force):
    out = []
    real = [j for j in range(len(mask)) if mask[j]]
    for row in overlap:
        best = max(real, key=lambda j, row=row: (row[j], -j), default=None)
        largest = -1 if best is None else row[best]
        forced = force and any(row[j] > 0 and row[j] == overlap[:, j].max() for j in real)
        out.append(best if largest >= high or forced else -1 if largest < low else -2)
    return out


@pytest.mark.parametrize('force', [True, False])
def test_matching_equals_a_loop(force):
    run = jax.jit(lambda overlap, mask: anchor_assignment.match(overlap, mask, 0.3, 0.5, force))
    values = set()
    for _ in range(8):
        overlap = (rng.integers(0, 8, (30, 6)) / 10 * (rng.uniform(size=(30, 6)) < 0.3)).astype(np.float32)
        mask = (rng.uniform(size=6) < 0.7).astype(np.float32)
        got = run(overlap, mask).tolist()
        assert got == match_by_loop(overlap, mask, np.float32(0.3), np.float32(0.5), force)
        values |= set(got)
    assert {-1, -2, 0} <= values
    assert set(run(np.zeros((30, 6)), np.ones(6)).tolist()) == {-1}  # no assignment is forced without overlap
    assert set(run(np.ones((30, 6)), np.zeros(6)).tolist()) == {-1}  # nor to padding


def test_matching_by_hand():
    overlap = jnp.array([[0.6, 0.1], [0.4, 0.2], [0.0, 0.2], [0.4, 0.1], [0.1, 0.1]])
    # Two anchors tie for the second object; one of them overlaps the first object more and is assigned to it.
    assert anchor_assignment.match(overlap, jnp.ones(2), 0.3, 0.5).tolist() == [0, 0, 1, -2, -1]
    assert anchor_assignment.match(overlap, jnp.array([1, 0]), 0.3, 0.5).tolist() == [0, -2, -1, -2, -1]


def atss_by_loop(levels, objects, mask, count):
    """ATSS, one candidate at a time."""
    every = np.concatenate(levels).astype(float)
    dims = every.shape[1] // 2
    centre = (every[:, :dims] + every[:, dims:]) / 2
    best = {}
    for number in np.flatnonzero(mask):
        box = objects[number].astype(float)
        distance = ((centre - (box[:dims] + box[dims:]) / 2) ** 2).sum(1)
        candidates, first = [], 0
        for level in levels:
            candidates += sorted(range(first, first + len(level)), key=lambda i: distance[i])[:count]
            first += len(level)
        ious = [overlap(every[i], box)[0] for i in candidates]
        threshold = np.mean(ious) + np.std(ious, ddof=1)
        for i, iou in zip(candidates, ious):
            within = (centre[i] - box[:dims] > 0.01).all() and (box[dims:] - centre[i] > 0.01).all()
            if iou >= threshold and within and iou > best.get(i, (0, 0))[0]:
                best[i] = iou, number
    return [best[i][1] if i in best else -1 for i in range(len(every))]


@pytest.mark.parametrize('dims, grids, strides', [(2, [(12, 12), (6, 6), (2, 2)], [4, 8, 24]),
                                                  (3, [(6, 6, 6), (3, 3, 3)], [8, 16])])
def test_atss_equals_a_loop(dims, grids, strides):
    sizes = [[(2.0 * s,) * dims, (1.5 * s, *(3.0 * s,) * (dims - 1))] for s in strides]
    levels = ops.anchors(grids, [(s,) * dims for s in strides], sizes)
    run = jax.jit(lambda objects, mask: anchor_assignment.atss(levels, objects, mask, 9, anchors_per_location=2))
    for _ in range(3):
        objects, mask = draw(7, dims, 48.0, 4.0, 30.0), np.array([1, 1, 1, 1, 1, 1, 0], np.float32)
        got = run(objects, mask)
        assert got.tolist() == atss_by_loop(levels, objects, mask, 18)
        assert len(set(got.tolist())) > 4
    assert set(run(np.zeros_like(objects), np.zeros(7)).tolist()) == {-1}


def test_sampling_draws_exact_counts_uniformly():
    assigned = rng.permutation([*range(5)] * 4 + [-1] * 50 + [-2] * 30).astype(np.int32)
    run = jax.jit(anchor_assignment.sample, static_argnums=(2, 3))
    many = jax.jit(jax.vmap(lambda key, assigned: anchor_assignment.sample(key, assigned, 24, 0.25), (0, None)))
    weights = np.asarray(many(jax.random.split(jax.random.key(0), 600), assigned))
    assert set(np.unique(weights)) == {0, 1}
    assert (weights[:, assigned >= 0].sum(1) == 6).all() and (weights[:, assigned == -1].sum(1) == 18).all()
    assert not weights[:, assigned == -2].any()
    # All anchors of a kind are sampled equally often, within five standard deviations of a binomial distribution.
    for kind, share in ((assigned >= 0, 6 / 20), (assigned == -1, 18 / 50)):
        often = weights[:, kind].mean(0)
        assert np.abs(often - share).max() < 5 * math.sqrt(share * (1 - share) / 600)
    few = np.array([0, -1, -1, -2] * 8, np.int32)
    assert run(jax.random.key(1), few, 24, 0.25).tolist() != run(jax.random.key(2), few, 24, 0.25).tolist()
    for count, positives, want in ((99, 8, 24), (16, 4, 16), (2, 0, 2)):  # too few; enough; no room for a positive
        drawn = np.asarray(run(jax.random.key(0), few, count, 0.25))
        assert (drawn[few >= 0].sum(), drawn.sum()) == (positives, want)
    assert run(jax.random.key(0), np.zeros(32, np.int32), 16, 0.25).sum() == 4


def test_background_in_ignored_regions_is_ignored():
    anchors = np.array([[0, 0, 4, 4], [0, 2, 4, 6], [0, 3, 4, 7], [8, 8, 12, 12], [0, 0, 4, 4]], np.float32)
    regions = np.array([[0, 0, 40, 4], [8, 8, 12, 12]], np.float32)  # the second is padding
    assigned = jax.jit(anchor_assignment.ignore_regions)(np.array([-1, -1, -1, -1, 2]), anchors, regions,
                                                         np.array([1.0, 0.0]))
    assert assigned.tolist() == [-2, -2, -1, -1, 2]  # all, half and a quarter of it; an object's anchor stays


def test_hard_negatives():
    score = np.array([0.9, 0.1, 0.8, 0.7, 0.7, 0.7, 0.2, 0.95], np.float32)
    assigned = np.array([-1, 2, -1, -1, -1, -1, -1, -2])
    run = jax.jit(anchor_assignment.hard_negatives)
    assert np.flatnonzero(run(score, assigned, 3.0, 0)).tolist() == [0, 1, 2, 3]  # ties in order
    assert np.flatnonzero(run(score, assigned, 0.0, 4)).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(run(score, assigned, 99.0, 0)).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert not run(score, np.full(8, -2), 3.0, 5).any()
