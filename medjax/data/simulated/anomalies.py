"""Slices of the MNI152 template as if of many heads, and in some of those that test a lesion of a real tumour's shape.

Each slice is bent by a smooth random displacement, its contrast is changed and noise is added; planes that train,
validate and test lie in slabs of their own. What does not belong is a slice through one of three tumours' masks
(`phantom_lesions`), in which the tissue becomes darker or brighter. The anatomy is one template's, all else is
simulated.
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medjax.data.io.geometry import Image
from medjax.data.simulated.lesions import shape_of
from medjax.data.source import SPLITS, Case, Source, data_dir
from medjax.data.sources import mni152
from medjax.errors import InputError

NOTICE = ('A phantom: slices of one healthy template (MNI152), bent and changed at random, with lesions that have the '
          'shapes of three real tumours and made-up intensities. Train, validation and test planes lie in slabs of '
          'their own, but of one head. Its figures compare methods, and say nothing of how lesions of people are '
          'found.')
PLANES = {'train': ((44, 62), (78, 94), (110, 124)), 'val': ((64, 76),), 'test': ((96, 108),)}  # mm from the lowest
CROP = np.s_[2:194, 4:228]
SHAPES = ('lung1', 'brain2', 'breast1')
BEND, SMOOTH = 3.0, 32  # mm: deviation of the displacement, and between the points that it is drawn at
EXTENT = (12.0, 40.0)  # mm: a lesion's longest axis
INSIDE = 0.9  # of a lesion's voxels lie in the brain


def source(*, dir: str = 'tumours', cases: Sequence[int] = (400, 40, 120), seed: int = 0) -> Source:
    """Draws slices of 192 × 224 mm; their classes are 'healthy' and 'lesion', every second of the test's.

    Args:
      dir: the folder of the tumours' masks.
      cases: how many slices train, validate and test.
      seed: of all draws.

    Raises:
      InputError: a mask cannot be read or is empty; nilearn, which ships the template, is not installed.
    """
    root = data_dir(dir)
    paths = tuple(root / f'{name}_label.nrrd' for name in SHAPES)
    made = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        if count < 1:
            raise InputError(f'config.data.source.cases: {tuple(cases)}; expected at least one of each')
        for number in range(count):
            ill, name = split == 'test' and number % 2 == 1, f'{split}{number:04d}'
            made.append(Case(
                id=name, patient=name, split=split, target=int(ill), files=tuple(map(str, [*paths, *mni152.files()])),
                how=f'{seed} {part} {number}', read=functools.partial(_draw, (seed, part, number), split, ill, paths)))
    return Source(cases=tuple(made), classes=('healthy', 'lesion'), problem='binary', notice=NOTICE)


def _draw(draw: Sequence[int], split: str, ill: bool, paths: Sequence[pathlib.Path]) -> tuple[Image, Image]:
    """A slice `[192, 224, 1]` uint8, and where it does not belong."""
    rng = np.random.default_rng(draw)
    t1, *_ = mni152.template()
    planes = [plane for slab in PLANES[split] for plane in range(*slab)]
    plane = t1[..., planes[rng.integers(len(planes))]][CROP].astype(np.float32)
    coarse = [n // SMOOTH for n in plane.shape]
    apart = [ndimage.zoom(rng.normal(size=coarse), np.divide(plane.shape, coarse), order=3) for _ in range(2)]
    places = [axis + BEND * d / d.std() for axis, d in zip(np.indices(plane.shape), apart)]
    plane = ndimage.map_coordinates(plane, places, order=1)
    brain = plane > 20
    mask = np.zeros(plane.shape, bool)
    if ill:
        mask = _lesion(rng, paths, brain)
        factor = rng.choice([rng.uniform(0.35, 0.7), rng.uniform(1.3, 1.6)])
        plane *= 1 + (factor - 1) * ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    top = plane.max()
    plane = top * np.clip(plane / top, 0, None) ** rng.uniform(0.85, 1.15) * rng.uniform(0.9, 1.1)
    plane += rng.normal(0, 4, plane.shape) * (plane > 0)
    flat = np.clip(np.rint(plane), 0, 255).astype(np.uint8)
    return Image(flat[..., None], np.eye(4), 'phantom'), Image(mask[..., None], np.eye(4), 'phantom')


def _lesion(rng: np.random.Generator, paths: Sequence[pathlib.Path], brain: np.ndarray) -> np.ndarray:
    """A mask `[X, Y]` within the brain: a slice through a real tumour, turned and scaled."""
    while True:
        shape = np.moveaxis(shape_of(paths[rng.integers(len(paths))]), rng.integers(3), 0)
        cut = shape[rng.integers(len(shape) // 4, len(shape) - len(shape) // 4)]
        cut = ndimage.rotate(cut, rng.uniform(0, 360), order=1)
        found = np.argwhere(cut > 0.5)
        if len(found) < 2:
            continue
        cut = cut[tuple(slice(a, b + 1) for a, b in zip(found.min(0), found.max(0)))]
        cut = ndimage.zoom(cut, rng.uniform(*EXTENT) / max(cut.shape), order=1) > 0.5
        places = np.argwhere(brain)
        first = places[rng.integers(len(places))] - np.array(cut.shape) // 2
        mask, inside = np.zeros(brain.shape, bool), np.argwhere(cut) + first
        if len(inside) < 20 or (inside < 0).any() or (inside >= brain.shape).any():
            continue
        mask[tuple(inside.T)] = True
        if (mask & brain).sum() >= INSIDE * mask.sum():
            return mask
