"""Snapshots of segmentation: the images, labels and predictions that an evaluation keeps for the report."""

import dataclasses
import pathlib

import numpy as np

from medjax import atomic_files
from medjax.data.io.geometry import Image
from medjax.data.io.geometry import spacing as voxel_spacing
from medjax.errors import InputError
from medjax.ops.labels import IGNORED
from medjax.report import run_files


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An evaluated case: arrays `[X, Y, Z]` in RAS+, or `[columns, rows, 1]` of a 2D image.

    Attributes:
      name: of the case.
      image: the channel that the report shows, float32.
      label: the reference labels, uint8; 255 is ignored.
      pred: the predicted labels, uint8.
      confidence: the probability of the predicted class, or None.
      spacing: voxel size along the three axes, mm.
      kind: 'volume' or 'image'.
      members: `[regions, classes]` bool, which class numbers are in the region of each class but the background; None
        where each is itself alone.
      channel: the name of that channel; '' where the image has a single one.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    pred: np.ndarray
    confidence: np.ndarray | None
    spacing: tuple[float, ...]
    kind: str
    members: np.ndarray | None = None
    channel: str = ''

    def mask(self, array: np.ndarray, number: int) -> np.ndarray:
        """Where class numbers, such as `label` or `pred`, are of a class, or in its region; bool."""
        return array == number if self.members is None else np.isin(array, np.flatnonzero(self.members[number - 1]))

    @property
    def foreground(self) -> np.ndarray:
        """Where reference or prediction is not background and the reference is not ignored, `[X, Y, Z]` bool."""
        return ((self.pred > 0) | (self.label > 0)) & (self.label != IGNORED)

    @property
    def axis(self) -> int:
        """The axis across the slices as acquired: that of the thickest voxels, else the axial one."""
        widest = int(np.argmax(self.spacing))
        return widest if self.spacing[widest] > 1.5 * sorted(self.spacing)[1] and self.kind == 'volume' else 2

    def plane(self, array: np.ndarray, axis: int, index: int) -> np.ndarray:
        """A slice as rows and columns; in volumes right or anterior is left, superior or anterior up."""
        plane = np.take(array, index, axis).T
        return plane if self.kind == 'image' else plane[::-1, ::-1]

    def pixel_size(self, axis: int) -> tuple[float, float]:
        """Height and width of a pixel of such a slice, mm."""
        across, up = (self.spacing[a] for a in range(3) if a != axis)
        return up, across


def save(path: pathlib.Path, image: Image, truth: np.ndarray, pred: np.ndarray, confidence: np.ndarray,
         members: np.ndarray, channel: int = 0, channel_name: str = '') -> None:
    """Writes the snapshot of a case; an image with a single slice is a 2D image.

    Args:
      path: of the file.
      image: in RAS+; one of its channels is kept.
      truth: `[X, Y, Z]`, the reference labels.
      pred: `[X, Y, Z]`, the predicted labels.
      confidence: `[X, Y, Z]`, the probability of the predicted class.
      members: see `Snapshot`.
      channel: the number of that channel.
      channel_name: its name; '' where there is a single one.
    """
    array = image.array if image.array.ndim == 3 else image.array[..., channel]
    kind = 'image' if array.shape[2] == 1 else 'volume'
    atomic_files.write_arrays(path, image=array.astype(np.float32), label=truth.astype(np.uint8),
                              pred=pred.astype(np.uint8), confidence=confidence.astype(np.float16),
                              spacing=np.array(voxel_spacing(image.affine)), kind=kind, members=members,
                              channel=channel_name)


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays have different shapes.
    """
    with run_files.snapshot(path) as arrays:
        image, label, pred = (arrays[name] for name in ('image', 'label', 'pred'))
        spacing, kind = tuple(map(float, arrays['spacing'])), str(arrays['kind'])
    if not image.ndim == len(spacing) == 3 or not image.shape == label.shape == pred.shape:
        raise InputError(f'{path}: image {image.shape}, label {label.shape}, pred {pred.shape}, '
                         f'spacing {spacing}; expected arrays of one shape [X, Y, Z] and three numbers')
    return Snapshot(path.stem, image.astype(np.float32), label, pred, arrays.get('confidence'), spacing, kind,
                    arrays.get('members'), str(arrays.get('channel', '')))
