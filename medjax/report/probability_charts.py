"""Charts of predicted probabilities and scores: ROC and precision–recall curves, histograms and calibration."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from matplotlib import colors
from matplotlib.axes import Axes
from matplotlib.ticker import PercentFormatter

from medjax.report.style import (
    CHART_DPI,
    FAINT,
    INK,
    MARKERS,
    PALETTE,
    SQUARE,
    chart,
    class_colour,
    legend,
    png,
    short_name,
)

BINS = 20  # of a histogram
MAX_LABELLED = 5  # classes up to which a cell of a confusion matrix has room for the count and the share
LINE_COLOURS = tuple(colour for colour in PALETTE if colour != '#F0E442')  # a yellow line is invisible on white
DASHES = ('-', '--', '-.')
PAGE = {'light': '#ffffff', 'dark': '#15181c'}  # colours of the page


class Line(NamedTuple):
    """A curve: its points, its name in the legend ('' for none), and its place in LINE_COLOURS from 1.

    Place 0 is for a single curve, None for one in the background.
    """

    x: np.ndarray
    y: np.ndarray
    name: str = ''
    place: int | None = 0


class Point(NamedTuple):
    """A point on a curve, and the text beside it."""

    x: float
    y: float
    text: str


def roc_curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """False and true positive rate at every threshold, from (0, 0) to (1, 1); equal scores are one threshold.

    Args:
      positive: `[n]` bool, with both values.
      score: `[n]`, higher for positives.
    """
    true, false = _counts(positive, score)
    return np.concatenate([[0], false]) / false[-1], np.concatenate([[0], true]) / true[-1]


def precision_recall_curve(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Recall and precision at every threshold, from the highest; each precision holds up to its recall.

    Args:
      positive: `[n]` bool, at least one true.
      score: `[n]`, higher for positives.
    """
    true, false = _counts(positive, score)
    precision = true / (true + false)
    return np.concatenate([[0], true]) / true[-1], np.concatenate([precision[:1], precision])


def discrimination_chart(lines: Sequence[Line], axes_names: tuple[str, str], theme: str, *,
                         level: float | None = None, point: Point | None = None) -> bytes:
    """ROC curves with the diagonal of chance, or precision–recall curves where there is a `level` of chance, as PNG.

    Args:
      lines: the curves.
      axes_names: of x and y.
      theme: 'light' or 'dark'.
      level: the share of positives; NaN where the curves have no common one.
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
    return png(figure, CHART_DPI)


def confusion_chart(table: np.ndarray, classes: Sequence[str], theme: str) -> bytes:
    """The confusion matrix as PNG: each cell's count and share of its row, darker for a larger share.

    Args:
      table: `[K, K]` counts, truth by prediction.
      classes: their names.
      theme: 'light' or 'dark'.
    """
    count = len(classes)
    labelled = count <= MAX_LABELLED
    share = table / np.maximum(table.sum(1, keepdims=True), 1)
    figure, axes = chart(theme, 'Predicted', 'Truth', *(SQUARE if labelled else (9.4, 2.4 + 0.42 * count)))
    ramp = colors.LinearSegmentedColormap.from_list('', [PAGE[theme], _colour(0, theme)])
    axes.imshow(share, cmap=ramp, vmin=0, vmax=1, aspect='auto')
    for row, column in np.ndindex(count, count):
        if table[row, column] or labelled:
            solid = share[row, column] > (0.65 if theme == 'light' else 0.45)
            text = f'{table[row, column]:g}' + (f'\n{100 * share[row, column]:.0f} %' if labelled else '')
            axes.text(column, row, text, ha='center', va='center', fontsize=10.5 if labelled else 8.5,
                      color=PAGE[theme] if solid else INK[theme])
    names = [short_name(name, 18 if labelled else 30) for name in classes]
    axes.set_xticks(range(count), names, rotation=0 if count <= 3 else 35, ha='center' if count <= 3 else 'right',
                    rotation_mode='anchor')
    axes.set_yticks(range(count), names)
    axes.grid(visible=False)
    return png(figure, CHART_DPI)


def histogram_chart(values: Mapping[str, np.ndarray], xlabel: str, theme: str,
                    threshold: float | None = None) -> bytes:
    """Histograms of probabilities in two groups, as PNG: shares of the group's cases in bins of 0.05.

    Args:
      values: for each group its probabilities, `[n]`.
      xlabel: name of the x axis.
      theme: 'light' or 'dark'.
      threshold: the operating point.
    """
    figure, axes = chart(theme, xlabel, 'Share of the group', *SQUARE)
    edges = np.linspace(0, 1, BINS + 1)
    for number, (name, group) in enumerate(values.items(), 1):
        heights = np.histogram(group, edges)[0] / max(len(group), 1)
        axes.stairs(heights, edges, fill=True, color=class_colour(number), alpha=0.35)
        axes.stairs(heights, edges, color=class_colour(number), linewidth=1.6, linestyle='-' if number == 1 else '--',
                    label=f'{short_name(name)} (n = {len(group)})')
    if threshold is not None:
        axes.axvline(threshold, color=INK[theme], linewidth=0.9, linestyle=':')
        left = threshold < 0.5
        axes.text(threshold, 0.99, ' operating point ', transform=axes.get_xaxis_transform(), color=INK[theme],
                  fontsize=8.5, va='top', ha='left' if left else 'right')
    axes.set(xlim=(0, 1), ylim=(0, axes.get_ylim()[1] * 1.12))
    axes.yaxis.set_major_formatter(PercentFormatter(1, symbol=' %'))
    legend(axes, theme, loc='upper center', bbox_to_anchor=(0.5, 1.13), ncols=2)
    return png(figure, CHART_DPI)


def reliability_chart(bins: Mapping[str, Sequence[Mapping[str, Any]]], axes_names: tuple[str, str], theme: str,
                      high: float = 1.0, curve: Mapping[str, Sequence[float]] | None = None) -> bytes:
    """Predicted probability against observed frequency, as PNG; the dotted line is perfect calibration.

    Args:
      bins: for each name the bins of `calibration.reliability_bins`; the area of a dot is its share of the cases. A bin
        may have a `ci95` of the observed frequency.
      axes_names: of x and y.
      theme: 'light' or 'dark'.
      high: upper limit of both axes.
      curve: a smooth calibration curve, in place of the line that joins the first bins: lists `predicted`, `observed`,
        and `low` and `high` of its band.
    """
    figure, axes = chart(theme, *axes_names, *SQUARE)
    if curve:
        colour = _colour(0, theme)
        axes.fill_between(curve['predicted'], curve['low'], curve['high'], color=colour, alpha=0.16, linewidth=0)
        axes.plot(curve['predicted'], curve['observed'], color=colour, linewidth=1.8, zorder=2)
    axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':', zorder=1)
    lowest = 1.0
    for number, (name, group) in enumerate(bins.items()):
        predicted, observed, n = (np.array([bin[key] for bin in group], float)
                                  for key in ('predicted', 'observed', 'n'))
        colour, marker = _colour(number + 1 if number else 0, theme), MARKERS[number]
        if number or not curve:
            axes.plot(predicted, observed, color=colour, linewidth=1.4, zorder=2 + number,
                      linestyle=DASHES[number % len(DASHES)])
        for bin in group:
            if bin.get('ci95'):
                axes.plot([bin['predicted']] * 2, bin['ci95'], color=colour, linewidth=1.0, alpha=0.6, zorder=1)
                lowest = min(lowest, bin['ci95'][0])
        axes.scatter(predicted, observed, s=10 + 110 * n / n.sum(), color=colour, marker=marker, zorder=3 + number,
                     clip_on=False, alpha=0.85, linewidths=0, label=name)
        lowest = min(lowest, predicted.min(), observed.min())
    low = 0 if lowest < 0.35 else lowest - 0.1
    axes.set(xlim=(low, high * 1.02), ylim=(low, high * 1.02))
    if len(bins) > 1:
        for handle in axes.legend(frameon=False, labelcolor=INK[theme], fontsize=9, loc='upper left').legend_handles:
            handle.set_sizes([36])
    return png(figure, CHART_DPI)


def decision_chart(curve: Mapping[str, Sequence[float]], theme: str) -> bytes:
    """Net benefit by threshold, as PNG, with those of treating everybody and nobody.

    Args:
      curve: lists over the thresholds: `thresholds`, `model`, its interval's `low` and `high`, None where there is no
        interval, and `all`.
      theme: 'light' or 'dark'.
    """
    figure, axes = chart(theme, 'Threshold probability', 'Net benefit', *SQUARE)
    x, colour = curve['thresholds'], _colour(0, theme)
    low, high = (np.array(curve[name], float) for name in ('low', 'high'))  # None becomes NaN
    axes.fill_between(x, low, high, color=colour, alpha=0.16, linewidth=0)
    axes.plot(x, curve['model'], color=colour, linewidth=1.8, label='by the network')
    axes.plot(x, curve['all'], color=INK[theme], linewidth=1.2, linestyle='--', label='treat all')
    axes.axhline(0, color=INK[theme], linewidth=1.0, linestyle=':', label='treat none')
    top = max(0.01, *curve['model'], *curve['all'])
    axes.set(xlim=(x[0], x[-1]), ylim=(-0.25 * top, 1.1 * top))
    legend(axes, theme, loc='upper center', bbox_to_anchor=(0.5, 1.13), ncols=3)
    return png(figure, CHART_DPI)


def selective_accuracy_chart(lines: Sequence[Line], theme: str) -> bytes:
    """Accuracy of the most confident cases by their share of all cases (selective classification), as PNG."""
    figure, axes = chart(theme, 'Share of cases answered, most confident first', 'Accuracy of the answers', *SQUARE)
    for line in lines:
        _plot(axes, line, theme)
    low = min(float(line.y.min()) for line in lines)
    axes.set(xlim=(0, 1.01), ylim=(max(0, low - 0.05), 1.005))
    axes.xaxis.set_major_formatter(PercentFormatter(1, symbol=' %'))
    if len(lines) > 1:
        legend(axes, theme, loc='lower left')
    return png(figure, CHART_DPI)


def _colour(place: int | None, theme: str) -> str:
    if place is None:
        return FAINT[theme]
    return LINE_COLOURS[(place - 1) % len(LINE_COLOURS)] if place else PALETTE[3 if theme == 'light' else 0]


def _plot(axes: Axes, line: Line, theme: str, **options: Any) -> None:
    background = line.place is None
    axes.plot(line.x, line.y, color=_colour(line.place, theme), linewidth=1.0 if background else 1.7,
              linestyle=DASHES[((line.place or 1) - 1) % len(DASHES)], zorder=2 if background else 3,
              label=line.name or None, **options)


def _counts(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """True and false positives with each distinct score as the threshold, from the highest on."""
    order = np.argsort(-score, kind='stable')
    last = np.flatnonzero(np.diff(score[order], append=-np.inf))
    true = np.cumsum(positive[order])[last]
    return true, last + 1 - true
