"""ROI align, compared with SciPy's interpolation, and ROI pooling, compared with loops."""

import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.ops.roi import roi_align, roi_pool

CASES = [((9, 11), 3, (3, 2), (0.25, 0.5)), ((6, 5, 7), 2, (2, 3, 2), (0.5, 0.25, 0.125)), ((4, 1), 2, (2, 2), (1, 1))]


def draw(shape, channels, scale, count, seed=0):
    """Features, and boxes inside, across the border, or around them."""
    rng = np.random.default_rng(seed)
    full = np.array(shape) / scale
    low = rng.uniform(-0.4, 0.9, (count, len(shape))) * full
    boxes = np.concatenate([low, low + rng.uniform(0, 1.2, low.shape) * full], 1)
    return rng.normal(size=(*shape, channels)).astype(np.float32), boxes.astype(np.float32)


def align_by_loop(features, boxes, size, scale, ratio):
    """Sample by sample, in float64."""
    shape, dims = features.shape[:-1], len(size)
    out = np.zeros((len(boxes), *size, features.shape[-1]))
    for number, box in enumerate(np.asarray(boxes, float)):
        low, step = box[:dims] * scale, (box[dims:] - box[:dims]) * scale / size
        for place in itertools.product(*map(range, size)):
            for share in itertools.product(*[range(ratio)] * dims):
                where = low + (np.array(place) + (np.array(share) + 0.5) / ratio) * step - 0.5
                if ((where >= -1) & (where <= shape)).all():
                    out[(number, *place)] += [ndimage.map_coordinates(
                        features[..., c].astype(float), where[:, None], order=1, mode='nearest')[0]
                        for c in range(features.shape[-1])]
    return out / ratio**dims


@pytest.mark.parametrize('shape, channels, size, scale', CASES)
@pytest.mark.parametrize('ratio', [1, 2])
def test_align_equals_interpolation(shape, channels, size, scale, ratio):
    features, boxes = draw(shape, channels, scale, 35)
    run = jax.jit(lambda features, boxes: roi_align(features, boxes, size, scale, ratio))
    want = align_by_loop(features, boxes, size, scale, ratio)
    np.testing.assert_allclose(run(features, boxes), want, atol=1e-5)
    assert (want == 0).any()  # some samples are outside
    half = run(features.astype(jnp.bfloat16), boxes)
    assert half.dtype == jnp.bfloat16
    np.testing.assert_allclose(half.astype(np.float32), want, atol=0.03)


@pytest.mark.parametrize('shape, channels, size, scale', CASES[:2])
def test_gradients_of_align(shape, channels, size, scale):
    features, boxes = draw(shape, channels, scale, 12)
    rng = np.random.default_rng(1)
    up = rng.normal(size=(12, *size, channels)).astype(np.float32)
    loss = jax.jit(jax.grad(lambda *x: (roi_align(*x, size, scale) * up).sum(), (0, 1)))
    to_features, to_boxes = map(np.asarray, loss(features, boxes))
    # The map is linear in the features: its gradient is its transpose, tested in random directions.
    for seed in range(3):
        other, _ = draw(shape, channels, scale, 1, seed + 5)
        want = (align_by_loop(other, boxes, size, scale, 2) * up).sum()
        np.testing.assert_allclose((to_features * other).sum(), want, rtol=1e-4, atol=1e-4)
    # The map is piecewise linear in the boxes; pairs of steps with equal differences do not cross a voxel's centre.
    step, compared = 1e-4, 0
    for number, side in itertools.product(range(12), range(len(boxes[0]))):
        near = np.asarray(boxes[number], float) + np.eye(len(boxes[0]))[side] * step * np.array([-1, 0, 1])[:, None]
        values = (align_by_loop(features, near, size, scale, 2) * up[number]).reshape(3, -1).sum(1)
        before, after = np.diff(values) / step
        if abs(before - after) < 1e-4:
            np.testing.assert_allclose(to_boxes[number, side], (before + after) / 2, rtol=1e-3, atol=1e-3)
            compared += 1
    assert compared > 0.8 * boxes.size


def test_align_by_hand():
    ramp = jnp.broadcast_to(jnp.arange(8.0)[:, None, None], (8, 8, 1))
    # Values are located at voxel centres: the mean over [2, 6) is that of the voxels 2, 3, 4, 5.
    run = jax.jit(roi_align, static_argnums=(2, 3))
    out = run(ramp, jnp.array([[2.0, 2, 6, 6], [0, 0, 8, 8]]), (2, 1), (1, 1))
    np.testing.assert_allclose(out[..., 0, 0], [[2.5, 4.5], [1.5, 5.5]], rtol=1e-6)
    double = run(ramp, jnp.array([[4.0, 4, 12, 12]]), (2, 1), (0.5, 0.5))
    np.testing.assert_allclose(double[0, :, 0, 0], [2.5, 4.5], rtol=1e-6)


def test_vmap_over_images():
    parts = [draw((9, 11), 3, (0.25, 0.5), 40, seed) for seed in range(3)]
    features, boxes = map(np.stack, zip(*parts))
    for function in (roi_align, roi_pool):
        run = lambda f, b, function=function: function(f, b, (3, 2), (0.25, 0.5))
        one, many = jax.jit(run), jax.jit(jax.vmap(run))
        np.testing.assert_allclose(many(features, boxes), [one(*part) for part in parts], atol=1e-5)


def bins(box, size, shape, scale):
    """Slices of the voxels in each bin."""
    axes = []
    for axis, (count, extent) in enumerate(zip(size, shape)):
        start = min(max(round(float(box[axis] * scale[axis])), 0), extent - 1)
        end = min(max(round(float(box[len(size) + axis] * scale[axis])), start + 1), extent)
        n = end - start
        axes.append([slice(start + i * n // count, start + math.ceil((i + 1) * n / count)) for i in range(count)])
    return itertools.product(*axes)


@pytest.mark.parametrize('shape, channels, size, scale', [
    *CASES, ((30, 23), 2, (7, 7), (0.25, 0.25)), ((12, 9), 1, (1, 2), (1, 1)), ((5, 5), 1, (5, 9), (1, 1))])
def test_pooling_and_its_gradient_equal_a_loop(shape, channels, size, scale):
    features, boxes = draw(shape, channels, scale, 25)
    up = np.random.default_rng(1).normal(size=(25, *size, channels)).astype(np.float32)
    want, gradient = np.zeros_like(up), np.zeros_like(features)
    for number, box in enumerate(boxes):
        for place, window in zip(itertools.product(*map(range, size)), bins(box, size, shape, scale), strict=True):
            for c in range(channels):
                part = features[(*window, c)]
                want[(number, *place, c)] = part.max()
                gradient[(*window, c)][np.unravel_index(part.argmax(), part.shape)] += up[(number, *place, c)]
    got, back = jax.vjp(jax.jit(lambda features: roi_pool(features, boxes, size, scale)), features)
    np.testing.assert_array_equal(got, want)
    np.testing.assert_allclose(back(up)[0], gradient, atol=1e-5)


def test_one_of_equal_values_receives_the_gradient():
    box = jnp.array([[0.0, 0, 6, 6]])
    grad = jax.jit(jax.grad(lambda x: roi_pool(x, box, (1, 1), (1, 1)).sum()))(jnp.zeros((6, 6, 1)))
    assert grad.sum() == 1 and grad[0, 0, 0] == 1
