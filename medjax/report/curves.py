"""Charts of a classifier: what its probabilities tell apart, whether they come true, and what is decided by them."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from medjax.report.charts import DPI
from medjax.report.style import FAINT, INK, MARKERS, PALETTE, chart, class_colour, legend, png

SQUARE = (4.6, 4.0)  # inches
BINS = 20  # of a histogram
FITTING = 5  # classes of which a table's cell has room for the count and the share
SHORT = 26  # letters of a name beside a chart
LINES = tuple(colour for colour in PALETTE if colour != '#F0E442')  # a yellow line is lost on white
DASHES = ('-', '--', '-.')


class Line(NamedTuple):
    """A curve: its points, its name in the legend ('' for none), and its place in LINES from 1.

    Place 0 is that of a curve that stands alone, None that of one in the background.
    """

    x: np.ndarray
    y: np.ndarray
    name: str = ''
    place: int | None = 0


class Point(NamedTuple):
    """A place on a curve, and what is written beside it."""

    x: float
    y: float
    text: str


def roc(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate at every threshold, from (0, 0) to (1, 1); equal scores go together.

    Args:
      positive: `[n]` bool, of both kinds.
      score: `[n]`, higher for positives.
    """
    true, false = _counts(positive, score)
    return np.concatenate([[0], false]) / false[-1], np.concatenate([[0], true]) / true[-1]


def precision_recall(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at every threshold, from the highest on; up to a recall its precision holds.

    Args:
      positive: `[n]` bool, at least one true.
      score: `[n]`, higher for positives.
    """
    true, false = _counts(positive, score)
    precision = true / (true + false)
    return np.concatenate([[0], true]) / true[-1], np.concatenate([precision[:1], precision])


def separation(lines: Sequence[Line], axes_names: tuple[str, str], theme: str, *, level: float | None = None,
               point: Point | None = None) -> bytes:
    """ROC curves over the diagonal of chance; or, where there is a `level` of chance, precision–recall curves.

    Args:
      lines: the curves.
      axes_names: of x and y.
      theme: 'light' or 'dark'.
      level: the share of positives; NaN where the curves have none in common.
      point: the operating point.
    """
    figure, axes = chart(theme, *axes_names, *SQUARE)
    if level is None:
        axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':')
    elif level == level:
        axes.axhline(level, color=INK[theme], linewidth=0.8, linestyle=':')
    for line in lines:
        _plot(axes, line, theme, drawstyle='default' if level is None else 'steps-pre', clip_on=False)
    if point:
        axes.plot(point.x, point.y, 'D', color=INK[theme], markersize=6, zorder=4, clip_on=False)
        right = level is None or point.x < 0.5
        axes.annotate(point.text, (point.x, point.y), (9 if right else -9, -9), textcoords='offset points',
                      fontsize=8.5, color=INK[theme], ha='left' if right else 'right', va='top')
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.02))
    if any(line.name for line in lines):
        legend(axes, theme, loc='lower right' if level is None else 'lower left')
    return png(figure, DPI)


def confusion(table: np.ndarray, classes: Sequence[str], theme: str) -> bytes:
    """Truth by prediction, `[K, K]` counts: each cell's count and share of its row, darker for a larger share."""
    count = len(classes)
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, axes = chart(theme, 'Predicted', 'Truth', *(SQUARE if count <= FITTING else (9.4, 2.4 + 0.42 * count)))
    ground = '#ffffff' if theme == 'light' else '#15181c'
    ramp = colors.LinearSegmentedColormap.from_list('', [ground, _colour(0, theme)])
    axes.imshow(share, cmap=ramp, vmin=0, vmax=1, aspect='auto')
    for row, column in np.ndindex(count, count):
        if table[row, column] or count <= FITTING:
            solid = share[row, column] > (0.65 if theme == 'light' else 0.45)
            text = f'{table[row, column]:g}' + (f'\n{100 * share[row, column]:.0f} %' if count <= FITTING else '')
            axes.text(column, row, text, ha='center', va='center', fontsize=10.5 if count <= FITTING else 8.5,
                      color=('#ffffff' if theme == 'light' else '#15181c') if solid else INK[theme])
    names = [short(name, 18 if count <= FITTING else 30) for name in classes]
    axes.set_xticks(range(count), names, rotation=0 if count <= 3 else 35, ha='center' if count <= 3 else 'right',
                    rotation_mode='anchor')
    axes.set_yticks(range(count), names)
    axes.grid(visible=False)
    return png(figure, DPI)


def histogram(values: Mapping[str, np.ndarray], xlabel: str, theme: str, threshold: float | None = None) -> bytes:
    """How probabilities `[n]` are spread in each of two groups: shares of the group's cases, in bins of 0.05."""
    figure, axes = chart(theme, xlabel, 'Share of the group', *SQUARE)
    edges = np.linspace(0, 1, BINS + 1)
    for number, (name, group) in enumerate(values.items(), 1):
        heights = np.histogram(group, edges)[0] / max(len(group), 1)
        axes.stairs(heights, edges, fill=True, color=class_colour(number), alpha=0.35)
        axes.stairs(heights, edges, color=class_colour(number), linewidth=1.6, linestyle='-' if number == 1 else '--',
                    label=f'{short(name)} (n = {len(group)})')
    if threshold is not None:
        axes.axvline(threshold, color=INK[theme], linewidth=0.9, linestyle=':')
        left = threshold < 0.5
        axes.text(threshold, 0.99, ' operating point ', transform=axes.get_xaxis_transform(), color=INK[theme],
                  fontsize=8.5, va='top', ha='left' if left else 'right')
    axes.set(xlim=(0, 1), ylim=(0, axes.get_ylim()[1] * 1.12))
    axes.yaxis.set_major_formatter(PercentFormatter(1, 0, ' %'))
    legend(axes, theme, loc='upper center', bbox_to_anchor=(0.5, 1.13), ncols=2)
    return png(figure, DPI)


def reliability(bins: Mapping[str, Sequence[Mapping[str, Any]]], axes_names: tuple[str, str], theme: str,
                high: float = 1.0) -> bytes:
    """What was said against what came, as before and after calibration; the dotted line is perfect.

    Args:
      bins: for each name what `calibration.reliability` gives; a dot's area is its share of the cases. A bin
        may have a `ci95` of what came.
      axes_names: of x and y.
      theme: 'light' or 'dark'.
      high: where both axes end.
    """
    figure, axes = chart(theme, *axes_names, *SQUARE)
    axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':', zorder=1)
    lowest = 1.0
    for number, (name, found) in enumerate(bins.items()):
        said, came, n = (np.array([bin[key] for bin in found], float) for key in ('said', 'came', 'n'))
        colour, marker = _colour(number and number + 1, theme), MARKERS[number]
        axes.plot(said, came, color=colour, linewidth=1.4, zorder=2 + number, linestyle=DASHES[number % len(DASHES)])
        for bin in found:
            if bin.get('ci95'):
                axes.plot([bin['said']] * 2, bin['ci95'], color=colour, linewidth=1.0, alpha=0.6, zorder=1)
                lowest = min(lowest, bin['ci95'][0])
        axes.scatter(said, came, s=10 + 110 * n / n.sum(), color=colour, marker=marker, zorder=3 + number,
                     clip_on=False, alpha=0.85, linewidths=0, label=name)
        lowest = min(lowest, said.min(), came.min())
    low = 0 if lowest < 0.35 else lowest - 0.1
    axes.set(xlim=(low, high * 1.02), ylim=(low, high * 1.02))
    if len(bins) > 1:
        for handle in axes.legend(frameon=False, labelcolor=INK[theme], fontsize=9, loc='upper left').legend_handles:
            handle.set_sizes([36])
    return png(figure, DPI)


def selective(lines: Sequence[Line], theme: str) -> bytes:
    """Accuracy of the surest cases, over the share of the cases that they are."""
    figure, axes = chart(theme, 'Share of cases answered, the surest first', 'Accuracy of the answers', *SQUARE)
    for line in lines:
        _plot(axes, line, theme)
    low = min(float(line.y.min()) for line in lines)
    axes.set(xlim=(0, 1.01), ylim=(max(0, low - 0.05), 1.005))
    axes.xaxis.set_major_formatter(PercentFormatter(1, 0, ' %'))
    if len(lines) > 1:
        legend(axes, theme, loc='lower left')
    return png(figure, DPI)


def short(name: str, most: int = SHORT) -> str:
    """A name that fits beside a chart."""
    return name if len(name) <= most else f'{name[:most - 1].rstrip()}…'


def _colour(place: int | None, theme: str) -> str:
    if place is None:
        return FAINT[theme]
    return LINES[(place - 1) % len(LINES)] if place else PALETTE[3 if theme == 'light' else 0]


def _plot(axes: Axes, line: Line, theme: str, **how: Any) -> None:
    axes.plot(line.x, line.y, color=_colour(line.place, theme), linewidth=1.0 if line.place is None else 1.7,
              linestyle=DASHES[((line.place or 1) - 1) % len(DASHES)], zorder=2 if line.place is None else 3,
              label=line.name or None, **how)


def _counts(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives at each different score taken as the threshold, from the highest on."""
    order = np.argsort(-score, kind='stable')
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    true = np.cumsum(positive[order])[last]
    return true, last + 1 - true
