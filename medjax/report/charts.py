"""Charts of a run: learning curves, Dice over cases and along slices, calibration of the probabilities."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from medjax.report.anatomy import DIRECTIONS, Snapshot, slice_dice
from medjax.report.style import INK, MARKERS, PALETTE, chart, class_colour, dress, legend, png

DPI = 200
SURE = 0.99  # probability from which background is not asked about


def series(records: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of the records that have a finite value under a key."""
    pairs = [(r['step'], r[key]) for r in records if isinstance(r.get(key), (int, float))]
    return [p[0] for p in pairs], [p[1] for p in pairs]


def curve(records: Sequence[Mapping[str, Any]], lines: Mapping[str, str], ylabel: str, theme: str,
          chosen: int | None = None) -> bytes:
    """Values over the training steps.

    Args:
      records: the lines of `metrics.jsonl`.
      lines: for each key its name in the legend; a single line has no legend.
      ylabel: the axis's name.
      theme: 'light' or 'dark'.
      chosen: the step whose weights were evaluated; marked.
    """
    figure, axes = chart(theme, 'Step', ylabel)
    last, number = 1, 0
    for key, name in lines.items():
        steps, values = series(records, key)
        plain = key.endswith('_mean') or len(lines) == 1
        number += not plain
        axes.plot(steps, values, color=INK[theme] if plain else class_colour(number), linewidth=1.6,
                  label=name, linestyle='--' if plain and len(lines) > 1 else '-',
                  marker='.' if len(steps) < 30 else None, markersize=5)
        last = max([last, *steps])
    if chosen:
        axes.axvline(chosen, color=INK[theme], linewidth=0.8, linestyle=':')
        axes.text(chosen, 0.02, ' evaluated ', transform=axes.get_xaxis_transform(), color=INK[theme],
                  fontsize=8, ha='right' if chosen > last / 2 else 'left')
    axes.set_xlim(0, last * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if len(lines) > 1:
        legend(axes, theme)
    return png(figure, DPI)


def strip(columns: Mapping[str, Sequence[float]], entries: Mapping[str, Mapping[str, Any]], ylabel: str,
          theme: str) -> bytes:
    """Every case as a dot, a column per class, with the mean over patients and its interval.

    Args:
      columns: for each class its values over the cases; NaN is not drawn.
      entries: for each class what `bootstrap.summarise` says of it.
      ylabel: the metric.
      theme: 'light' or 'dark'.
    """
    figure, axes = chart(theme, '', ylabel, width=max(4.6, 0.9 * len(columns) + 1))
    for number, (name, values) in enumerate(columns.items(), 1):
        values = np.array([v for v in values if v == v])
        # A fixed spread in the order of the values: the picture is the same each time.
        spread = (np.arange(len(values)) * 0.618 % 1 - 0.5) * 0.36
        axes.scatter(number + spread, np.sort(values), s=16, color=class_colour(number), alpha=0.75,
                     linewidths=0, marker=MARKERS[(number - 1) % len(MARKERS)], clip_on=False)
        entry = entries.get(name)
        if entry and entry.get('value') is not None:
            if entry.get('ci95'):
                axes.plot([number + 0.3] * 2, entry['ci95'], color=INK[theme], linewidth=1.6)
            axes.plot(number + 0.3, entry['value'], 'D', color=INK[theme], markersize=4.5)
    axes.set_xticks(range(1, len(columns) + 1), columns, rotation=30 if len(columns) > 6 else 0)
    axes.set_xlim(0.5, len(columns) + 0.7)
    axes.set_ylim(min(axes.get_ylim()[0], 0.99), 1.005)
    return png(figure, DPI)


def along(case: Snapshot, axis: int, classes: Sequence[str], theme: str) -> bytes:
    """Dice of each class along the slices of a volume, over how much of it the truth has there.

    A slice's Dice means little where the structure is small; the lower panel says where that is.
    """
    dice, others = slice_dice(case, axis, len(classes)), tuple(a for a in range(3) if a != axis)
    position = np.arange(len(dice)) * case.spacing[axis]
    area = case.spacing[others[0]] * case.spacing[others[1]] / 100
    figure, upper = chart(theme, '', 'Dice of the slice', width=9.4, height=3.6)
    figure.clear()
    upper, lower = figure.subplots(2, 1, sharex=True, height_ratios=(3, 1))
    for axes in (upper, lower):
        dress(axes, theme)
    for number, name in enumerate(classes[1:], 1):
        colour = class_colour(number)
        upper.plot(position, dice[:, number - 1], color=colour, linewidth=1.6, label=name,
                   marker=MARKERS[(number - 1) % len(MARKERS)], markersize=4,
                   markevery=max(1, len(dice) // 12))
        lower.plot(position, (case.label == number).sum(others) * area, color=colour, linewidth=1.2)
    upper.set_ylabel('Dice of the slice')
    upper.set_ylim(max(0, np.nanmin(dice) - 0.05) if np.isfinite(dice).any() else 0, 1.01)
    lower.set_ylabel('Truth, cm²')
    lower.set_ylim(0)
    lower.set_xlabel(f'Position of the slice, mm, {DIRECTIONS[axis]}')
    legend(upper, theme, loc='lower center', ncols=min(len(classes) - 1, 7))
    return png(figure, DPI)


def reliability(cases: Iterable[Snapshot], classes: int) -> np.ndarray | None:
    """How often probabilities come true, in ten bins; where the network is less than sure that it sees background.

    Sure background is left out: it is most of an image, mostly easy, and would hide everything else. What counts is
    told from the prediction alone; to pick voxels by the truth would bias how many of them are right.

    Args:
      cases: read one by one.
      classes: how many there are with the background.

    Returns:
      Voxels, mean probability and share that is right of each bin that has voxels, `[3, bins]`; None where no case has
      probabilities.
    """
    sums = np.zeros((3, 10))
    for case in cases:
        if case.confidence is None:
            continue
        # The likeliest class has at least an equal share: less is what lies outside of what the network saw.
        seen = (case.confidence >= 1 / classes) & (case.label != 255)
        unsure = seen & ((case.pred > 0) | (case.confidence < SURE))
        confidence = case.confidence[unsure].astype(np.float64)
        right = (case.pred == case.label)[unsure]
        place = np.clip((confidence * 10).astype(int), 0, 9)
        sums += [np.bincount(place, weights, minlength=10) for weights in (None, confidence, right)]
    used = sums[0] > 0
    return np.stack([sums[0], *sums[1:] / np.maximum(sums[0], 1)])[:, used] if used.any() else None


def calibration_error(bins: np.ndarray) -> float:
    """The expected calibration error (Guo 2017) over the bins of `reliability`."""
    count, mean, share = bins
    return float(np.average(np.abs(mean - share), weights=count))


def calibration(bins: np.ndarray, theme: str) -> bytes:
    """The reliability diagram of the bins; the dotted line is perfect calibration."""
    count, mean, share = bins
    figure, axes = chart(theme, 'Probability of the predicted class', 'Share of voxels that are right')
    colour, low = PALETTE[3 if theme == 'light' else 0], max(0, min(mean.min(), share.min()) - 0.1)
    axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':', zorder=1)
    axes.plot(mean, share, color=colour, linewidth=1.4, zorder=2)
    axes.scatter(mean, share, s=12 + 140 * count / count.sum(), color=colour, zorder=3, clip_on=False)
    axes.set(xlim=(low, 1.02), ylim=(low, 1.02))
    return png(figure, DPI)
