"""Whole images by windows: every object once and whole, by a detector that sees what is in its window and no more."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops.window_stitching import tiled

MOST = 12  # objects of an image


def looks(variables, batch, dims):
    """Finds the box about each number's voxels in the image; of a piece about the piece, and as surely."""
    out = []
    for number in range(1, MOST + 1):
        there = batch['image'][..., 0] == number
        ends = []
        for axis in range(dims):
            line = there.any(tuple(other + 1 for other in range(dims) if other != axis))
            ends.append((line.argmax(1), line.shape[1] - line[:, ::-1].argmax(1)))
        box = jnp.stack([end[side] for side in (0, 1) for end in ends], -1).astype(jnp.float32)
        out.append((box, there.any(tuple(range(1, dims + 1)))))
    boxes, valid = jnp.stack([box for box, _ in out], 1), jnp.stack([there for _, there in out], 1)
    number = jnp.arange(1, MOST + 1)
    return {'boxes': boxes, 'valid': valid.astype(jnp.float32), 'labels': jnp.broadcast_to(number % 2, valid.shape),
            'scores': jnp.where(valid, 0.5 + number / 100, 0)}


def drawn(seed, shape, most):
    """An image of numbered boxes apart from each other, no longer than `most`, and those boxes by number."""
    rng, image, boxes = np.random.default_rng(seed), np.zeros(shape, np.float32), {}
    for number in range(1, MOST + 1):
        extent = rng.integers(1, most + 1, len(shape))
        low = [rng.integers(0, whole - own + 1) for whole, own in zip(shape, extent)]
        if not image[tuple(slice(a, a + n) for a, n in zip(low, extent))].any():
            image[tuple(slice(a, a + n) for a, n in zip(low, extent))] = number
            boxes[number] = [*low, *np.add(low, extent)]
    return image[..., None], boxes


@pytest.mark.parametrize('shape, window, overlap', [
    ((50, 37), (16, 20), 0.5), ((33, 64), (20, 20), 0.6), ((24, 30, 22), (16, 14, 22), 0.5), ((20, 20), (20, 20), 0.5)])
def test_each_object_that_the_overlap_holds_is_found_once_and_whole(shape, window, overlap):
    most = int(min(window) * overlap) - 4  # a centre within two voxels of a part's border counts as inside
    whole = jax.jit(tiled(functools.partial(looks, dims=len(shape)), window, overlap))
    for seed in range(0, 12, 2):
        (one, first), (two, second) = (drawn(seed + more, shape, most) for more in (0, 1))
        found = jax.device_get(whole({}, {'image': np.stack([one, two])}))
        for row, want in enumerate((first, second)):
            real = found['valid'][row] > 0
            scores = found['scores'][row][real]
            assert (np.diff(scores) <= 0).all() and not found['boxes'][row][~real].any()
            numbers = np.rint((scores - 0.5) * 100).astype(int)
            assert sorted(numbers) == sorted(want)
            assert {number: box.tolist() for number, box in zip(numbers, found['boxes'][row][real])} == want
            assert (found['labels'][row][real] == numbers % 2).all()


def test_an_object_longer_than_the_overlap_comes_in_pieces():
    """What the docstring says of the overlap is no more than it can."""
    image = np.zeros((1, 40, 16, 1), np.float32)
    image[0, 2:38, 4:9] = 1
    found = tiled(functools.partial(looks, dims=2), (16, 16), 0.5)({}, {'image': image})
    assert found['valid'].sum() > 1
