"""Charts of forecasting: trajectories of patients, forecast accuracy, early warning by lead time, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from medjax.report import probability_charts
from medjax.report.chapter import Chart, themed_chart
from medjax.report.split import Split
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, png, short_name, style_axes
from medjax.report.tables import format_number, format_significant
from medjax.tasks.forecasting.summary import lead_spans, metric_key
from medjax.tasks.forecasting.table import RISK_METHODS, Predictions

MAX_VALUES = 4  # values that are drawn side by side
MAX_DOTS = 1500  # of a chart
NETWORK, BASELINE = PALETTE[3], PALETTE[1]


def draw_trajectories(table: Predictions, patients: Mapping[str, int], unit: str, theme: str) -> bytes:
    """Measured values over time with the forecasts at each visit, a row a patient and a column a value, as PNG.

    Args:
      table: the visits.
      patients: numbers of the patients, by the label of their row.
      unit: of time.
      theme: 'light' or 'dark'.
    """
    values = _most_forecast(table)
    canvas = Figure(figsize=(9.4, 1.9 * len(patients) + 0.3), layout='constrained')
    grid = canvas.subplots(len(patients), len(values), squeeze=False, sharex='row')
    for row, (label, patient) in enumerate(patients.items()):
        visits = np.flatnonzero(table.patients == patient)
        visits = visits[np.argsort(table.time[visits], kind='stable')]
        for axes, k in zip(grid[row], values):
            style_axes(axes, theme)
            axes.tick_params(labelsize=8)
            _draw_value(axes, table, visits, k, theme)
        grid[row, 0].set_ylabel(label)
    for axes, k in zip(grid[0], values):
        axes.set_title(short_name(table.names[k]), fontsize=9.5, color=INK[theme])
    for axes in grid[-1]:
        axes.set_xlabel(f'Time, {unit}' if unit else 'Time')
    return png(canvas, CHART_DPI)


def _draw_value(axes: Axes, table: Predictions, visits: np.ndarray, k: int, theme: str) -> None:
    """Draws value `k` at some visits of one patient."""
    time, current = table.time[visits], table.current[visits, k]
    for method, colour, marker in (('ridge', BASELINE, 'x'), ('', NETWORK, 'D')):
        if method in table.forecasts:
            forecast, later = table.forecasts[method][visits, k], time + table.ahead[visits]
            last = table.forecasts['carried'][visits, k] if 'carried' in table.forecasts else current
            axes.plot([time, later], [last, forecast], color=colour, linewidth=0.9, linestyle=':', zorder=2)
            axes.plot(later, forecast, marker, color=colour, markersize=4.5, linestyle='', zorder=4)
    measured = ~np.isnan(current)
    axes.plot(time[measured], current[measured], 'o-', color=INK[theme], markersize=4, linewidth=1.1, zorder=3)


def draw_forecasts(table: Predictions, theme: str) -> bytes:
    """Forecasts of the network against measured values, for some values, as PNG."""
    values = _most_forecast(table)
    canvas = Figure(figsize=(9.4, 2.7), layout='constrained')
    for axes, k in zip(np.atleast_1d(canvas.subplots(1, len(values))), values):
        style_axes(axes, theme)
        axes.tick_params(labelsize=8)
        there = np.flatnonzero(~np.isnan(table.next[:, k]))[:MAX_DOTS]
        measured, forecast = table.next[there, k], table.forecasts[''][there, k]
        ends = [float(min(measured.min(), forecast.min())), float(max(measured.max(), forecast.max()))]
        axes.plot(ends, ends, color=INK[theme], linewidth=0.8, linestyle=':')
        axes.scatter(measured, forecast, s=7, color=NETWORK, alpha=0.35, linewidths=0)
        axes.set_title(short_name(table.names[k]), fontsize=9.5, color=INK[theme])
        axes.set(xlabel='Measured', ylabel='Forecast' if k == values[0] else '')
    return png(canvas, CHART_DPI)


def early_warning_chart(split: Split[Predictions], event: str, name: str) -> Chart:
    """AUROC of an event by lead time.

    Args:
      split: the visits.
      event: the event.
      name: its name in the keys of its metrics.
    """
    analysis, unit = split.run.results['analysis'], split.run.results.get('unit', '')
    spans = lead_spans(analysis['lead_times'])
    entries = {RISK_METHODS[method]: [split.entries[metric_key(f'auroc{span}', name, method)] for span in spans]
               for method in split.table.risks}
    labels = [f'{format_significant(low)}–{format_significant(high)}' for low, high in spans.values()]
    within = f'{format_significant(analysis["horizon"])} {unit}'.strip()
    return themed_chart(lambda theme: draw_by_lead(entries, labels, unit, theme), f'AUROC of {event} by lead time',
                        f'AUROC of {event} by lead time, with 95 % intervals: visits after which it occurred in that '
                        f'span, against those after which it did not occur within {within}. Dotted: chance.')


def calibration_charts(split: Split[Predictions], event: str, bins: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """The calibration of the predicted probability of an event; none without a visit.

    Args:
      split: the visits.
      event: the event.
      bins: of `calibration.reliability_bins`.
    """
    if not bins:
        return []
    limit = min(1.0, np.ceil(10 * max(x for one in bins for x in (one['predicted'], one['observed']))) / 10)
    names = 'Predicted probability', f'Share with {event}'
    key = metric_key('brier', event if len(split.table.events) > 1 else '', '')
    brier = format_number(split.entries[key]['value'])
    return [themed_chart(
        lambda theme: probability_charts.reliability_chart({'network': bins}, names, theme, limit),
        f'Calibration of the probability of {event}',
        'Predicted probability against observed frequency over visits. The area of a dot is its share of the visits; '
        f'small dots are uncertain. Dotted: perfect calibration. Brier score {brier}.')]


def draw_by_lead(entries: Mapping[str, Sequence[Mapping[str, Any]]], labels: Sequence[str], unit: str,
                 theme: str) -> bytes:
    """AUROC of each method by span of lead time, with intervals, as PNG.

    Args:
      entries: for each method those of the spans.
      labels: of the spans.
      unit: of time.
      theme: 'light' or 'dark'.
    """
    canvas, axes = chart(theme, f'Time before the event, {unit}' if unit else 'Time before the event', 'AUROC', *SQUARE)
    axes.axhline(0.5, color=INK[theme], linewidth=0.8, linestyle=':')
    for number, ((name, found), colour, marker) in enumerate(zip(entries.items(), (NETWORK, BASELINE), 'Ds')):
        x = np.arange(len(labels)) + 0.16 * (number - (len(entries) - 1) / 2)
        values = np.array([np.nan if entry.get('value') is None else entry['value'] for entry in found], float)
        axes.plot(x, values, marker=marker, color=colour, markersize=5.5, linewidth=1.0, label=name)
        for place, entry in zip(x, found):
            if entry.get('ci95'):
                axes.plot([place] * 2, entry['ci95'], color=colour, linewidth=1.4)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(None, min(1.005, axes.get_ylim()[1]))
    axes.legend(frameon=False, labelcolor=INK[theme], fontsize=9, loc='best')
    return png(canvas, CHART_DPI)


def _most_forecast(table: Predictions) -> list[int]:
    """The values with the most measured next values, in their order."""
    counts = (~np.isnan(table.next)).sum(0)
    values = [k for k in np.argsort(-counts, kind='stable')[:MAX_VALUES].tolist() if counts[k]]
    return sorted(values)
