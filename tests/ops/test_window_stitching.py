"""Sliding-window detection finds every object once and complete, with a detector that only uses its window."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops.window_stitching import sliding_window_detector

MAX_OBJECTS = 12  # of an image


def detector(variables, batch, dims):
    """Detects the bounding box of the voxels of each number; truncated objects have the same score."""
    detections = []
    for number in range(1, MAX_OBJECTS + 1):
        there = batch['image'][..., 0] == number
        ends = []
        for axis in range(dims):
            line = there.any(tuple(other + 1 for other in range(dims) if other != axis))
            ends.append((line.argmax(1), line.shape[1] - line[:, ::-1].argmax(1)))
        box = jnp.stack([end[side] for side in (0, 1) for end in ends], -1).astype(jnp.float32)
        detections.append((box, there.any(tuple(range(1, dims + 1)))))
    boxes, valid = jnp.stack([box for box, _ in detections], 1), jnp.stack([there for _, there in detections], 1)
    number = jnp.arange(1, MAX_OBJECTS + 1)
    return {'boxes': boxes, 'valid': valid.astype(jnp.float32), 'labels': jnp.broadcast_to(number % 2, valid.shape),
            'scores': jnp.where(valid, 0.5 + number / 100, 0)}


def random_scene(seed, shape, max_extent):
    """An image of disjoint numbered boxes, no longer than `max_extent`, and the boxes by number."""
    rng, image, boxes = np.random.default_rng(seed), np.zeros(shape, np.float32), {}
    for number in range(1, MAX_OBJECTS + 1):
        extent = rng.integers(1, max_extent + 1, len(shape))
        low = [rng.integers(0, whole - own + 1) for whole, own in zip(shape, extent)]
        if not image[tuple(slice(a, a + n) for a, n in zip(low, extent))].any():
            image[tuple(slice(a, a + n) for a, n in zip(low, extent))] = number
            boxes[number] = [*low, *np.add(low, extent)]
    return image[..., None], boxes


@pytest.mark.parametrize('shape, window, overlap', [
    ((50, 37), (16, 20), 0.5), ((33, 64), (20, 20), 0.6), ((24, 30, 22), (16, 14, 22), 0.5), ((20, 20), (20, 20), 0.5)])
def test_objects_no_longer_than_the_overlap_are_found_once_and_complete(shape, window, overlap):
    max_extent = int(min(window) * overlap) - 4  # centres within two voxels of a region's border count as inside
    detect = jax.jit(sliding_window_detector(functools.partial(detector, dims=len(shape)), window, overlap))
    for seed in range(0, 12, 2):
        (one, first), (two, second) = (random_scene(seed + offset, shape, max_extent) for offset in (0, 1))
        found = jax.device_get(detect({}, {'image': np.stack([one, two])}))
        for row, want in enumerate((first, second)):
            real = found['valid'][row] > 0
            scores = found['scores'][row][real]
            assert (np.diff(scores) <= 0).all() and not found['boxes'][row][~real].any()
            numbers = np.rint((scores - 0.5) * 100).astype(int)
            assert sorted(numbers) == sorted(want)
            assert {number: box.tolist() for number, box in zip(numbers, found['boxes'][row][real])} == want
            assert (found['labels'][row][real] == numbers % 2).all()


def test_an_object_longer_than_the_overlap_is_split():
    image = np.zeros((1, 40, 16, 1), np.float32)
    image[0, 2:38, 4:9] = 1
    found = sliding_window_detector(functools.partial(detector, dims=2), (16, 16), 0.5)({}, {'image': image})
    assert found['valid'].sum() > 1
