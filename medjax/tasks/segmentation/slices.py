"""Snapshots of evaluated cases, their slices in radiological orientation, and which slices to show."""

import dataclasses
import pathlib

import numpy as np

from medjax.errors import InputError
from medjax.report.run_files import snapshot


@dataclasses.dataclass(frozen=True)
class Snapshot:
    """An evaluated case: arrays `[X, Y, Z]` in RAS+, or `[columns, rows, 1]` of a 2D image.

    Attributes:
      name: of the case.
      image: the first channel, float32.
      label: the reference labels, uint8; 255 is ignored.
      pred: the predicted labels, uint8.
      confidence: the probability of the predicted class, or None.
      spacing: voxel size along the three axes, mm.
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
    def foreground(self) -> np.ndarray:
        """Where reference or prediction is not background and the reference is not ignored, `[X, Y, Z]` bool."""
        return ((self.pred > 0) | (self.label > 0)) & (self.label != 255)

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


def load(path: pathlib.Path) -> Snapshot:
    """Reads `cases/SPLIT/ID.npz`.

    Raises:
      InputError: the file is damaged, or its arrays have different shapes.
    """
    with snapshot(path) as arrays:
        image, label, pred = (arrays[name] for name in ('image', 'label', 'pred'))
        spacing, kind = tuple(map(float, arrays['spacing'])), str(arrays['kind'])
    if not image.ndim == len(spacing) == 3 or not image.shape == label.shape == pred.shape:
        raise InputError(f'{path}: image {image.shape}, label {label.shape}, pred {pred.shape}, '
                         f'spacing {spacing}; expected arrays of one shape [X, Y, Z] and three numbers')
    return Snapshot(path.stem, image.astype(np.float32), label, pred, arrays.get('confidence'), spacing, kind)


def slice_dice(case: Snapshot, axis: int, classes: int) -> np.ndarray:
    """Dice of each slice and class but the background, `[slices, classes - 1]`; NaN where both masks are empty."""
    others = tuple(a for a in range(3) if a != axis)
    valid, scores = case.label != 255, []
    for number in range(1, classes):
        truth, pred = case.label == number, (case.pred == number) & valid
        total = truth.sum(others) + pred.sum(others)
        with np.errstate(invalid='ignore'):
            scores.append(2 * (truth & pred).sum(others) / total)
    return np.stack(scores, -1)


def largest_slice(case: Snapshot, axis: int) -> int:
    """The slice with the largest area of the reference; of the prediction without a reference; else the middle one."""
    others = tuple(a for a in range(3) if a != axis)
    for mask in ((case.label > 0) & (case.label != 255), case.pred > 0):
        if mask.any():
            return int(mask.sum(others).argmax())
    return case.image.shape[axis] // 2


def ranked_slices(case: Snapshot, axis: int, classes: int, share: float = 0.1) -> dict[str, tuple[int, float]]:
    """The best, median and worst slice by mean Dice of the classes, each with its index and that mean.

    Args:
      case: the case.
      axis: across the slices.
      classes: the number of classes with the background.
      share: slices with less foreground than this share of the largest slice's are left out: the last few voxels of a
        structure always have the lowest Dice.

    Returns:
      By 'Best', 'Median' and 'Worst'; empty with fewer than three slices.
    """
    dice = slice_dice(case, axis, classes)
    area = case.foreground.sum(tuple(a for a in range(3) if a != axis))
    score = np.array([np.nanmean(row) if np.isfinite(row).any() else np.nan for row in dice])
    eligible = np.isfinite(score) & (area >= share * area.max())
    order = [i for i in np.argsort(-score, kind='stable') if eligible[i]]
    if len(order) < 3:
        return {}
    places = {'Best': order[0], 'Median': order[len(order) // 2], 'Worst': order[-1]}
    return {place: (int(i), float(score[i])) for place, i in places.items()}


def close_up(mask: np.ndarray, margin: float = 0.4, smallest: int = 32) -> tuple[slice, slice] | None:
    """The part of a slice around a mask, in the proportions of the slice.

    Args:
      mask: `[rows, columns]` bool.
      margin: on each side, as a share of the mask's extent.
      smallest: pixels of the part's shorter side.

    Returns:
      Rows and columns; None where the mask is empty, or the part would exceed half of the slice's extent.
    """
    if not mask.any():
        return None
    ranges = [np.flatnonzero(mask.any(axis=1 - a))[[0, -1]] for a in range(2)]
    shape = np.array(mask.shape)
    needed = np.array([(high - low + 1) * (1 + 2 * margin) for low, high in ranges])
    share = max((needed / shape).max(), (smallest / shape).min())
    if share > 0.5:
        return None
    size = np.ceil(share * shape).astype(int)
    start = [int(np.clip((low + high + 1 - s) // 2, 0, n - s))
             for (low, high), s, n in zip(ranges, size, shape)]
    return tuple(slice(a, a + int(s)) for a, s in zip(start, size))
