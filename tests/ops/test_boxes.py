"""Boxes against loops in float64, and by hand."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.test_util import check_grads

from medjax.ops import boxes as ops

rng = np.random.default_rng(0)


def draw(count, dims, size=64.0, least=2.0, most=24.0):
    low = rng.uniform(0, size - most, (count, dims))
    return np.concatenate([low, low + rng.uniform(least, most, (count, dims))], 1).astype(np.float32)


def extents(low, high):
    return math.prod(max(end - start, 0.0) for start, end in zip(low, high))


def overlap(a, b):
    """IoU and GIoU of two boxes."""
    dims = len(a) // 2
    a, b = [float(x) for x in a], [float(x) for x in b]
    size = [extents(x[:dims], x[dims:]) for x in (a, b)]
    inter = extents(map(max, a[:dims], b[:dims]), list(map(min, a[dims:], b[dims:])))
    hull = extents(map(min, a[:dims], b[:dims]), list(map(max, a[dims:], b[dims:])))
    union = sum(size) - inter
    iou = inter / union if union else 0.0
    return iou, iou - ((hull - union) / hull if hull else 0.0)


@pytest.mark.parametrize('dims', [2, 3])
def test_overlap_of_each_with_each(dims):
    a, b = draw(9, dims), draw(7, dims)
    a[0], b[0] = 0, b[1]  # padding, and two that are equal
    a[1] = b[1]
    a[2, dims] = a[2, 0] - 1  # reversed: empty
    want = np.array([[overlap(x, y) for y in b] for x in a])
    assert want[1, 1].tolist() == [1, 1] and not want[0, :, 0].any() and not want[2, :, 0].any()
    for number, function in enumerate((ops.iou, ops.giou)):
        np.testing.assert_allclose(jax.jit(function)(a, b), want[..., number], atol=1e-6)
    np.testing.assert_allclose(ops.paired_giou(a[:7], b), np.diagonal(want[..., 1]), atol=1e-6)
    np.testing.assert_allclose(ops.area(a), [extents(x[:dims], x[dims:]) for x in a], rtol=1e-6)


def test_overlap_by_hand():
    a = jnp.array([[0.0, 0, 4, 4], [0, 0, 0, 0]])
    b = jnp.array([[2.0, 2, 6, 6], [4, 0, 6, 4], [8, 8, 8, 8]])
    np.testing.assert_allclose(ops.iou(a, b), [[4 / 28, 0, 0], [0, 0, 0]], rtol=1e-6)
    np.testing.assert_allclose(ops.giou(a, b), [[4 / 28 - 8 / 36, 0, -48 / 64], [-20 / 36, -16 / 24, -1]], rtol=1e-6)
    assert ops.giou(a[1:], a[1:]).item() == 0


def test_gradients():
    a, b = draw(5, 3), draw(5, 3)
    check_grads(jax.jit(ops.paired_giou), (a, b), 1, ['rev'], atol=2e-2, rtol=2e-2, eps=1e-2)
    # Boxes that do not meet come nearer by GIoU's gradient.
    grad = jax.jit(jax.grad(ops.paired_giou))(jnp.array([0.0, 0, 4, 4]), jnp.array([10.0, 10, 14, 14]))
    assert (grad[2:] > 0).all()
    some = np.concatenate([np.zeros((2, 6)), np.full((1, 6), 3.0), a[:1], a[:1]])
    for function in (ops.iou, ops.giou, ops.encode):
        for grad in jax.jit(jax.grad(lambda a, b, f=function: f(a, b).sum(), (0, 1)))(some, some):
            assert jnp.isfinite(grad).all()


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('scale', [(1.0, 1.0), (0.1, 0.2)])
def test_decoding_undoes_encoding(dims, scale):
    boxes, anchors = draw(20, dims), draw(20, dims)
    deltas = ops.encode(boxes, anchors, scale)
    np.testing.assert_allclose(ops.decode(deltas, anchors, scale), boxes, atol=1e-4)
    np.testing.assert_allclose(ops.encode(ops.decode(deltas, anchors, scale), anchors, scale), deltas, atol=1e-4)
    assert not ops.encode(anchors, anchors, scale).any()


def test_encoding_by_hand():
    anchor, box = jnp.array([0.0, 0, 4, 8]), jnp.array([1.0, 2, 9, 4])
    deltas = [(5 - 2) / 4, (3 - 4) / 8, math.log(2), math.log(1 / 4)]
    np.testing.assert_allclose(ops.encode(box, anchor), deltas, rtol=1e-6)
    np.testing.assert_allclose(ops.encode(box, anchor, (0.1, 0.2)), np.array(deltas) / [0.1, 0.1, 0.2, 0.2], rtol=1e-6)
    far = ops.decode(jnp.array([0.0, 0, 99, -99]), anchor)
    np.testing.assert_allclose(far, [2 - 125, 4, 2 + 125, 4], rtol=1e-5)
    assert jnp.isfinite(ops.encode(jnp.zeros(4), anchor)).all() and jnp.isfinite(ops.encode(box, jnp.zeros(4))).all()
    assert not ops.decode(jnp.ones(4), jnp.zeros(4)).any()  # padding stays padding


def test_clip_to_the_image():
    boxes = jnp.array([[-3.0, 2, 5, 99], [20, 20, 30, 30], [1, 2, 3, 4]])
    assert ops.clip(boxes, (8, 6)).tolist() == [[0, 2, 5, 6], [8, 6, 8, 6], [1, 2, 3, 4]]


def test_shapes_of_anchors():
    plane = ops.shapes((8, 16), (0.5, 1, 2))
    np.testing.assert_allclose([a * b for a, b in plane], [64] * 3 + [256] * 3)
    np.testing.assert_allclose([a / b for a, b in plane], [0.5, 1, 2] * 2)
    assert ops.shapes((8,), (1, 4), (3, 5)) == [(8, 8, 3), (8, 8, 5), (16, 4, 3), (16, 4, 5)]


def test_anchors_lie_on_the_grids():
    sizes = [[(4.0, 6.0), (8.0, 8.0)], [(16.0, 10.0)]]
    first, second = ops.anchors([(2, 3), (1, 2)], [(4, 8), (8, 16)], sizes)
    want = []
    for row, column, (height, width) in itertools.product(range(2), range(3), sizes[0]):
        middle = (row + 0.5) * 4, (column + 0.5) * 8
        want.append([middle[0] - height / 2, middle[1] - width / 2, middle[0] + height / 2, middle[1] + width / 2])
    assert first.dtype == np.float32 and first.tolist() == want
    assert second.tolist() == [[-4, 3, 12, 13], [-4, 19, 12, 29]]
    volume, = ops.anchors([(2, 2, 2)], [(1, 2, 4)], [[(2, 2, 2)]])
    assert volume.shape == (8, 6) and volume[1].tolist() == [-0.5, 0, 5, 1.5, 2, 7]  # the last axis is the fastest


def matched(overlap, mask, low, high, force):
    out = []
    real = [j for j in range(len(mask)) if mask[j]]
    for row in overlap:
        best = max(real, key=lambda j, row=row: (row[j], -j), default=None)
        most = -1 if best is None else row[best]
        forced = force and any(row[j] > 0 and row[j] == overlap[:, j].max() for j in real)
        out.append(best if most >= high or forced else -1 if most < low else -2)
    return out


@pytest.mark.parametrize('force', [True, False])
def test_matching_by_thresholds(force):
    run = jax.jit(lambda overlap, mask: ops.match(overlap, mask, 0.3, 0.5, force))
    seen = set()
    for _ in range(8):
        overlap = (rng.integers(0, 8, (30, 6)) / 10 * (rng.uniform(size=(30, 6)) < 0.3)).astype(np.float32)
        mask = (rng.uniform(size=6) < 0.7).astype(np.float32)
        got = run(overlap, mask).tolist()
        assert got == matched(overlap, mask, np.float32(0.3), np.float32(0.5), force)
        seen |= set(got)
    assert {-1, -2, 0} <= seen
    assert set(run(np.zeros((30, 6)), np.ones(6)).tolist()) == {-1}  # nothing is forced where nothing overlaps
    assert set(run(np.ones((30, 6)), np.zeros(6)).tolist()) == {-1}  # nor to padding


def test_matching_by_hand():
    overlap = jnp.array([[0.6, 0.1], [0.4, 0.2], [0.0, 0.2], [0.4, 0.1], [0.1, 0.1]])
    # The second object's best are two anchors; one of them prefers the first object, and goes there.
    assert ops.match(overlap, jnp.ones(2), 0.3, 0.5).tolist() == [0, 0, 1, -2, -1]
    assert ops.match(overlap, jnp.array([1, 0]), 0.3, 0.5).tolist() == [0, -2, -1, -2, -1]


def selected(levels, objects, mask, count):
    """ATSS, a candidate at a time."""
    every = np.concatenate(levels).astype(float)
    dims = every.shape[1] // 2
    centre = (every[:, :dims] + every[:, dims:]) / 2
    best = {}
    for number in np.flatnonzero(mask):
        box = objects[number].astype(float)
        away = ((centre - (box[:dims] + box[dims:]) / 2) ** 2).sum(1)
        candidates, first = [], 0
        for level in levels:
            candidates += sorted(range(first, first + len(level)), key=lambda i: away[i])[:count]
            first += len(level)
        ious = [overlap(every[i], box)[0] for i in candidates]
        bar = np.mean(ious) + np.std(ious, ddof=1)
        for i, iou in zip(candidates, ious):
            within = (centre[i] - box[:dims] > 0.01).all() and (box[dims:] - centre[i] > 0.01).all()
            if iou >= bar and within and iou > best.get(i, (0, 0))[0]:
                best[i] = iou, number
    return [best[i][1] if i in best else -1 for i in range(len(every))]


@pytest.mark.parametrize('dims, grids, strides', [(2, [(12, 12), (6, 6), (2, 2)], [4, 8, 24]),
                                                  (3, [(6, 6, 6), (3, 3, 3)], [8, 16])])
def test_adaptive_selection(dims, grids, strides):
    sizes = [[(2.0 * s,) * dims, (1.5 * s, *(3.0 * s,) * (dims - 1))] for s in strides]
    levels = ops.anchors(grids, [(s,) * dims for s in strides], sizes)
    run = jax.jit(lambda objects, mask: ops.atss(levels, objects, mask, 9, each=2))
    for _ in range(3):
        objects, mask = draw(7, dims, 48.0, 4.0, 30.0), np.array([1, 1, 1, 1, 1, 1, 0], np.float32)
        got = run(objects, mask)
        assert got.tolist() == selected(levels, objects, mask, 18)
        assert len(set(got.tolist())) > 4
    assert set(run(np.zeros_like(objects), np.zeros(7)).tolist()) == {-1}


def test_sampling_has_exact_counts():
    assigned = rng.permutation([*range(5)] * 4 + [-1] * 50 + [-2] * 30).astype(np.int32)
    run = jax.jit(ops.sample, static_argnums=(2, 3))
    many = jax.jit(jax.vmap(lambda key, assigned: ops.sample(key, assigned, 24, 0.25), (0, None)))
    weights = np.asarray(many(jax.random.split(jax.random.key(0), 600), assigned))
    assert set(np.unique(weights)) == {0, 1}
    assert (weights[:, assigned >= 0].sum(1) == 6).all() and (weights[:, assigned == -1].sum(1) == 18).all()
    assert not weights[:, assigned == -2].any()
    # Each of a kind is drawn as often as the others, to five deviations of a binomial.
    for kind, share in ((assigned >= 0, 6 / 20), (assigned == -1, 18 / 50)):
        often = weights[:, kind].mean(0)
        assert np.abs(often - share).max() < 5 * math.sqrt(share * (1 - share) / 600)
    few = np.array([0, -1, -1, -2] * 8, np.int32)
    assert run(jax.random.key(1), few, 24, 0.25).tolist() != run(jax.random.key(2), few, 24, 0.25).tolist()
    for count, positives, want in ((99, 8, 24), (16, 4, 16), (2, 0, 2)):  # too few; enough; no room for an object
        drawn = np.asarray(run(jax.random.key(0), few, count, 0.25))
        assert (drawn[few >= 0].sum(), drawn.sum()) == (positives, want)
    assert run(jax.random.key(0), np.zeros(32, np.int32), 16, 0.25).sum() == 4


def test_hard_negatives():
    score = np.array([0.9, 0.1, 0.8, 0.7, 0.7, 0.7, 0.2, 0.95], np.float32)
    assigned = np.array([-1, 2, -1, -1, -1, -1, -1, -2])
    run = jax.jit(ops.hard_negatives)
    assert np.flatnonzero(run(score, assigned, 3.0, 0)).tolist() == [0, 1, 2, 3]  # of equal ones the first
    assert np.flatnonzero(run(score, assigned, 0.0, 4)).tolist() == [0, 1, 2, 3, 4]
    assert np.flatnonzero(run(score, assigned, 99.0, 0)).tolist() == [0, 1, 2, 3, 4, 5, 6]
    assert not run(score, np.full(8, -2), 3.0, 5).any()
