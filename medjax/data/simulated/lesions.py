"""Phantom volumes with lesions: balls, and the shapes of real tumours, inserted into a cloudy background with vessels.

The shapes are those of three tumours' masks that readers drew, of a lung, a brain and a breast
(`lung1_label.nrrd`, `brain2_label.nrrd`, `breast1_label.nrrd`, from pyradiomics), brought to cubic voxels, turned and
scaled. The breast's is kept for validation and test: no lesion of its shape was trained on. The rest is simulated, and
nothing that is measured here says how well tumours of people are found.
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

NOTICE = ('A phantom: balls and the shapes of three real tumours in a simulated background. Its figures tell that the '
          'network finds such shapes, and nothing of how it would do on images of people.')
SHAPES = {'train': ('lung1', 'brain2'), 'val': ('breast1',), 'test': ('breast1',)}
EXTENT = (7.0, 18.0)  # voxels: the longest extent of a lesion, from and to
ROOM = 2  # voxels between two lesions
TRIES = 50  # to find a lesion a place of its own
VESSELS = 6


def source(*, dir: str = 'tumours', cases: Sequence[int] = (120, 24, 40), shape: Sequence[int] = (64, 64, 64),
           most: int = 4, contrast: float = 30.0, seed: int = 0) -> Source:
    """Draws phantoms; their one class is 'lesion', and a third of the lesions are balls.

    Args:
      dir: the folder of the tumours' masks.
      cases: how many phantoms train, validate and test.
      shape: voxels along x, y and z, each of 1 mm.
      most: lesions of a phantom, 0 to this.
      contrast: of a lesion over its background, whose deviation is 15 (clouds) and 8 (noise).
      seed: of all draws.

    Raises:
      InputError: a mask cannot be read or is empty.
    """
    root, shape = data_dir(dir), tuple(shape)
    if len(shape) != 3 or min(shape) < 2 * EXTENT[1]:
        raise InputError(f'config.data.source.shape: {shape}; expected three numbers of at least {2 * EXTENT[1]:.0f}')
    made = []
    for part, (split, count) in enumerate(zip(SPLITS, cases)):
        paths = tuple(root / f'{name}_label.nrrd' for name in SHAPES[split])
        for number in range(count):
            draw = (seed, part, number)
            placed = _lesions(draw, paths, shape, most)
            boxes = [[*first, *np.add(first, mask.shape)] for first, mask in placed]
            made.append(Case(
                id=f'{split}{number:04d}', patient=f'{split}{number:04d}', split=split, columns={},
                target=Objects(np.reshape(boxes, (-1, 6)), [0] * len(boxes)), files=tuple(map(str, paths)),
                how=f'{draw} {shape} {most} {contrast}',
                read=functools.partial(_draw, draw, paths, shape, most, contrast)))
    return Source(cases=tuple(made), classes=('lesion',), problem='detection', notice=NOTICE)


@functools.cache
def shape_of(path: pathlib.Path) -> np.ndarray:
    """A tumour's mask in a file, cut out, in cubic voxels of its finest spacing: a share of each voxel, float32."""
    image = image_files.read(str(path))
    found = np.argwhere(image.array.squeeze() > 0)
    if not len(found):
        raise InputError(f'{path}: no voxel is marked; expected the mask of a tumour')
    box = tuple(slice(a, b + 1) for a, b in zip(found.min(0), found.max(0)))
    mask, steps = np.pad(image.array.squeeze()[box] > 0, 1), np.array(spacing(image.affine))
    return ndimage.zoom(mask.astype(np.float32), steps / steps.min(), order=1)


def _lesion(rng: np.random.Generator, paths: Sequence[pathlib.Path]) -> np.ndarray:
    """A lesion's mask, cut out."""
    extent = rng.uniform(*EXTENT)
    if rng.random() < 1 / 3:
        axes = np.arange(int(np.ceil(extent))) + 0.5 - extent / 2
        return sum(a**2 for a in np.meshgrid(axes, axes, axes, indexing='ij')) <= (extent / 2) ** 2
    shape = shape_of(paths[rng.integers(len(paths))])
    # All turns and mirror images of a cube; then the longest axis is as long as drawn.
    shape = shape.transpose(list(itertools.permutations(range(3)))[rng.integers(6)])
    shape = shape[tuple(slice(None, None, step) for step in rng.choice([-1, 1], 3))]
    mask = ndimage.zoom(shape, extent / max(shape.shape), order=1, prefilter=False) > 0.5
    if not mask.any():
        mask = np.ones((2, 2, 2), bool)
    found = np.argwhere(mask)
    return mask[tuple(slice(a, b + 1) for a, b in zip(found.min(0), found.max(0)))]


def _lesions(draw: Sequence[int], paths: Sequence[pathlib.Path], shape: tuple[int, ...],
             most: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """First voxels and masks: each lesion whole in the image, and none near another."""
    rng, taken, out = np.random.default_rng(draw), np.zeros(shape, bool), []
    for _ in range(rng.integers(0, most + 1)):
        mask = _lesion(rng, paths)
        for _ in range(TRIES):
            first = rng.integers(0, np.subtract(shape, mask.shape) + 1)
            around = tuple(slice(max(a - ROOM, 0), a + n + ROOM) for a, n in zip(first, mask.shape))
            if not taken[around].any():
                taken[around] = True
                out.append((first, mask))
                break
    return out


def _draw(draw: Sequence[int], paths: Sequence[pathlib.Path], shape: tuple[int, ...], most: int,
          contrast: float) -> tuple[Image, None]:
    rng = np.random.default_rng((*draw, 1))
    clouds = ndimage.gaussian_filter(rng.normal(size=shape), min(shape) / 12)
    array = 90 + 15 * clouds / clouds.std()
    places = np.stack(np.meshgrid(*map(np.arange, shape), indexing='ij'), -1) + 0.5
    for _ in range(VESSELS):
        # Straight, thin and as bright as lesions: what is long is none.
        point, way = rng.uniform(0, shape), rng.normal(size=3)
        off = places - point
        along = off @ (way / np.linalg.norm(way))
        array[(off**2).sum(-1) - along**2 < rng.uniform(0.8, 2.0) ** 2] += contrast
    for first, mask in _lesions(draw, paths, shape, most):
        box = tuple(slice(a, a + n) for a, n in zip(first, mask.shape))
        array[box][mask] += contrast
    array = ndimage.gaussian_filter(array, 0.5) + rng.normal(0, 8, shape)
    return Image(np.clip(np.rint(array), 0, 255).astype(np.uint8), np.eye(4), 'phantom'), None
