"""Slices of segmented cases: their Dice, and which slices the report shows."""

import numpy as np

from medjax.ops.labels import IGNORED
from medjax.tasks.segmentation.snapshot import Snapshot


def slice_dice(case: Snapshot, axis: int, classes: int) -> np.ndarray:
    """Dice of each slice and class but the background, `[slices, classes - 1]`; NaN where both masks are empty."""
    others = tuple(a for a in range(3) if a != axis)
    valid, scores = case.label != IGNORED, []
    for number in range(1, classes):
        truth, pred = case.mask(case.label, number), case.mask(case.pred, number) & valid
        total = truth.sum(others) + pred.sum(others)
        with np.errstate(invalid='ignore'):
            scores.append(2 * (truth & pred).sum(others) / total)
    return np.stack(scores, -1)


def largest_slice(case: Snapshot, axis: int) -> int:
    """The slice with the largest area of the reference; of the prediction without a reference; else the middle one."""
    others = tuple(a for a in range(3) if a != axis)
    for mask in ((case.label > 0) & (case.label != IGNORED), case.pred > 0):
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
