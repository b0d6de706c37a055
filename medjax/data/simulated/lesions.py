"""Simulated volumes with lesions: balls and shapes of real tumours on a cloudy background with vessels.

The shapes are the tumour masks drawn by readers in a lung, a brain and a breast (`lung1_label.nrrd`,
`brain2_label.nrrd`, `breast1_label.nrrd`, from pyradiomics), resampled to cubic voxels, rotated and scaled. The shape
of the breast tumour is kept for validation and test, so no lesion of its shape is in training. All else is simulated,
and the results do not show how well tumours of people are detected.
"""

import functools
import itertools
import pathlib
from collections.abc import Sequence

import numpy as np
from scipy import ndimage

from medjax.data.io import image_files
from medjax.data.io.geometry import Image, spacing
from medjax.data.source import SPLITS, Case, Objects, Source, data_dir
from medjax.errors import InputError
from medjax.options import Count, Float, NonNegativeInt

NOTICE = ('Simulated volumes: balls and the shapes of three real tumours on a simulated background. The results show '
          'that the network detects such shapes, and nothing about its accuracy in images of people.')
SHAPES = {'train': ('lung1', 'brain2'), 'val': ('breast1',), 'test': ('breast1',)}
EXTENT = (7.0, 18.0)  # voxels: range of a lesion's longest extent
ROOM = 2  # voxels between two lesions
TRIES = 50  # attempts to place a lesion
VESSELS = 6


def source(*, dir: str = 'tumours', cases: tuple[Count, NonNegativeInt, NonNegativeInt] = (120, 24, 40),
           shape: tuple[Count, Count, Count] = (64, 64, 64), max_lesions: Count = 4, contrast: Float = 30.0,
           seed: NonNegativeInt = 0) -> Source:
    """A detection source of simulated volumes; the only class is 'lesion', and a third of the lesions are balls.

    Args:
      dir: the folder of the tumours' masks.
      cases: numbers of training, validation and test volumes.
      shape: voxels along x, y and z, each of 1 mm.
      max_lesions: largest number of lesions in a volume.
      contrast: of a lesion with its background, whose standard deviation is 15 (clouds) and 8 (noise).
      seed: of all draws.

    Raises:
      InputError: a mask cannot be read or is empty.
    """
    root, shape = data_dir(dir), tuple(shape)
    if len(shape) != 3 or min(shape) < 2 * EXTENT[1]:
        raise InputError(f'config.data.source.shape: {shape}; expected three numbers of at least {2 * EXTENT[1]:.0f}')
    volumes = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        paths = tuple(root / f'{name}_label.nrrd' for name in SHAPES[split])
        for number in range(count):
            draw = (seed, part, number)
            lesions = _lesions(draw, paths, shape, max_lesions)
            boxes = [[*first, *np.add(first, mask.shape)] for first, mask in lesions]
            volumes.append(Case(
                id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split, columns={},
                target=Objects(np.reshape(boxes, (-1, 6)), [0] * len(boxes)), files=tuple(map(str, paths)),
                how=f'{draw} {shape} {max_lesions} {contrast}',
                read=functools.partial(_draw, draw, paths, shape, max_lesions, contrast)))
    return Source(cases=tuple(volumes), classes=('lesion',), problem='detection',
                  least_classes=1, notice=NOTICE, analysis_unit='image')


@functools.cache
def tumour_shape(path: pathlib.Path) -> np.ndarray:
    """The tumour of a mask file, cropped and resampled to cubic voxels of its finest spacing.

    Returns:
      The fraction of each voxel that the tumour fills, float32.

    Raises:
      InputError: the file cannot be read, or its mask is empty.
    """
    image = image_files.read(str(path))
    inside = np.argwhere(image.array.squeeze() > 0)
    if not len(inside):
        raise InputError(f'{path}: the mask is empty; expected the mask of a tumour')
    box = tuple(slice(a, b + 1) for a, b in zip(inside.min(0), inside.max(0)))
    mask, steps = np.pad(image.array.squeeze()[box] > 0, 1), np.array(spacing(image.affine))
    return ndimage.zoom(mask.astype(np.float32), steps / steps.min(), order=1)


def _lesion(rng: np.random.Generator, paths: Sequence[pathlib.Path]) -> np.ndarray:
    """The mask of a lesion, cropped."""
    extent = rng.uniform(*EXTENT)
    if rng.random() < 1 / 3:
        axes = np.arange(int(np.ceil(extent))) + 0.5 - extent / 2
        return sum(a**2 for a in np.meshgrid(axes, axes, axes, indexing='ij')) <= (extent / 2) ** 2
    shape = tumour_shape(paths[rng.integers(len(paths))])
    # One of the 48 rotations and reflections of a cube; then the longest axis is scaled to the drawn extent.
    shape = shape.transpose(list(itertools.permutations(range(3)))[rng.integers(6)])
    shape = shape[tuple(slice(None, None, step) for step in rng.choice([-1, 1], 3))]
    mask = ndimage.zoom(shape, extent / max(shape.shape), order=1, prefilter=False) > 0.5
    if not mask.any():
        mask = np.ones((2, 2, 2), bool)
    inside = np.argwhere(mask)
    return mask[tuple(slice(a, b + 1) for a, b in zip(inside.min(0), inside.max(0)))]


def _lesions(draw: Sequence[int], paths: Sequence[pathlib.Path], shape: tuple[int, ...],
             max_lesions: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """First voxels and masks of lesions that lie within the image and at least `ROOM` voxels from each other."""
    rng, occupied, out = np.random.default_rng(draw), np.zeros(shape, bool), []
    for _ in range(rng.integers(0, max_lesions + 1)):
        mask = _lesion(rng, paths)
        for _ in range(TRIES):
            first = rng.integers(0, np.subtract(shape, mask.shape) + 1)
            around = tuple(slice(max(a - ROOM, 0), a + n + ROOM) for a, n in zip(first, mask.shape))
            if not occupied[around].any():
                occupied[around] = True
                out.append((first, mask))
                break
    return out


def _draw(draw: Sequence[int], paths: Sequence[pathlib.Path], shape: tuple[int, ...], max_lesions: int,
          contrast: float) -> tuple[Image, None]:
    rng = np.random.default_rng((*draw, 1))
    clouds = ndimage.gaussian_filter(rng.normal(size=shape), min(shape) / 12)
    array = 90 + 15 * clouds / clouds.std()
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1) + 0.5
    for _ in range(VESSELS):
        # Straight, thin and as bright as lesions: elongated structures are no lesions.
        point, direction = rng.uniform(0, shape), rng.normal(size=3)
        off = places - point
        along = off @ (direction / np.linalg.norm(direction))
        array[(off**2).sum(-1) - along**2 < rng.uniform(0.8, 2.0) ** 2] += contrast
    for first, mask in _lesions(draw, paths, shape, max_lesions):
        box = tuple(slice(a, a + n) for a, n in zip(first, mask.shape))
        array[box][mask] += contrast
    array = ndimage.gaussian_filter(array, 0.5) + rng.normal(0, 8, shape)
    return Image(np.clip(np.rint(array), 0, 255).astype(np.uint8), np.eye(4), 'simulated'), None
