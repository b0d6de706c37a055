"""Slices of a case, turned the way a radiologist reads them, and which of them to show."""

import dataclasses
import pathlib

import numpy as np

from medjax.errors import InputError
from medjax.report.run_files import snapshot

PLANES = ('Sagittal', 'Coronal', 'Axial')
LETTERS = (('A', 'P', 'S', 'I'), ('R', 'L', 'S', 'I'), ('R', 'L', 'A', 'P'))  # left, right, top, bottom
DIRECTIONS = ('left to right', 'posterior to anterior', 'inferior to superior')


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """A case as evaluated: arrays `[X, Y, Z]` in RAS+, or of a photograph `[columns, rows, 1]`.

    Attributes:
      name: of the case.
      image: first channel, float32.
      label: the truth, uint8; 255 is not judged.
      pred: the prediction, uint8.
      confidence: the probability of the predicted class, or None.
      spacing: mm of a voxel along the three axes.
      kind: 'volume' or 'image'.
    """

    name: str
    image: np.ndarray
    label: np.ndarray
    pred: np.ndarray
    confidence: np.ndarray | None
    spacing: tuple[float, ...]
    kind: str

    @property
    def marked(self) -> np.ndarray:
        """Where truth or prediction is not background and the truth is judged, `[X, Y, Z]` bool."""
        return ((self.pred > 0) | (self.label > 0)) & (self.label != 255)

    @property
    def axis(self) -> int:
        """Across the slices as acquired: the axis of the thickest voxels, else the axial one."""
        widest = int(np.argmax(self.spacing))
        return widest if self.spacing[widest] > 1.5 * sorted(self.spacing)[1] and self.kind == 'volume' else 2

    def cut(self, array: np.ndarray, axis: int, index: int) -> np.ndarray:
        """A slice as rows and columns; of a volume right or anterior is left, superior or anterior up."""
        plane = np.take(array, index, axis).T
        return plane if self.kind == 'image' else plane[::-1, ::-1]

    def pixel(self, axis: int) -> tuple[float, float]:
        """Height and width of a picture element of such a slice, mm."""
        across, up = (self.spacing[a] for a in range(3) if a != axis)
        return up, across


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays do not fit together.
    """
    with snapshot(path) as arrays:
        image, label, pred = (arrays[name] for name in ('image', 'label', 'pred'))
        spacing, kind = tuple(map(float, arrays['spacing'])), str(arrays['kind'])
    if not image.ndim == len(spacing) == 3 or not image.shape == label.shape == pred.shape:
        raise InputError(f'{path}: image {image.shape}, label {label.shape}, pred {pred.shape}, '
                         f'spacing {spacing}; expected arrays of one shape [X, Y, Z] and three numbers')
    return Snapshot(path.stem, image.astype(np.float32), label, pred, arrays.get('confidence'), spacing, kind)


def slice_dice(case: Snapshot, axis: int, classes: int) -> np.ndarray:
    """Dice of each slice and class but the background, `[slices, classes - 1]`; NaN where both are empty."""
    others = tuple(a for a in range(3) if a != axis)
    judged, scores = case.label != 255, []
    for number in range(1, classes):
        truth, found = case.label == number, (case.pred == number) & judged
        total = truth.sum(others) + found.sum(others)
        with np.errstate(invalid='ignore'):
            scores.append(2 * (truth & found).sum(others) / total)
    return np.stack(scores, -1)


def fullest(case: Snapshot, axis: int) -> int:
    """The slice with most of the truth; of the prediction where there is no truth; else the middle one."""
    others = tuple(a for a in range(3) if a != axis)
    for mask in ((case.label > 0) & (case.label != 255), case.pred > 0):
        if mask.any():
            return int(mask.sum(others).argmax())
    return case.image.shape[axis] // 2


def ranked(case: Snapshot, axis: int, classes: int, share: float = 0.1) -> dict[str, tuple[int, float]]:
    """Best, median and worst slice by the mean Dice of the classes, each with its index and that mean.

    Args:
      case: of which the slices are.
      axis: across the slices.
      classes: how many there are with the background.
      share: slices with less marked area than this share of the fullest one's do not compete: the last few
        voxels of a structure always score worst, and say nothing.
    """
    dice = slice_dice(case, axis, classes)
    area = case.marked.sum(tuple(a for a in range(3) if a != axis))
    score = np.array([np.nanmean(row) if np.isfinite(row).any() else np.nan for row in dice])
    judged = np.isfinite(score) & (area >= share * area.max())
    order = [i for i in np.argsort(-score, kind='stable') if judged[i]]
    if len(order) < 3:
        return {}
    places = {'Best': order[0], 'Median': order[len(order) // 2], 'Worst': order[-1]}
    return {place: (int(i), float(score[i])) for place, i in places.items()}


def close_up(marked: np.ndarray, margin: float = 0.4, smallest: int = 32) -> tuple[slice, slice] | None:
    """The part of a picture around what is marked on it, in the picture's own proportions.

    Args:
      marked: `[rows, columns]` bool.
      margin: around it, as a share of its extent, on each side.
      smallest: picture elements of the part's shorter side.

    Returns:
      Rows and columns; None where nothing is marked, or the part would exceed half of the picture's.
    """
    if not marked.any():
        return None
    ranges = [np.flatnonzero(marked.any(axis=1 - a))[[0, -1]] for a in range(2)]
    shape = np.array(marked.shape)
    needed = np.array([(high - low + 1) * (1 + 2 * margin) for low, high in ranges])
    share = max((needed / shape).max(), (smallest / shape).min())
    if share > 0.5:
        return None
    size = np.ceil(share * shape).astype(int)
    start = [int(np.clip((low + high + 1 - s) // 2, 0, n - s))
             for (low, high), s, n in zip(ranges, size, shape)]
    return tuple(slice(a, a + int(s)) for a, s in zip(start, size))
