"""Simulated 2D images and volumes with objects, to try a config without data and for tests.

Each shows bright, separate balls on a cloudy and noisy background; their class is their size.
"""

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from scipy import ndimage

from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Objects, Source
from medjax.data.splits import CrossValidation
from medjax.options import Count, NonNegativeInt

NOTICE = 'Simulated images: balls of two sizes on a cloudy background. The results have no medical meaning.'
CLASSES = ('small', 'large')
RADIUS = ((0.06, 0.09), (0.12, 0.16))  # range for each class, as a fraction of the shortest extent
LEAST = 1.5  # voxels: the smallest radius
TRIES = 50  # attempts to place a ball


def source(*, cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (64, 32, 32), shape: Sequence[Count] = (64, 64),
           channels: Literal[1, 3] = 1, max_objects: Count = 5, seed: NonNegativeInt = 0,
           cross_validation: CrossValidation = CrossValidation()) -> Source:
    """A detection source of simulated images; its classes are `CLASSES`.

    Args:
      cases: numbers of training, validation and test images.
      shape: rows and columns, or x, y, z.
      channels: 1 or 3.
      max_objects: largest number of objects in an image; fewer where there is no room.
      seed: of all draws.
      cross_validation: replaces the split by folds.
    """
    images, shape = [], tuple(shape)
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        for number in range(count):
            draw = (seed, part, number)
            balls = _balls(draw, shape, max_objects)
            voxels = [_voxels(shape, ball)[0] for ball in balls]
            boxes = [np.concatenate([index.min(-1), index.max(-1) + 1]) for index in voxels]
            images.append(Case(
                id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split,
                target=Objects(np.reshape(boxes, (-1, 2 * len(shape))), [kind for _, _, kind in balls]),
                columns={'site': 'ab'[number % 2]}, how=f'{draw} {shape} {channels} {max_objects}',
                read=functools.partial(_draw, draw, shape, channels, max_objects)))
    return Source(cases=tuple(cross_validation.resplit(images, seed)), classes=CLASSES, problem='detection',
                  least_classes=1, notice=NOTICE, analysis_unit='image')


def _balls(draw: Sequence[int], shape: tuple[int, ...], max_objects: int) -> list[tuple[np.ndarray, float, int]]:
    """Centres in voxels, radii and classes of balls that lie within the image, at least two voxels from each other."""
    rng, out = np.random.default_rng(draw), []
    for _ in range(rng.integers(0, max_objects + 1)):
        kind = int(rng.integers(len(CLASSES)))
        radius = max(rng.uniform(*RADIUS[kind]) * min(shape), LEAST * (kind + 1))
        for _ in range(TRIES):
            centre = rng.uniform(radius, np.array(shape) - radius)
            if all(np.linalg.norm(centre - other) > radius + other_radius + 2 for other, other_radius, _ in out):
                out.append((centre, radius, kind))
                break
    return out


def _voxels(shape: tuple[int, ...], ball: tuple[np.ndarray, float, int]) -> tuple[np.ndarray, int]:
    """The voxels `[D, n]` whose centres are within a ball, and its class."""
    centre, radius, kind = ball
    first = np.maximum(np.floor(centre - radius).astype(int), 0)
    last = np.minimum(np.ceil(centre + radius).astype(int), shape)
    near = np.stack(np.meshgrid(*[np.arange(a, b) for a, b in zip(first, last)], indexing='ij')).reshape(len(shape), -1)
    return near[:, ((near + 0.5 - centre[:, None]) ** 2).sum(0) < radius**2], kind


def _draw(draw: Sequence[int], shape: tuple[int, ...], channels: int, max_objects: int) -> tuple[Image, None]:
    rng = np.random.default_rng((*draw, 1))
    clouds = ndimage.gaussian_filter(rng.normal(size=shape), min(shape) / 16)
    array = 90 + 15 * clouds / clouds.std()
    for ball in _balls(draw, shape, max_objects):
        voxels, _ = _voxels(shape, ball)
        array[tuple(voxels)] += 50
    array = array[..., None] + rng.normal(0, 12, (*shape, channels))
    array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    if len(shape) == 2:
        array = array.swapaxes(0, 1)[:, :, None]  # 2D images are stored columns first
    return Image(array, np.eye(4), 'simulated'), None
