"""Boxes, compared with loops in float64 and with values computed by hand."""

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
def test_overlap_of_all_pairs(dims):
    a, b = draw(9, dims), draw(7, dims)
    a[0], b[0] = 0, b[1]  # padding, and two equal boxes
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
    # The gradient of GIoU moves disjoint boxes closer.
    grad = jax.jit(jax.grad(ops.paired_giou))(jnp.array([0.0, 0, 4, 4]), jnp.array([10.0, 10, 14, 14]))
    assert (grad[2:] > 0).all()
    some = np.concatenate([np.zeros((2, 6)), np.full((1, 6), 3.0), a[:1], a[:1]])
    for function in (ops.iou, ops.giou, ops.encode):
        for grad in jax.jit(jax.grad(lambda a, b, f=function: f(a, b).sum(), (0, 1)))(some, some):
            assert jnp.isfinite(grad).all()


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('scale', [(1.0, 1.0), (0.1, 0.2)])
def test_decode_inverts_encode(dims, scale):
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


def test_clip():
    boxes = jnp.array([[-3.0, 2, 5, 99], [20, 20, 30, 30], [1, 2, 3, 4]])
    assert ops.clip(boxes, (8, 6)).tolist() == [[0, 2, 5, 6], [8, 6, 8, 6], [1, 2, 3, 4]]


def test_anchor_sizes():
    plane = ops.anchor_sizes((8, 16), (0.5, 1, 2))
    np.testing.assert_allclose([a * b for a, b in plane], [64] * 3 + [256] * 3)
    np.testing.assert_allclose([a / b for a, b in plane], [0.5, 1, 2] * 2)
    assert ops.anchor_sizes((8,), (1, 4), (3, 5)) == [(8, 8, 3), (8, 8, 5), (16, 4, 3), (16, 4, 5)]


def test_anchors_are_centred_on_the_grids():
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
