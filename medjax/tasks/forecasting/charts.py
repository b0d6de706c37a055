"""Charts of forecasts: courses of patients, forecasts against what came, early warning by lead time, calibration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from medjax.report import probability_charts
from medjax.report.chapter import Chart, themed_chart
from medjax.report.split import Split
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, png, short_name, style_axes
from medjax.report.tables import format_number
from medjax.tasks.forecasting.summary import CHANCES, Table, key_of, spans_of

SHOWN = 4  # values that are drawn side by side
NETWORK, SIMPLE = PALETTE[3], PALETTE[1]
MOST = 1500  # dots of a chart


def courses(table: Table, patients: Mapping[str, int], unit: str, theme: str) -> bytes:
    """A row a patient, a column a value: what was measured, and at each visit the forecast for the next.

    Args:
      table: visits.
      patients: numbers by the words beside their row.
      unit: of time.
      theme: 'light' or 'dark'.
    """
    shown = _most_told(table)
    canvas = Figure(figsize=(9.4, 1.9 * len(patients) + 0.3), layout='constrained')
    grid = canvas.subplots(len(patients), len(shown), squeeze=False, sharex='row')
    for row, (words, patient) in enumerate(patients.items()):
        visits = np.flatnonzero(table.patients == patient)
        visits = visits[np.argsort(table.time[visits], kind='stable')]
        time = table.time[visits]
        for column, k in enumerate(shown):
            axes = grid[row, column]
            style_axes(axes, theme)
            axes.tick_params(labelsize=8)
            now = table.now[visits, k]
            there = ~np.isnan(now)
            for method, colour, marker in (('ridge', SIMPLE, 'x'), ('', NETWORK, 'D')):
                if method in table.told:
                    told, later = table.told[method][visits, k], time + table.ahead[visits]
                    last = table.told['carried'][visits, k] if 'carried' in table.told else now
                    axes.plot([time, later], [last, told], color=colour, linewidth=0.9, linestyle=':', zorder=2)
                    axes.plot(later, told, marker, color=colour, markersize=4.5, linestyle='', zorder=4)
            axes.plot(time[there], now[there], 'o-', color=INK[theme], markersize=4, linewidth=1.1, zorder=3)
            if not row:
                axes.set_title(short_name(table.names[k]), fontsize=9.5, color=INK[theme])
            if not column:
                axes.set_ylabel(words)
            if row == len(patients) - 1:
                axes.set_xlabel(f'Time, {unit}' if unit else 'Time')
    return png(canvas, CHART_DPI)


def against_truth(table: Table, theme: str) -> bytes:
    """A dot a forecast of the network, against what came, for some values."""
    shown = _most_told(table)
    canvas = Figure(figsize=(9.4, 2.7), layout='constrained')
    for axes, k in zip(np.atleast_1d(canvas.subplots(1, len(shown))), shown):
        style_axes(axes, theme)
        axes.tick_params(labelsize=8)
        there = np.flatnonzero(~np.isnan(table.next[:, k]))[:MOST]
        came, told = table.next[there, k], table.told[''][there, k]
        ends = [float(min(came.min(), told.min())), float(max(came.max(), told.max()))]
        axes.plot(ends, ends, color=INK[theme], linewidth=0.8, linestyle=':')
        axes.scatter(came, told, s=7, color=NETWORK, alpha=0.35, linewidths=0)
        axes.set_title(short_name(table.names[k]), fontsize=9.5, color=INK[theme])
        axes.set(xlabel='Measured', ylabel='Forecast' if k == shown[0] else '')
    return png(canvas, CHART_DPI)


def warned(of: Split[Table], event: str, name: str) -> Chart:
    """AUROC by how long before the event it is told."""
    analysis = of.run.results['analysis']
    unit = of.run.results.get('unit', '')
    spans = spans_of(analysis['leads'])
    found = {CHANCES[method]: [of.entries[key_of(f'auroc{span}', name, method)] for span in spans]
             for method in of.table.chance}
    labels = [f'{low:g}–{high:g}' for low, high in spans.values()]
    return themed_chart(lambda theme: by_lead(found, labels, unit, theme), f'AUROC of {event} by lead time',
                f'AUROC of {event} by lead time, with 95 % intervals: visits after which it came in that span, against '
                f'those after which it did not come within {analysis["within"]:g} {unit}. Dotted: chance.')


def trusted(of: Split[Table], event: str, bins: Sequence[Mapping[str, Any]]) -> list[Chart]:
    """Whether told chances come true; none without a visit."""
    if not bins:
        return []
    high = min(1.0, np.ceil(10 * max(x for one in bins for x in (one['said'], one['came']))) / 10)
    names = 'Chance that the network tells', f'Share with {event}'
    brier = format_number(of.entries[key_of('brier', event if len(of.table.events) > 1 else '', '')]['value'])
    return [themed_chart(lambda theme: probability_charts.reliability_chart({'network': bins}, names, theme, high),
                 f'Calibration of the chance of {event}', 'What was told against what came, over visits; the area of a '
                 f'dot is its share of them, and small ones say little. Dotted: perfect. Brier '
                 f'score {brier}.')]


def by_lead(found: Mapping[str, Sequence[Mapping[str, Any]]], labels: Sequence[str], unit: str, theme: str) -> bytes:
    """Entries of each method side by side, in spans of lead time."""
    canvas, axes = chart(theme, f'Before the event, {unit}' if unit else 'Before the event', 'AUROC', *SQUARE)
    axes.axhline(0.5, color=INK[theme], linewidth=0.8, linestyle=':')
    for number, ((name, entries), colour, marker) in enumerate(zip(found.items(), (NETWORK, SIMPLE), 'Ds')):
        x = np.arange(len(labels)) + 0.16 * (number - (len(found) - 1) / 2)
        values = np.array([np.nan if entry.get('value') is None else entry['value'] for entry in entries], float)
        axes.plot(x, values, marker=marker, color=colour, markersize=5.5, linewidth=1.0, label=name)
        for place, entry in zip(x, entries):
            if entry.get('ci95'):
                axes.plot([place] * 2, entry['ci95'], color=colour, linewidth=1.4)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_xlim(-0.5, len(labels) - 0.5)
    axes.set_ylim(None, min(1.005, axes.get_ylim()[1]))
    axes.legend(frameon=False, labelcolor=INK[theme], fontsize=9, loc='best')
    return png(canvas, CHART_DPI)


def _most_told(table: Table) -> list[int]:
    """Values with the most forecasts that can be judged, in their order."""
    counts = (~np.isnan(table.next)).sum(0)
    some = [k for k in np.argsort(-counts, kind='stable')[:SHOWN].tolist() if counts[k]]
    return sorted(some)
