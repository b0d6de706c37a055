"""Charts of segmented cases: Dice along the slices of a volume, and calibration of voxel probabilities."""

from collections.abc import Iterable, Sequence

import numpy as np

from medjax.ops.labels import IGNORED
from medjax.report.style import CHART_DPI, INK, MARKERS, PALETTE, chart, class_colour, legend, png, style_axes
from medjax.tasks.segmentation.slices import slice_dice
from medjax.tasks.segmentation.snapshot import Snapshot

DIRECTIONS = ('left to right', 'posterior to anterior', 'inferior to superior')
CERTAIN = 0.99  # probability from which predicted background is left out of the calibration


def slice_dice_chart(case: Snapshot, axis: int, classes: Sequence[str], theme: str) -> bytes:
    """Dice of each class by slice, above the area of the reference in each slice, as PNG.

    Dice of a slice says little where the structure is small; the lower panel shows where that is.

    Args:
      case: the case.
      axis: across the slices.
      classes: names, the background's first.
      theme: 'light' or 'dark'.
    """
    dice, others = slice_dice(case, axis, len(classes)), tuple(a for a in range(3) if a != axis)
    position = np.arange(len(dice)) * case.spacing[axis]
    area = case.spacing[others[0]] * case.spacing[others[1]] / 100
    figure, upper = chart(theme, '', 'Dice of the slice', width=9.4, height=3.6)
    figure.clear()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for axes in (upper, lower):
        style_axes(axes, theme)
    for number, name in enumerate(classes[1:], 1):
        colour = class_colour(number)
        upper.plot(position, dice[:, number - 1], color=colour, linewidth=1.6, label=name,
                   marker=MARKERS[(number - 1) % len(MARKERS)], markersize=4,
                   markevery=max(1, len(dice) // 12))
        lower.plot(position, case.mask(case.label, number).sum(others) * area, color=colour, linewidth=1.2)
    upper.set_ylabel('Dice of the slice')
    upper.set_ylim(max(0, np.nanmin(dice) - 0.05) if np.isfinite(dice).any() else 0, 1.01)
    lower.set_ylabel('Truth, cm²')
    lower.set_ylim(0)
    lower.set_xlabel(f'Position of the slice, mm, {DIRECTIONS[axis]}')
    legend(upper, theme, loc='lower center', ncols=min(len(classes) - 1, 7))
    return png(figure, CHART_DPI)


def voxel_reliability(cases: Iterable[Snapshot], classes: int) -> np.ndarray | None:
    """Mean probability and accuracy of voxels in ten bins of the probability of the predicted class.

    Certain background is left out: it is most of an image, mostly easy, and would hide everything else. Voxels are
    chosen by the prediction alone; choosing by the reference would bias the accuracy. Where classes are regions, the
    probability is that of being in the predicted region, and a voxel of any class in it is correct.

    Args:
      cases: read one by one.
      classes: the number of classes with the background.

    Returns:
      Number of voxels, mean probability and share of correct voxels of each bin that has voxels, `[3, bins]`; None
      where no case has probabilities.
    """
    sums = np.zeros((3, 10))
    for case in cases:
        if case.confidence is None:
            continue
        # The most probable class has at least an equal share, and a region, or none, at least a half: lower values lie
        # outside of the network's input.
        least = 0.5 if case.members is not None and (case.members.sum(1) > 1).any() else 1 / classes
        valid = (case.confidence >= least) & (case.label != IGNORED)
        uncertain = valid & ((case.pred > 0) | (case.confidence < CERTAIN))
        confidence = case.confidence[uncertain].astype(np.float64)
        correct = _correct(case.pred[uncertain], case.label[uncertain], case.members)
        place = np.clip((confidence * 10).astype(int), 0, 9)
        sums += [np.bincount(place, weights, minlength=10) for weights in (None, confidence, correct)]
    used = sums[0] > 0
    return np.stack([sums[0], *sums[1:] / np.maximum(sums[0], 1)])[:, used] if used.any() else None


def _correct(pred: np.ndarray, label: np.ndarray, members: np.ndarray | None) -> np.ndarray:
    """Whether labels `[N]` are the predicted classes, or in the predicted regions; see `Snapshot.members`."""
    if members is None:
        return pred == label
    inside = np.zeros((len(members) + 1, members.shape[1]), bool)
    inside[0, 0], inside[1:] = True, members
    return inside[pred, label]


def calibration_error(bins: np.ndarray) -> float:
    """The expected calibration error (Guo 2017) over the bins of `voxel_reliability`."""
    count, mean, share = bins
    return float(np.average(np.abs(mean - share), weights=count))


def voxel_reliability_chart(bins: np.ndarray, theme: str) -> bytes:
    """The reliability diagram of the bins of `voxel_reliability`, as PNG; the dotted line is perfect calibration."""
    count, mean, share = bins
    figure, axes = chart(theme, 'Probability of the predicted class', 'Share of correct voxels')
    colour, low = PALETTE[3 if theme == 'light' else 0], max(0, min(mean.min(), share.min()) - 0.1)
    axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':', zorder=1)
    axes.plot(mean, share, color=colour, linewidth=1.4, zorder=2)
    axes.scatter(mean, share, s=12 + 140 * count / count.sum(), color=colour, zorder=3, clip_on=False)
    axes.set(xlim=(low, 1.02), ylim=(low, 1.02))
    return png(figure, CHART_DPI)
