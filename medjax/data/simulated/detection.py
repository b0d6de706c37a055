"""Simulated pictures and volumes with objects: for trying a config where there are no data, and for tests.

Each shows bright balls, apart from each other, on a cloudy and noisy background; their class is their size. Nothing
that is measured on them says anything of medicine.
"""

import functools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Objects, Source
from medjax.data.splits import dealt_anew

NOTICE = 'A phantom: balls of two sizes on a cloudy background. Its figures say nothing of medicine.'
CLASSES = ('small', 'large')
RADIUS = ((0.06, 0.09), (0.12, 0.16))  # of each class, from and to, as a share of the shortest extent
LEAST = 1.5  # voxels: the least radius
TRIES = 50  # to find a ball a place of its own


def source(*, cases: Sequence[int] = (64, 32, 32), shape: Sequence[int] = (64, 64), channels: int = 1,
           most: int = 5, seed: int = 0, fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0) -> Source:
    """Draws pictures or volumes; their classes are `CLASSES`.

    Args:
      cases: how many train, validate and test.
      shape: rows and columns, or x, y, z.
      channels: 1 or 3.
      most: objects in an image: 0 to this, where there is room.
      seed: of all draws.
      fold: see `splits.split_by_patient`, as for folds.
      folds: …
    """
    made, shape = [], tuple(shape)
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        for number in range(count):
            draw = (seed, part, number)
            balls = _balls(draw, shape, most)
            boxes = [np.concatenate([where.min(-1), where.max(-1) + 1]) for where, _ in map(
                functools.partial(_voxels, shape), balls)]
            made.append(Case(
                id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split,
                target=Objects(np.reshape(boxes, (-1, 2 * len(shape))), [kind for _, _, kind in balls]),
                columns={'site': 'ab'[number % 2]}, how=f'{draw} {shape} {channels} {most}',
                read=functools.partial(_draw, draw, shape, channels, most)))
    made = dealt_anew(made, fold=fold, folds=folds, seed=seed)
    return Source(cases=tuple(made), classes=CLASSES, problem='detection', notice=NOTICE)


def _balls(draw: Sequence[int], shape: tuple[int, ...], most: int) -> list[tuple[np.ndarray, float, int]]:
    """Centres in voxels, radii and classes: each ball whole in the image, a voxel or more from all others."""
    rng, out = np.random.default_rng(draw), []
    for _ in range(rng.integers(0, most + 1)):
        kind = int(rng.integers(len(CLASSES)))
        radius = max(rng.uniform(*RADIUS[kind]) * min(shape), LEAST * (kind + 1))
        for _ in range(TRIES):
            centre = rng.uniform(radius, np.array(shape) - radius)
            if all(np.linalg.norm(centre - other) > radius + its + 2 for other, its, _ in out):
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


def _draw(draw: Sequence[int], shape: tuple[int, ...], channels: int, most: int) -> tuple[Image, None]:
    rng = np.random.default_rng((*draw, 1))
    clouds = ndimage.gaussian_filter(rng.normal(size=shape), min(shape) / 16)
    array = 90 + 15 * clouds / clouds.std()
    for ball in _balls(draw, shape, most):
        where, _ = _voxels(shape, ball)
        array[tuple(where)] += 50
    array = array[..., None] + rng.normal(0, 12, (*shape, channels))
    array = np.clip(np.rint(array), 0, 255).astype(np.uint8)
    if len(shape) == 2:
        array = array.swapaxes(0, 1)[:, :, None]  # as files have pictures: columns first
    return Image(array, np.eye(4), 'phantom'), None
