"""Non-maximum suppression, soft NMS and weighted boxes fusion, compared with loops over boxes.

Corners are integers in the tests of greedy NMS: areas are then exact, so that an IoU equal to the threshold is equal to
it in the loop and in the compiled operation.
"""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops.nms import BLOCK, nms, soft_nms, weighted_fusion


def scene(count, dims, seed, objects=40, size=120, levels=None):
    """Boxes around some objects; scores have `levels` distinct values, or are all different."""
    rng = np.random.default_rng(seed)
    low, extent = rng.integers(0, size, (objects, dims)), rng.integers(8, 30, (objects, dims))
    which = rng.integers(0, objects, count)
    low = low[which] + rng.integers(-4, 5, (count, dims))
    boxes = np.concatenate([low, low + np.maximum(extent[which] + rng.integers(-4, 5, (count, dims)), 1)], 1)
    scores = (rng.permutation(count) + 1) / count if levels is None else rng.integers(1, levels + 1, count) / levels
    return boxes.astype(np.float32), scores.astype(np.float32), (which % 3).astype(np.int32)


def iou(box, boxes):
    dims = len(box) // 2
    size = lambda low, high: np.maximum(high - low, 0).prod(-1)
    inter = size(np.maximum(box[:dims], boxes[:, :dims]), np.minimum(box[dims:], boxes[:, dims:]))
    union = size(box[:dims], box[dims:]) + size(boxes[:, :dims], boxes[:, dims:]) - inter
    return np.where(union > 0, inter / np.where(union > 0, union, 1), 0)


def greedy(boxes, scores, threshold, limit, labels):
    kept = []
    for i in sorted(np.flatnonzero(scores > -np.inf), key=lambda i: (-scores[i], i)):
        rivals = [j for j in kept if labels[j] == labels[i]]
        if len(kept) < limit and not (iou(boxes[i], boxes[rivals]) > np.float32(threshold)).any():
            kept.append(int(i))
    return kept


def kept_boxes(result):
    kept, valid = map(np.asarray, result)
    assert kept.dtype == np.int32 and (np.diff(valid.astype(int)) <= 0).all() and not kept[~valid].any()
    return kept[valid].tolist()


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('threshold, limit', [(0.5, 40), (0.25, 1000), (0.0, 1000), (0.75, 1000)])
def test_nms_equals_the_greedy_loop(dims, threshold, limit):
    for seed, levels in enumerate((None, 5, 1)):  # no ties, many ties, only ties
        boxes, scores, labels = scene(700, dims, seed, levels=levels)
        scores[::9] = -np.inf
        for classes in (labels, np.zeros_like(labels)):
            want = greedy(boxes, scores, threshold, limit, classes)
            assert kept_boxes(nms(boxes, scores, threshold, limit, classes)) == want
            assert len(want) > 10


def test_thousands_of_boxes():
    boxes, scores, labels = scene(5000, 2, 0, objects=600, size=500, levels=200)
    want = greedy(boxes, scores, 0.5, 300, labels)
    assert len(want) == 300
    assert kept_boxes(nms(boxes, scores, 0.5, 300, labels)) == want


def test_vmap_over_images():
    parts = [scene(500, 2, seed, objects) for seed, objects in enumerate((3, 20, 200))]
    boxes, scores, labels = map(np.stack, zip(*parts))
    scores[1] = -np.inf
    kept, valid = jax.jit(jax.vmap(lambda *x: nms(x[0], x[1], 0.4, 60, x[2])))(boxes, scores, labels)
    found = [kept_boxes(one) for one in zip(kept, valid)]
    assert found == [greedy(*one[:2], 0.4, 60, one[2]) for one in zip(boxes, scores, labels)]
    assert [len(one) for one in found] == [len(found[0]), 0, 60]


def test_a_long_chain_of_suppressions():
    # Each box overlaps only the next one, so every second box is kept, and each depends on the previous one.
    start = 4.0 * np.arange(3 * BLOCK + 1)
    boxes = np.stack([start, 0 * start, start + 6, 0 * start + 1], 1)
    assert kept_boxes(nms(boxes, -start, 0.1, len(start))) == list(range(0, len(start), 2))


def test_by_hand():
    boxes = jnp.array([[0.0, 0, 4, 4], [0, 0, 4, 2], [0, 2, 4, 6], [9, 9, 9, 9], [0, 0, 4, 4]])
    scores = jnp.array([0.9, 0.8, 0.7, 0.6, 0.9])
    # An IoU equal to the threshold, 0.5, does not suppress; of equal boxes the first is kept; empty boxes are kept.
    assert kept_boxes(nms(boxes, scores, 0.5, 9)) == [0, 1, 2, 3]
    assert kept_boxes(nms(boxes, scores, 0.49, 9)) == [0, 2, 3]
    assert kept_boxes(nms(boxes, scores, 0.49, 2)) == [0, 2]
    assert kept_boxes(nms(boxes, scores.at[0].set(-jnp.inf).at[2].set(jnp.nan), 0.5, 9)) == [4, 1, 3]
    assert kept_boxes(nms(boxes, scores, 0.5, 9, jnp.array([0, 0, 0, 0, 1]))) == [0, 4, 1, 2, 3]


@pytest.mark.parametrize('decay', ['gaussian', 'linear'])
def test_soft_suppression(decay):
    boxes, scores, labels = scene(200, 3, 4, objects=8, size=40)
    scores[:5] = -np.inf
    remaining, want = np.where(scores > 0, scores, 0).astype(float), []
    while len(want) < 80 and remaining.max() > 0.01:
        best = remaining.argmax()
        want.append((best, remaining[best]))
        overlap = iou(boxes[best], boxes) * (labels == labels[best])
        remaining *= np.exp(-(overlap**2) / 0.3) if decay == 'gaussian' else np.where(overlap > 0.2, 1 - overlap, 1)
        remaining[best] = 0
    result = soft_nms(boxes, scores, 80, labels, decay=decay, sigma=0.3, threshold=0.2, lowest=0.01)
    kept, score, valid = map(np.asarray, result)
    assert kept[valid].tolist() == [i for i, _ in want]
    np.testing.assert_allclose(score[valid], [s for _, s in want], rtol=1e-5)
    assert not valid[len(want):].any()
    # Without labels, and with a limit that is not reached.
    one = soft_nms(jnp.array([[0.0, 0, 2, 2], [0, 0, 2, 2], [5, 5, 6, 6]]), jnp.array([0.5, 0.9, 0.6]), 5, decay=decay)
    assert one[0][one[2]].tolist() == ([1, 2, 0] if decay == 'gaussian' else [1, 2])
    np.testing.assert_allclose(one[1][:2], [0.9, 0.6])


@pytest.mark.parametrize('models', [1, 4])
def test_fusion_equals_a_loop(models):
    boxes, scores, labels = scene(150, 2, 5, objects=9)
    scores[:4] = -np.inf
    clusters = []
    fused = lambda members: np.average(boxes[members], 0, scores[members])
    for i in np.argsort(-scores, kind='stable')[:-4]:
        ious = [float(iou(boxes[i], fused(m)[None])[0]) if labels[m[0]] == labels[i] else 0.0 for m in clusters]
        if ious and max(ious) > 0.5:
            clusters[int(np.argmax(ious))].append(int(i))
        else:
            clusters.append([int(i)])
    score = [scores[m].mean() * min(len(m), models) / models for m in clusters]
    order = np.argsort(-np.array(score), kind='stable')
    got = [np.asarray(x) for x in weighted_fusion(boxes, scores, labels, 0.5, 60, models)]
    assert 5 < len(clusters) < 60 and got[3].sum() == len(clusters)
    for array, want in zip(got, ([fused(m) for m in clusters], score, [labels[m[0]] for m in clusters])):
        np.testing.assert_allclose(array[got[3]], np.array(want)[order], rtol=1e-5)
        assert not array[~got[3]].any()


def test_fusion_by_hand():
    boxes = jnp.array([[0.0, 0, 10, 10], [0, 0, 10, 14], [50, 50, 60, 60], [0, 0, 10, 10]])
    scores, labels = jnp.array([0.6, 0.2, 0.5, 0.9]), jnp.array([0, 0, 0, 1])
    box, score, label, valid = weighted_fusion(boxes, scores, labels, 0.5, 3, models=2)
    np.testing.assert_allclose(box, [[0, 0, 10, 10], [0, 0, 10, 11], [50, 50, 60, 60]], rtol=1e-6)
    np.testing.assert_allclose(score, [0.45, 0.4, 0.25], rtol=1e-6)
    assert label.tolist() == [1, 0, 0] and valid.all()
    # At the limit, further boxes are dropped and not merged into others.
    np.testing.assert_allclose(weighted_fusion(boxes, scores, labels, 0.5, 2, models=2)[1], [0.45, 0.4], rtol=1e-6)
