"""The picture of a sweep."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import matplotlib

matplotlib.use('Agg')
from matplotlib import pyplot

from medjax import atomic_files

COLUMNS = 4  # metrics that are drawn
LINE, POINT = '#4878a8', '#1f3f66'


def draw(rows: Sequence[Mapping[str, Any]], path: pathlib.Path) -> None:
    """Draws each metric by setting with its interval, and below the differences to the first setting.

    Args:
      rows: of the table, see `table.summarise`.
      path: of a PNG file.
    """
    names = list(dict.fromkeys(row['metric'] for row in rows))[:COLUMNS]
    labels = list(dict.fromkeys(row['setting'] or 'all runs' for row in rows))
    height = 1.2 + 0.35 * len(labels)
    several = 1 + (len(labels) > 1)
    figure, axes = pyplot.subplots(several, len(names), figsize=(3 + 2.5 * len(names), several * height),
                                   squeeze=False, sharey='row', layout='constrained')
    for column, name in enumerate(names):
        shown = [row for row in rows if row['metric'] == name]
        _intervals(axes[0][column], [(row['value'], row['low'], row['high']) for row in shown])
        axes[0][column].set_xlabel(name)
        if several > 1:
            _intervals(axes[1][column], [(row.get('difference', 0.0), row.get('difference_low', 0.0),
                                          row.get('difference_high', 0.0)) for row in shown])
            axes[1][column].axvline(0, color='#888888', linewidth=0.8)
            axes[1][column].set_xlabel(f'{name}: difference')
    for row in axes:
        row[0].set_yticks(range(len(labels)), labels)
        row[0].set_ylim(len(labels) - 0.5, -0.5)
    _save(figure, path)


def _intervals(axis: Any, values: Sequence[tuple[float, float, float]]) -> None:
    """Points with intervals, from top to bottom."""
    for place, (value, low, high) in enumerate(values):
        axis.plot([low, high], [place, place], color=LINE, linewidth=2)
        axis.plot(value, place, 'o', color=POINT)
    axis.grid(axis='x', alpha=0.3)


def _save(figure: Any, path: pathlib.Path) -> None:
    with atomic_files.replacing(path) as file:
        figure.savefig(file, format='png', dpi=120)
    pyplot.close(figure)
