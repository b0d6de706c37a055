"""Snapshots of detection: the images and boxes that an evaluation keeps for the report."""

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np

from medjax import atomic_files
from medjax.data.transforms.box_grid import Grid
from medjax.errors import InputError
from medjax.metrics.box_matching import IgnoredRegions, ImageBoxes
from medjax.report import run_files

IGNORED = ('ignored', 'ignored_labels', 'ignored_crowd')  # arrays of ignored regions, where there are any


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An image with its boxes, in the voxels of the network's input.

    Attributes:
      name: of the case.
      image: `[rows, columns, C]`, or `[X, Y, Z, C]` in RAS+, float32.
      boxes: true and found boxes.
      spacing: length of a voxel along each axis: mm for a volume, stored pixels for a 2D image.
      limits: intensities that are drawn black and white.
    """

    name: str
    image: np.ndarray
    boxes: ImageBoxes
    spacing: tuple[float, ...]
    limits: tuple[float, float]

    @property
    def is_volume(self) -> bool:
        """Whether the image has three spatial axes."""
        return self.image.ndim == 4


def save(path: pathlib.Path, image: np.ndarray, boxes: ImageBoxes, grid: Grid, spacing: Sequence[float]) -> None:
    """Writes the snapshot of a case.

    Args:
      path: of the file.
      image: `[*S, C]`.
      boxes: true and found boxes in its voxels.
      grid: maps the stored image's voxels to the image's.
      spacing: distance of the stored image's voxels along each axis, mm; 1 for a 2D image.
    """
    inverse = np.linalg.inv(grid.matrix[:, :-1])
    atomic_files.write_arrays(
        path, image=image, kind='detection', truth=boxes.true_boxes, truth_labels=boxes.true_labels,
        found=boxes.pred_boxes, found_labels=boxes.pred_labels, scores=boxes.scores, **_ignored_arrays(boxes),
        spacing=np.linalg.norm(np.array(spacing)[:, None] * inverse, axis=0))


def _ignored_arrays(boxes: ImageBoxes) -> dict[str, np.ndarray]:
    """The arrays of ignored regions; empty where there are none."""
    return {} if boxes.ignored is None else dict(zip(IGNORED, boxes.ignored))


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays do not fit together.
    """
    names = ('image', 'truth', 'truth_labels', 'found', 'found_labels', 'scores', 'spacing')
    with run_files.snapshot(path) as arrays:
        image, *boxes, spacing = (arrays[name] for name in names)
        ignored = IgnoredRegions(*(arrays[name] for name in IGNORED)) if IGNORED[0] in arrays else None
    dims, found = image.ndim - 1, ImageBoxes(*boxes, ignored)
    if dims not in (2, 3) or len(spacing) != dims or any(
            part.shape[1:] != (2 * dims,) for part in (found.true_boxes, found.pred_boxes)):
        raise InputError(f'{path}: image {image.shape}, boxes {found.true_boxes.shape} and {found.pred_boxes.shape}; '
                         'expected an image of two or three axes and channels, and boxes of as many axes')
    rgb = image.dtype == np.uint8 and image.shape[-1] == 3
    low, high = (0, 255) if rgb else np.percentile(image, [0.5, 99.5])
    return Snapshot(path.stem, image.astype(np.float32), found, tuple(map(float, spacing)),
                    (float(low), float(max(high, low + 1e-6))))
