"""Charts of a run that families share: training curves, and values of all cases by class."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.ticker import MaxNLocator

from medjax.report.style import CHART_DPI, INK, MARKERS, chart, class_colour, legend, png

YLABEL_LENGTH = 34  # characters of a line beside a chart


def logged_values(history: Sequence[Mapping[str, Any]], key: str) -> tuple[list[float], list[float]]:
    """Steps and values of the records that have a number under a key.

    Args:
      history: the lines of `metrics.jsonl`.
      key: such as 'train/loss'.
    """
    pairs = [(record['step'], record[key]) for record in history if isinstance(record.get(key), (int, float))]
    return [step for step, _ in pairs], [value for _, value in pairs]


def training_curve(history: Sequence[Mapping[str, Any]], lines: Mapping[str, str], ylabel: str, theme: str,
                   evaluated: int | None = None) -> bytes:
    """Logged values by training step, as PNG.

    Args:
      history: the lines of `metrics.jsonl`.
      lines: for each key its name in the legend; a single line has no legend.
      ylabel: name of the y axis.
      theme: 'light' or 'dark'.
      evaluated: the step whose weights were evaluated, shown as a vertical line.
    """
    figure, axes = chart(theme, 'Step', textwrap.fill(ylabel, YLABEL_LENGTH))
    last, number = 1, 0
    for key, name in lines.items():
        steps, values = logged_values(history, key)
        plain = key.endswith('_mean') or len(lines) == 1
        number += not plain
        axes.plot(steps, values, color=INK[theme] if plain else class_colour(number), linewidth=1.6,
                  label=name, linestyle='--' if plain and len(lines) > 1 else '-',
                  marker='.' if len(steps) < 30 else None, markersize=5)
        last = max([last, *steps])
    if evaluated:
        axes.axvline(evaluated, color=INK[theme], linewidth=0.8, linestyle=':')
        axes.text(evaluated, 0.02, ' evaluated ', transform=axes.get_xaxis_transform(), color=INK[theme],
                  fontsize=8, ha='right' if evaluated > last / 2 else 'left')
    axes.set_xlim(0, last * 1.02)
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    if len(lines) > 1:
        legend(axes, theme)
    return png(figure, CHART_DPI)


def strip_chart(columns: Mapping[str, Sequence[float]], entries: Mapping[str, Mapping[str, Any]], ylabel: str,
                theme: str) -> bytes:
    """A dot for every case in a column for each class, with the mean over patients and its interval, as PNG.

    Args:
      columns: for each class its values over the cases; NaN is not drawn.
      entries: for each class its entry of `per_patient.summarise`.
      ylabel: the metric.
      theme: 'light' or 'dark'.
    """
    figure, axes = chart(theme, '', ylabel, width=max(4.6, 0.9 * len(columns) + 1))
    for number, (name, column) in enumerate(columns.items(), 1):
        values = np.array([value for value in column if value == value])
        # A fixed horizontal spread in the order of the values: the picture is the same each time.
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
    return png(figure, CHART_DPI)
