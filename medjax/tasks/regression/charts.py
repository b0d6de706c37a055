"""Charts of a regression: predicted against measured, what is left over, and how sure predictions are."""

import numpy as np

from medjax.report.chapter import Chart, themed_chart
from medjax.report.style import CHART_DPI, INK, MARKERS, PALETTE, SQUARE, chart, legend, png
from medjax.tasks.regression.summary import METHODS, Table

COLOURS = dict(zip(METHODS, (PALETTE[3], PALETTE[0], PALETTE[1], PALETTE[5])))
MEAN = 'ensemble'  # of a merged table it is what stands in the network's place too
SURE = 1.96  # standard deviations to each side of what a normal distribution has 95 % in


def nearness(table: Table, name: str, unit: str) -> list[Chart]:
    """Predicted against measured, what is left over, and how large errors are."""
    what = f'{name} ({unit})' if unit else name
    return [themed_chart(lambda theme: against(table, what, theme), f'Predicted against measured {name}',
                 'Each case as measured and as the network predicts it, and as the first of the simpler models does '
                 '(rings); dotted: equal.'),
            themed_chart(lambda theme: left(table, what, theme), f'Errors by predicted {name}',
                 'Predicted less measured, by what was predicted. Dotted: 0, and the network\'s bias with 1.96 standard'
                 ' deviations of its errors to each side (limits of agreement).'),
            themed_chart(lambda theme: shares(table, what, theme), f'Shares of cases by error of {name}',
                 'The share of the cases whose error is at most so large: the higher the better.')]


def against(table: Table, what: str, theme: str) -> bytes:
    """A dot a case."""
    canvas, axes = chart(theme, f'Measured {what}', 'Predicted', *SQUARE)
    every = np.concatenate([table.measured, *table.predicted.values()])
    ends = [float(every.min()), float(every.max())]
    axes.plot(ends, ends, color=INK[theme], linewidth=0.8, linestyle=':')
    methods = [method for method in table.predicted if method != MEAN][:2]
    for number, method in reversed(list(enumerate(methods))):
        axes.plot(table.measured, table.predicted[method], MARKERS[0], markersize=4 if method else 4.5,
                  color=COLOURS[method], alpha=0.75 if not method else 0.6, markeredgewidth=0.8 if method else 0,
                  fillstyle='none' if method else 'full', label=METHODS[method], zorder=3 - number)
    legend(axes, theme, loc='upper left')
    return png(canvas, CHART_DPI)


def left(table: Table, what: str, theme: str) -> bytes:
    """Errors of the network over its predictions; bars where it says how sure it is."""
    canvas, axes = chart(theme, f'Predicted {what}', 'Predicted less measured', *SQUARE)
    said, off = table.predicted[''], table.predicted[''] - table.measured
    if table.spread is not None:
        axes.vlines(said, off - table.spread, off + table.spread, color=PALETTE[0], linewidth=0.7, alpha=0.6)
    axes.plot(said, off, 'o', color=COLOURS[''], markersize=4.5, alpha=0.75, markeredgewidth=0)
    for place in (0.0, off.mean() - SURE * off.std(), off.mean() + SURE * off.std()):
        axes.axhline(place, color=INK[theme], linewidth=0.8, linestyle=':')
    return png(canvas, CHART_DPI)


def shares(table: Table, what: str, theme: str) -> bytes:
    """The cumulative distribution of each method's absolute errors."""
    canvas, axes = chart(theme, f'Absolute error of {what}', 'Share of the cases', *SQUARE)
    for method, predicted in table.predicted.items():
        if method == MEAN:
            continue
        off = np.sort(np.abs(predicted - table.measured))
        axes.step(np.concatenate([[0], off]), np.arange(len(off) + 1) / max(len(off), 1), where='post',
                  color=COLOURS[method], linewidth=1.0 if method else 1.9, label=METHODS[method],
                  zorder=2 if method else 3)
    axes.set(ylim=(0, 1.01), xlim=(0, None))
    legend(axes, theme, loc='lower right')
    return png(canvas, CHART_DPI)
