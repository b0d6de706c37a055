"""Slices of the MNI152 template, deformed as if of many people, with tumour-shaped lesions in some test slices.

Each slice has a smooth random deformation, a changed contrast and noise; the planes of the training, validation and
test slices lie in separate slabs. The anomaly is a slice through one of three tumour masks (see `simulated.lesions`),
in which the tissue becomes darker or brighter. The anatomy is that of one template, all else is simulated.
"""

import functools
import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medjax.data.io.geometry import Image
from medjax.data.simulated.lesions import tumour_shape
from medjax.data.source import SPLITS, Case, Source, data_dir
from medjax.data.sources import mni152
from medjax.errors import InputError
from medjax.options import Count, NonNegativeInt

NOTICE = ('Simulated data: slices of one healthy template (MNI152), deformed and changed at random, with lesions that '
          'have the shapes of three real tumours and simulated intensities. Training, validation and test planes lie '
          'in separate slabs, but of one head. The results compare methods, and do not show how well lesions of '
          'people are detected.')
PLANES = {'train': ((44, 62), (78, 94), (110, 124)), 'val': ((64, 76),), 'test': ((96, 108),)}  # mm from the lowest
CROP = np.s_[2:194, 4:228]
SHAPES = ('lung1', 'brain2', 'breast1')
BEND, SMOOTH = 3.0, 32  # mm: standard deviation of the displacement, and spacing of its control points
EXTENT = (12.0, 40.0)  # mm: range of a lesion's longest axis
INSIDE = 0.9  # smallest fraction of a lesion's voxels that lie in the brain


def source(*, dir: str = 'tumours', cases: tuple[Count, Count, Count] = (400, 40, 120),
           seed: NonNegativeInt = 0) -> Source:
    """An anomaly source of slices of 192 × 224 mm with the classes 'healthy' and 'lesion'.

    Every second test slice has a lesion; training and validation slices have none.

    Args:
      dir: the folder of the tumours' masks.
      cases: numbers of training, validation and test slices.
      seed: of all draws.

    Raises:
      InputError: a mask cannot be read or is empty; nilearn, which ships the template, is not installed.
    """
    root = data_dir(dir)
    paths = tuple(root / f'{name}_label.nrrd' for name in SHAPES)
    slices = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        if count < 1:
            raise InputError(f'config.data.source.cases: {tuple(cases)}; expected at least one of each')
        for number in range(count):
            lesion, name = split == 'test' and number % 2 == 1, f'{split}{number:04d}'
            slices.append(Case(
                id=name, patient=name, split=split, target=int(lesion),
                files=tuple(map(str, [*paths, *mni152.files()])), how=f'{seed} {part} {number}',
                read=functools.partial(_draw, (seed, part, number), split, lesion, paths)))
    return Source(cases=tuple(slices), classes=('healthy', 'lesion'), problem='binary',
                  notice=NOTICE, analysis_unit='image')


def _draw(draw: Sequence[int], split: str, lesion: bool, paths: Sequence[pathlib.Path]) -> tuple[Image, Image]:
    """A slice `[192, 224, 1]` uint8, and the mask of its anomaly."""
    rng = np.random.default_rng(draw)
    t1, *_ = mni152.template()
    planes = [plane for slab in PLANES[split] for plane in range(*slab)]
    plane = t1[..., planes[rng.integers(len(planes))]][CROP].astype(np.float32)
    coarse = [n // SMOOTH for n in plane.shape]
    displacement = [ndimage.zoom(rng.normal(size=coarse), np.divide(plane.shape, coarse), order=3) for _ in range(2)]
    places = [axis + BEND * d / d.std() for axis, d in zip(np.indices(plane.shape), displacement)]
    plane = ndimage.map_coordinates(plane, places, order=1)
    brain = plane > 20
    mask = np.zeros(plane.shape, bool)
    if lesion:
        mask = _lesion(rng, paths, brain)
        factor = rng.choice([rng.uniform(0.35, 0.7), rng.uniform(1.3, 1.6)])
        plane *= 1 + (factor - 1) * ndimage.gaussian_filter(mask.astype(np.float32), 1.0)
    top = plane.max()
    plane = top * np.clip(plane / top, 0, None) ** rng.uniform(0.85, 1.15) * rng.uniform(0.9, 1.1)
    plane += rng.normal(0, 4, plane.shape) * (plane > 0)
    array = np.clip(np.rint(plane), 0, 255).astype(np.uint8)
    return Image(array[..., None], np.eye(4), 'simulated'), Image(mask[..., None], np.eye(4), 'simulated')


def _lesion(rng: np.random.Generator, paths: Sequence[pathlib.Path], brain: np.ndarray) -> np.ndarray:
    """A mask `[X, Y]` within the brain: a slice through a real tumour, rotated and scaled."""
    while True:
        shape = np.moveaxis(tumour_shape(paths[rng.integers(len(paths))]), rng.integers(3), 0)
        section = shape[rng.integers(len(shape) // 4, len(shape) - len(shape) // 4)]
        section = ndimage.rotate(section, rng.uniform(0, 360), order=1)
        voxels = np.argwhere(section > 0.5)
        if len(voxels) < 2:
            continue
        section = section[tuple(slice(a, b + 1) for a, b in zip(voxels.min(0), voxels.max(0)))]
        section = ndimage.zoom(section, rng.uniform(*EXTENT) / max(section.shape), order=1) > 0.5
        places = np.argwhere(brain)
        first = places[rng.integers(len(places))] - np.array(section.shape) // 2
        mask, inside = np.zeros(brain.shape, bool), np.argwhere(section) + first
        if len(inside) < 20 or (inside < 0).any() or (inside >= brain.shape).any():
            continue
        mask[tuple(inside.T)] = True
        if (mask & brain).sum() >= INSIDE * mask.sum():
            return mask
