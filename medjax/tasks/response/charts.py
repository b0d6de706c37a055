"""Waterfall and spider plots: the best change of each patient, and the changes over time."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
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
MARKS = dict(zip(recist.RESPONSES, 'osDD^P'))
HIGHEST = {'waterfall': 100, 'spider': 200}  # percent; what is above is cut, for it would flatten all else
NAMED = 24  # patients whose names there is room for


def sections(followed: Sequence[Mapping[str, Any]]) -> list[tuple[str, list[Chart]]]:
    """Headings with their plots, for each measure that any patient has.

    Args:
      followed: patients with two visits or more, see `response_report.summaries`.
    """
    out = []
    for what, name in NAMES.items():
        known = [of for of in followed if of['change'][what] == of['change'][what]]
        if known:
            low, high = LIMITS[what]
            dotted = f'Dotted: {low:+.1f} % and {high:+.1f} %'.replace('-', '−')
            dotted += ('.' if what == 'peak' else
                       '; progression is told from the smallest value so far, not from the first.')
            out.append((name, [
                themed_chart(lambda theme, a=(known, what): waterfall(*a, theme), f'Waterfall plot: {name.lower()}',
                     f'Best change of each patient, up to progression; colours: best response by RECIST 1.1. {dotted}',
                     wide=True),
                themed_chart(lambda theme, a=(known, what): spider(*a, theme), f'Spider plot: {name.lower()}',
                     f'Changes over time; colours and marks: the response by RECIST 1.1 at each visit. A ring stands '
                     f'around a visit with a new lesion; lines that leave the picture are above '
                     f'{HIGHEST["spider"]:+d} %.', wide=True)]))
    return out


def waterfall(known: Sequence[Mapping[str, Any]], what: str, theme: str) -> bytes:
    """A bar for each patient, from the largest growth to the largest loss.

    Args:
      known: patients with a change of that measure.
      what: a key of `CHANGES`.
      theme: 'light' or 'dark'.
    """
    order = sorted(known, key=lambda of: -of['change'][what])
    values = np.array([of['change'][what] for of in order])
    figure, axes = chart(theme, '' if len(order) <= NAMED else f'{len(order)} patients',
                         f'{NAMES[what]}:\nbest change, %', 9.4, 3.6)
    most = HIGHEST['waterfall']
    axes.bar(range(len(order)), np.minimum(values, most), color=[COLOURS[of['best']] for of in order], width=0.8)
    _limits(axes, what, theme)
    for place, (of, value) in enumerate(zip(order, values)):
        if len(order) <= NAMED:
            words = f'{round(value):+d}'.replace('-', '−') + f'\n{of["best"]}'
            axes.annotate(words, (place, min(value, most)), (0, 3 if value >= 0 else -3), textcoords='offset points',
                          ha='center', va='bottom' if value >= 0 else 'top', fontsize=8, color=INK[theme])
    named = [of['patient'] for of in order] if len(order) <= NAMED else []
    axes.set_xticks(range(len(named)), named, rotation=30 if len(named) > 8 else 0)
    axes.set_xlim(-0.6, max(len(order), 4) - 0.4)
    axes.set_ylim(min(-45, values.min() - 22), max(35, min(values.max(), most) + 22))
    shown = [name for name in recist.RESPONSES if any(of['best'] == name for of in order)]
    legend(axes, theme, handles=[Patch(color=COLOURS[name], label=name) for name in shown], loc='upper right',
           ncols=len(shown))
    return png(figure, CHART_DPI)


def spider(known: Sequence[Mapping[str, Any]], what: str, theme: str) -> bytes:
    """A line for each patient over the weeks since the first visit; see `waterfall`."""
    figure, axes = chart(theme, 'Weeks since the first visit', f'{NAMES[what]}:\nchange, %', 9.4, 4.0)
    rows = {of['patient']: [row for row in of['rows'] if row[CHANGES[what]] == row[CHANGES[what]]] for of in known}
    points = {name: np.array([(row['weeks'], row[CHANGES[what]]) for row in its]) for name, its in rows.items()}
    last, top = (max(float(xy[:, column].max()) for xy in points.values()) for column in (0, 1))
    top, low = min(max(35.0, top), HIGHEST['spider']) + 8, min(-45.0, *(xy[:, 1].min() for xy in points.values())) - 8
    for name, xy in points.items():
        axes.plot(*xy.T, color=INK[theme], linewidth=1.0, alpha=0.5, zorder=2)
        for row, at in zip(rows[name][1:], xy[1:]):
            axes.plot(*at, MARKS[row['response']], color=COLOURS[row['response']], markersize=6, zorder=3)
            if row['new']:
                axes.plot(*at, 'o', fillstyle='none', color=INK[theme], markersize=11, zorder=3)
    for name, place in _ends(points, top, 0.045 * (top - low)).items() if len(known) <= NAMED else ():
        axes.annotate(name, place, (8, 0), textcoords='offset points', fontsize=8, va='center', color=INK[theme],
                      annotation_clip=False)
    _limits(axes, what, theme)
    axes.set(xlim=(0, last * 1.08), ylim=(low, top))
    shown = [name for name in recist.RESPONSES if any(row['response'] == name for of in known for row in of['rows'])]
    legend(axes, theme, handles=[Line2D([], [], color=COLOURS[name], marker=MARKS[name], linestyle='', label=name)
                                 for name in shown], loc='upper left', ncols=len(shown))
    return png(figure, CHART_DPI)


def _ends(points: Mapping[str, np.ndarray], top: float, gap: float) -> dict[str, tuple[float, float]]:
    """Where lines end or leave the picture, one above the other where that is the same week."""
    ends: dict[str, tuple[float, float]] = {}
    for name, xy in points.items():
        inside = np.flatnonzero(xy[:, 1] <= top)[-1]  # the first visit is
        part = xy[inside:inside + 2]
        ends[name] = tuple(xy[-1]) if len(part) < 2 else (float(np.interp(top, part[:, 1], part[:, 0])), top)
    placed: dict[str, tuple[float, float]] = {}
    for name, (x, y) in sorted(ends.items(), key=lambda item: item[1]):
        before = [other for week, other in placed.values() if week == x]
        placed[name] = x, max([y, *(other + gap for other in before)])
    return placed


def _limits(axes: Any, what: str, theme: str) -> None:
    axes.axhline(0, color=INK[theme], linewidth=0.8)
    for limit in LIMITS[what]:
        axes.axhline(limit, color=INK[theme], linewidth=0.9, linestyle=':', zorder=1)
