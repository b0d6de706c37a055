"""Waterfall and spider plots of treatment response: best change of each patient, and changes over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.patches import Patch

from medjax.report.chapter import Chart, themed_chart
from medjax.report.style import CHART_DPI, INK, PALETTE, chart, legend, png
from medjax.tasks.response import recist

CHANGES = {'sum': 'change_percent', 'volume': 'volume_change_percent', 'peak': 'peak_change_percent'}  # columns of rows
NAMES = {'sum': 'Sum of diameters', 'volume': 'Volume', 'peak': 'Uptake of the hottest lesion'}
LIMITS = {'sum': (100 * (recist.LESS - 1), 100 * (recist.MORE - 1)),
          'volume': tuple(100 * (share - 1) for share in recist.VOLUMES),
          'peak': (-100 * recist.UPTAKE[0], 100 * recist.UPTAKE[0])}
COLOURS = dict(zip(recist.RESPONSES, (PALETTE[2], PALETTE[0], PALETTE[1], PALETTE[1], PALETTE[5], '#8a8f96')))
MARKERS = dict(zip(recist.RESPONSES, 'osDD^P'))
HIGHEST = {'waterfall': 100, 'spider': 200}  # percent; higher values are cut off, because they would flatten the others
MAX_NAMED = 24  # patients for whose names there is room

Patient = Mapping[str, Any]


def chart_sections(patients: Sequence[Patient]) -> list[tuple[str, list[Chart]]]:
    """Headings with a waterfall and a spider plot, for each measure that any patient has.

    Args:
      patients: with two visits or more, see `page.patient_summaries`.
    """
    out = []
    for measure, name in NAMES.items():
        known = [patient for patient in patients if patient['change'][measure] == patient['change'][measure]]
        if known:
            out.append((name, [_waterfall_chart(known, measure), _spider_chart(known, measure)]))
    return out


def _waterfall_chart(patients: Sequence[Patient], measure: str) -> Chart:
    low, high = LIMITS[measure]
    limits = f'Dotted: {low:+.1f} % and {high:+.1f} %'.replace('-', '−')
    limits += '.' if measure == 'peak' else '; progression is relative to the smallest value so far, not to the first.'
    name = NAMES[measure].lower()
    return themed_chart(lambda theme: draw_waterfall(patients, measure, theme), f'Waterfall plot: {name}',
                        'Best change of each patient, up to progression; colours: best response by RECIST 1.1. '
                        f'{limits}', wide=True)


def _spider_chart(patients: Sequence[Patient], measure: str) -> Chart:
    name = NAMES[measure].lower()
    return themed_chart(lambda theme: draw_spider(patients, measure, theme), f'Spider plot: {name}',
                        'Changes over time; colours and markers: response by RECIST 1.1 at each visit. A ring is '
                        'around a visit with a new lesion; lines that leave the chart exceed '
                        f'{HIGHEST["spider"]:+d} %.',
                        wide=True)


def draw_waterfall(patients: Sequence[Patient], measure: str, theme: str) -> bytes:
    """A bar for each patient, from the largest increase to the largest decrease, as PNG.

    Args:
      patients: with a change of that measure.
      measure: a key of `CHANGES`.
      theme: 'light' or 'dark'.
    """
    order = sorted(patients, key=lambda patient: -patient['change'][measure])
    values = np.array([patient['change'][measure] for patient in order])
    named, highest = len(order) <= MAX_NAMED, HIGHEST['waterfall']
    figure, axes = chart(theme, '' if named else f'{len(order)} patients', f'{NAMES[measure]}:\nbest change, %', 9.4,
                         3.6)
    axes.bar(range(len(order)), np.minimum(values, highest), color=[COLOURS[patient['best']] for patient in order],
             width=0.8)
    _draw_limits(axes, measure, theme)
    if named:
        for place, (patient, value) in enumerate(zip(order, values)):
            text = f'{round(value):+d}'.replace('-', '−') + f'\n{patient["best"]}'
            axes.annotate(text, (place, min(value, highest)), (0, 3 if value >= 0 else -3), textcoords='offset points',
                          ha='center', va='bottom' if value >= 0 else 'top', fontsize=8, color=INK[theme])
    names = [patient['patient'] for patient in order] if named else []
    axes.set_xticks(range(len(names)), names, rotation=30 if len(names) > 8 else 0)
    axes.set_xlim(-0.6, max(len(order), 4) - 0.4)
    axes.set_ylim(min(-45, values.min() - 22), max(35, min(values.max(), highest) + 22))
    shown = [name for name in recist.RESPONSES if any(patient['best'] == name for patient in order)]
    legend(axes, theme, handles=[Patch(color=COLOURS[name], label=name) for name in shown], loc='upper right',
           ncols=len(shown))
    return png(figure, CHART_DPI)


def draw_spider(patients: Sequence[Patient], measure: str, theme: str) -> bytes:
    """A line for each patient over the weeks since the first visit, as PNG; see `draw_waterfall`."""
    column = CHANGES[measure]
    figure, axes = chart(theme, 'Weeks since the first visit', f'{NAMES[measure]}:\nchange, %', 9.4, 4.0)
    rows = {patient['patient']: [row for row in patient['rows'] if row[column] == row[column]] for patient in patients}
    points = {name: np.array([(row['weeks'], row[column]) for row in visits]) for name, visits in rows.items()}
    last, top = (max(float(xy[:, k].max()) for xy in points.values()) for k in (0, 1))
    top, low = min(max(35.0, top), HIGHEST['spider']) + 8, min(-45.0, *(xy[:, 1].min() for xy in points.values())) - 8
    for name, xy in points.items():
        axes.plot(*xy.T, color=INK[theme], linewidth=1.0, alpha=0.5, zorder=2)
        for row, point in zip(rows[name][1:], xy[1:]):
            axes.plot(*point, MARKERS[row['response']], color=COLOURS[row['response']], markersize=6, zorder=3)
            if row['new']:
                axes.plot(*point, 'o', fillstyle='none', color=INK[theme], markersize=11, zorder=3)
    if len(patients) <= MAX_NAMED:
        for name, place in _line_ends(points, top, 0.045 * (top - low)).items():
            axes.annotate(name, place, (8, 0), textcoords='offset points', fontsize=8, va='center', color=INK[theme],
                          annotation_clip=False)
    _draw_limits(axes, measure, theme)
    axes.set(xlim=(0, last * 1.08), ylim=(low, top))
    responses = {row['response'] for patient in patients for row in patient['rows']}
    shown = [name for name in recist.RESPONSES if name in responses]
    legend(axes, theme, handles=[Line2D([], [], color=COLOURS[name], marker=MARKERS[name], linestyle='', label=name)
                                 for name in shown], loc='upper left', ncols=len(shown))
    return png(figure, CHART_DPI)


def _line_ends(points: Mapping[str, np.ndarray], top: float, gap: float) -> dict[str, tuple[float, float]]:
    """The points where lines end or leave the chart, moved up where they would overlap in the same week."""
    ends: dict[str, tuple[float, float]] = {}
    for name, xy in points.items():
        inside = np.flatnonzero(xy[:, 1] <= top)[-1]  # the first visit is inside
        part = xy[inside:inside + 2]
        ends[name] = tuple(xy[-1]) if len(part) < 2 else (float(np.interp(top, part[:, 1], part[:, 0])), top)
    placed: dict[str, tuple[float, float]] = {}
    for name, (x, y) in sorted(ends.items(), key=lambda item: item[1]):
        below = [other for week, other in placed.values() if week == x]
        placed[name] = x, max([y, *(other + gap for other in below)])
    return placed


def _draw_limits(axes: Axes, measure: str, theme: str) -> None:
    axes.axhline(0, color=INK[theme], linewidth=0.8)
    for limit in LIMITS[measure]:
        axes.axhline(limit, color=INK[theme], linewidth=0.9, linestyle=':', zorder=1)
