"""Boxes, non-maximum suppression and adaptive selection against MONAI's."""

import jax
import numpy as np
import pytest

from medjax.ops import anchor_assignment
from medjax.ops import boxes as ops
from medjax.ops.nms import nms

torch = pytest.importorskip('torch')
monai = pytest.importorskip('monai.data.box_utils')
from monai.apps.detection.utils.ATSS_matcher import ATSSMatcher  # noqa: E402
from monai.apps.detection.utils.box_coder import BoxCoder  # noqa: E402

rng = np.random.default_rng(0)


def draw(count, dims, size=100.0, least=4.0, most=40.0):
    low = rng.uniform(0, size - most, (count, dims))
    return np.concatenate([low, low + rng.uniform(least, most, (count, dims))], 1).astype(np.float32)


@pytest.mark.parametrize('dims', [2, 3])
def test_overlap(dims):
    a, b = draw(40, dims), draw(30, dims)
    a[:2] = b[0]
    for ours, theirs in ((ops.area, monai.box_area), (ops.iou, monai.box_iou), (ops.giou, monai.box_giou)):
        given = (a,) if ours is ops.area else (a, b)
        np.testing.assert_allclose(jax.jit(ours)(*given), theirs(*given), rtol=1e-5, atol=1e-6)
    np.testing.assert_allclose(ops.paired_giou(a[:30], b), monai.box_pair_giou(a[:30], b), rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize('dims', [2, 3])
def test_encoding(dims):
    boxes, anchors = draw(30, dims), draw(30, dims)
    coder = BoxCoder((10.0,) * dims + (5.0,) * dims)
    boxes_t, anchors_t = torch.tensor(boxes), torch.tensor(anchors)
    deltas = coder.encode_single(boxes_t, anchors_t).numpy()
    np.testing.assert_allclose(jax.jit(ops.encode)(boxes, anchors, (0.1, 0.2)), deltas, rtol=1e-4, atol=1e-4)
    deltas[:5, -1] = 99  # both hold the logarithm
    want = coder.decode_single(torch.tensor(deltas), anchors_t).numpy()
    np.testing.assert_allclose(jax.jit(ops.decode)(deltas, anchors, (0.1, 0.2)), want, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize('dims, threshold', [(2, 0.5), (2, 0.2), (3, 0.1)])
def test_suppression(dims, threshold):
    boxes = draw(400, dims, 100.0 if dims == 2 else 70.0)
    scores = np.round(rng.uniform(size=400), 2).astype(np.float32)  # many ties
    kept, valid = nms(boxes, scores, threshold, 400)
    want = monai.non_max_suppression(boxes, scores, threshold)
    assert np.asarray(kept)[np.asarray(valid)].tolist() == want.tolist()
    kept, valid = nms(boxes, scores, threshold, 30)
    assert np.asarray(kept).tolist() == monai.non_max_suppression(boxes, scores, threshold, 30).tolist()
    labels = rng.integers(0, 4, 400).astype(np.int32)
    kept, valid = nms(boxes, scores, threshold, 400, labels)
    want = monai.batched_nms(torch.tensor(boxes), torch.tensor(scores), torch.tensor(labels), threshold)
    assert np.asarray(kept)[np.asarray(valid)].tolist() == want.tolist()


@pytest.mark.parametrize('dims, count', [(2, 9), (2, 4), (3, 4)])
def test_adaptive_selection(dims, count):
    grids = [(24 // 2**level,) * dims if dims == 2 else (12 // 2**level,) * dims for level in range(3)]
    strides = [(96 // grid[0],) * dims for grid in grids]
    levels = ops.anchors(grids, strides, [[(2.0 * stride[0],) * dims] for stride in strides])
    objects = draw(12, dims, 96.0, 6.0, 60.0)
    ours = jax.jit(lambda objects: anchor_assignment.atss(levels, objects, np.ones(12, np.float32), count))(objects)
    _, theirs = ATSSMatcher(count)(torch.tensor(objects), torch.tensor(np.concatenate(levels)),
                                   [len(level) for level in levels], 1)
    assert len(np.unique(theirs)) > 9
    np.testing.assert_array_equal(ours, theirs.numpy())
