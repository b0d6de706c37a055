"""Charts of regression: predicted against measured values, residuals, and distributions of errors."""

import numpy as np

from medjax.report.chapter import Chart, themed_chart
from medjax.report.style import CHART_DPI, INK, MARKERS, PALETTE, SQUARE, chart, legend, png
from medjax.tasks.regression.table import ENSEMBLE, METHODS, Predictions

COLOURS = dict(zip(METHODS, (PALETTE[3], PALETTE[0], PALETTE[1], PALETTE[5])))
AGREEMENT = 1.96  # standard deviations to each side that contain 95 % of a normal distribution


def accuracy_charts(table: Predictions, target: str, unit: str) -> list[Chart]:
    """Predicted against measured values, residuals, and the distribution of errors.

    In a merged table the mean of the runs is in the network's columns too; it is drawn once.

    Args:
      table: the cases.
      target: its name.
      unit: of the target.
    """
    label = f'{target} ({unit})' if unit else target
    return [themed_chart(lambda theme: draw_predictions(table, label, theme), f'Predicted against measured {target}',
                         'Predicted and measured value of each case, by the network and by the first baseline (rings); '
                         'dotted: equal.'),
            themed_chart(lambda theme: draw_residuals(table, label, theme), f'Errors by predicted {target}',
                         'Predicted minus measured value, by predicted value. Dotted: 0, and the bias of the network '
                         f'with {AGREEMENT} standard deviations of its errors to each side (limits of agreement).'),
            themed_chart(lambda theme: draw_error_distribution(table, label, theme),
                         f'Shares of cases by error of {target}',
                         'The share of the cases whose absolute error is at most the given value; higher is better.')]


def draw_predictions(table: Predictions, label: str, theme: str) -> bytes:
    """Predicted against measured values of the network and the first baseline, as PNG."""
    canvas, axes = chart(theme, f'Measured {label}', 'Predicted', *SQUARE)
    values = np.concatenate([table.measured, *table.predicted.values()])
    ends = [float(values.min()), float(values.max())]
    axes.plot(ends, ends, color=INK[theme], linewidth=0.8, linestyle=':')
    methods = [method for method in table.predicted if method != ENSEMBLE][:2]
    for number, method in reversed(list(enumerate(methods))):
        axes.plot(table.measured, table.predicted[method], MARKERS[0], markersize=4 if method else 4.5,
                  color=COLOURS[method], alpha=0.75 if not method else 0.6, markeredgewidth=0.8 if method else 0,
                  fillstyle='none' if method else 'full', label=METHODS[method], zorder=3 - number)
    legend(axes, theme, loc='upper left')
    return png(canvas, CHART_DPI)


def draw_residuals(table: Predictions, label: str, theme: str) -> bytes:
    """Errors of the network by its predictions, with the predicted standard deviation as bars, as PNG."""
    canvas, axes = chart(theme, f'Predicted {label}', 'Predicted minus measured', *SQUARE)
    predicted, error = table.predicted[''], table.predicted[''] - table.measured
    if table.spread is not None:
        axes.vlines(predicted, error - table.spread, error + table.spread, color=PALETTE[0], linewidth=0.7, alpha=0.6)
    axes.plot(predicted, error, 'o', color=COLOURS[''], markersize=4.5, alpha=0.75, markeredgewidth=0)
    for place in (0.0, error.mean() - AGREEMENT * error.std(), error.mean() + AGREEMENT * error.std()):
        axes.axhline(place, color=INK[theme], linewidth=0.8, linestyle=':')
    return png(canvas, CHART_DPI)


def draw_error_distribution(table: Predictions, label: str, theme: str) -> bytes:
    """The cumulative distribution of the absolute errors of each method, as PNG."""
    canvas, axes = chart(theme, f'Absolute error of {label}', 'Share of the cases', *SQUARE)
    for method, predicted in table.predicted.items():
        if method == ENSEMBLE:
            continue
        error = np.sort(np.abs(predicted - table.measured))
        axes.step(np.concatenate([[0], error]), np.arange(len(error) + 1) / max(len(error), 1), where='post',
                  color=COLOURS[method], linewidth=1.0 if method else 1.9, label=METHODS[method],
                  zorder=2 if method else 3)
    axes.set(ylim=(0, 1.01), xlim=(0, None))
    legend(axes, theme, loc='lower right')
    return png(canvas, CHART_DPI)
