"""Charts of registration: each pair by each method."""

import numpy as np
from matplotlib.ticker import MaxNLocator

from medjax.report.chapter import Chart, themed_chart
from medjax.report.draw import DPI
from medjax.report.style import INK, PALETTE, chart, legend, png
from medjax.tasks.registration.table import METHODS, Table

COLOURS = {'': PALETTE[1], 'none': '#8a8f96', 'affine': PALETTE[0], 'bspline': PALETTE[2]}
TITLES = {'tre': 'Target registration error', 'dice': 'Dice', 'ncc': 'Local correlation'}


def pair_charts(table: Table, length: str) -> list[Chart]:
    """Target registration error and Dice of each pair by each method; the correlation where neither is defined.

    Args:
      table: the pairs.
      length: the unit of distances.
    """
    charts = []
    for metric, title in TITLES.items():
        if np.isnan(table.values[metric, '']).all() or (metric == 'ncc' and charts):
            continue
        title = f'{title}, {length}' if metric == 'tre' else title
        charts.append(themed_chart(lambda theme, metric=metric, title=title: _pair_chart(table, metric, title, theme),
                                   f'{title}, by pair', f'{title} of each pair, in order of its value before.'))
    return charts


def _pair_chart(table: Table, metric: str, title: str, theme: str) -> bytes:
    figure, axes = chart(theme, 'Pair', title)
    first = 'none' if 'none' in table.methods else ''
    order = np.argsort(table.values[metric, first], kind='stable')
    for method in table.methods:
        values = table.values[metric, method][order]
        if not np.isnan(values).all():
            axes.plot(np.arange(1, len(order) + 1), values, 'o', markersize=3.5, color=COLOURS[method],
                      label=METHODS[method])
    axes.xaxis.set_major_locator(MaxNLocator(5, integer=True))
    axes.axhline(0, color=INK[theme], linewidth=0.5)
    legend(axes, theme, loc='best')
    return png(figure, DPI)
