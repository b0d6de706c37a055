"""Charts of a run: learning curves, Dice over cases and along slices, calibration of the probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from medjax.analysis.anatomy import DIRECTIONS, Snapshot, slice_dice
from medjax.analysis.style import INK, MARKERS, PALETTE, chart, class_colour, dress, legend, png

DPI = 200


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
                     linewidths=0, marker=MARKERS[(number - 1) % len(MARKERS)])
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


def _reliability(cases: Sequence[Snapshot]) -> tuple[np.ndarray, np.ndarray, np.ndarray] | None:
    """Voxels, mean probability and share that is right of ten bins, the empty ones left out."""
    cases = [case for case in cases if case.confidence is not None and case.marked.any()]
    if not cases:
        return None
    confidence = np.concatenate([case.confidence[case.marked] for case in cases]).astype(np.float64)
    right = np.concatenate([(case.pred == case.label)[case.marked] for case in cases])
    place = np.clip((confidence * 10).astype(int), 0, 9)
    count = np.bincount(place, minlength=10)
    used = count > 0
    mean, share = (np.bincount(place, weights=values, minlength=10)[used] / count[used]
                   for values in (confidence, right))
    return count[used], mean, share


def calibration_error(cases: Sequence[Snapshot]) -> float | None:
    """The expected calibration error (Guo 2017, ten bins) where truth or prediction is not background.

    The background is left out: it is most of the image, mostly easy, and would hide everything else. None where
    no case has probabilities.
    """
    bins = _reliability(cases)
    return None if bins is None else float(np.average(np.abs(bins[1] - bins[2]), weights=bins[0]))


def calibration(cases: Sequence[Snapshot], theme: str) -> bytes:
    """The reliability diagram of the same voxels."""
    count, mean, share = _reliability(cases)
    figure, axes = chart(theme, 'Probability of the predicted class', 'Share of voxels that are right')
    colour, low = PALETTE[3 if theme == 'light' else 0], max(0, min(mean.min(), share.min()) - 0.1)
    axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':', zorder=1)
    axes.plot(mean, share, color=colour, linewidth=1.4, zorder=2)
    axes.scatter(mean, share, s=12 + 140 * count / count.sum(), color=colour, zorder=3, clip_on=False)
    axes.set(xlim=(low, 1.02), ylim=(low, 1.02))
    return png(figure, DPI)
