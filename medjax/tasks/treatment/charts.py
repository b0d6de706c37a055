"""Charts of a run on a treatment: whom to treat first, predicted effects against true ones, and how groups differ."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.report.chapter import Chart, themed_chart
from medjax.report.split import Split
from medjax.report.style import CHART_DPI, INK, MARKERS, PALETTE, SQUARE, chart, class_colour, legend, png, short_name
from medjax.report.tables import format_number
from medjax.tasks.treatment.summary import METHODS, UNBALANCED, Table

COLOURS = dict(zip(METHODS, (PALETTE[3], PALETTE[1], PALETTE[5], PALETTE[2])))
NARROW = 0.1  # standardised difference that is commonly taken for balance
LONGEST = 40  # covariates that a chart has room for


def effects(of: Split[Table]) -> list[Chart]:
    """The uplift curves, and predicted effects against true ones where those are known."""
    table = of.table
    said = ', '.join(f'{METHODS[name]} {format_number(of.entries[f"qini_{name}" if name else "qini"]["value"])}'
                     for name in table.predicted)
    made = [themed_chart(lambda theme: uplift(table, theme), 'Uplift curves',
                 'What treating a share of the patients gains in the mean over all, those of the largest predicted '
                 'effect first; by what came of the patients, weighted. Dotted: in no order. Qini, the area between: '
                 f'{said}.')]
    if table.truth is not None:
        made.append(themed_chart(lambda theme: against_truth(table, theme), 'Predicted effects against true ones',
                         'Each patient\'s effect as predicted by the network, and the simulated truth; dotted: equal.'))
    return made


def groups(training: Mapping[str, Any], names: Sequence[str]) -> list[Chart]:
    """How the training groups overlap, and how far their covariates are apart."""
    return [themed_chart(lambda theme: overlap(training, names, theme), 'Propensity of both groups',
                 'The chance to be treated by a logistic regression on the training patients, in those who were and '
                 'those who were not. Where one group has nobody, no data say what the other outcome would have been.'),
            themed_chart(lambda theme: apart(training['balance'], theme), 'Standardised mean differences',
                 f'The treated less the others, in standard deviations of the groups: rings as they are, dots weighted '
                 f'by the inverse propensity. Dotted: {NARROW} and {UNBALANCED}, by which groups are commonly called '
                 'balanced, and far apart.')]


def uplift(table: Table, theme: str) -> bytes:
    """Gains over shares of the patients, for each method; and the straight line."""
    canvas, axes = chart(theme, 'Share treated, the largest predicted effect first', 'Gain, mean over all patients',
                         *SQUARE)
    for method in table.predicted:
        share, gain = table.gains(method)
        axes.plot(share, gain, color=COLOURS[method], linewidth=1.0 if method else 1.9, zorder=2 if method else 3,
                  label=METHODS[method])
    axes.plot([0, 1], [0, gain[-1]], color=INK[theme], linewidth=0.8, linestyle=':')
    axes.set(xlim=(0, 1.01))
    legend(axes, theme, loc='best')
    return png(canvas, CHART_DPI)


def against_truth(table: Table, theme: str) -> bytes:
    """A dot a patient, of both groups."""
    canvas, axes = chart(theme, 'True effect', 'Predicted effect', *SQUARE)
    effect = table.effect('')
    ends = [float(min(effect.min(), table.truth.min())), float(max(effect.max(), table.truth.max()))]
    axes.plot(ends, ends, color=INK[theme], linewidth=0.8, linestyle=':')
    for number, name in enumerate(('not treated', 'treated')):
        chosen = table.treatment == number
        axes.scatter(table.truth[chosen], effect[chosen], s=14, color=class_colour(number + 1), marker=MARKERS[number],
                     alpha=0.7, linewidths=0, label=name)
    legend(axes, theme, loc='best')
    return png(canvas, CHART_DPI)


def overlap(training: Mapping[str, Any], names: Sequence[str], theme: str) -> bytes:
    """How the propensity is spread in each group: shares of the group."""
    canvas, axes = chart(theme, 'Propensity', 'Share of the group', *SQUARE)
    edges = np.array(training['overlap']['edges'])
    for number, name in enumerate(names, 1):
        counts = np.array(training['overlap'][name], float)
        heights = counts / max(counts.sum(), 1)
        axes.stairs(heights, edges, fill=True, color=class_colour(number), alpha=0.35)
        axes.stairs(heights, edges, color=class_colour(number), linewidth=1.6, linestyle='-' if number == 1 else '--',
                    label=f'{name} (n = {counts.sum():.0f})')
    axes.set(xlim=(0, 1), ylim=(0, axes.get_ylim()[1] * 1.12))
    legend(axes, theme, loc='upper center', bbox_to_anchor=(0.5, 1.13), ncols=2)
    return png(canvas, CHART_DPI)


def apart(balance: Mapping[str, Sequence[float | None]], theme: str) -> bytes:
    """Standardised differences of each covariate, the largest on top (Love's plot)."""
    known = {name: pair for name, pair in balance.items() if all(value is not None for value in pair)}
    shown = sorted(known, key=lambda name: -abs(known[name][0]))[:LONGEST]
    canvas, axes = chart(theme, 'Standardised mean difference', '', 4.6, max(4.0, 0.9 + 0.17 * len(shown)))
    for place in (-UNBALANCED, -NARROW, NARROW, UNBALANCED):
        axes.axvline(place, color=INK[theme], linewidth=0.7, linestyle=':')
    for row, name in enumerate(shown):
        before, after = known[name]
        axes.plot([before, after], [row, row], color=INK[theme], linewidth=0.7, alpha=0.5)
        axes.plot(before, row, 'o', color=PALETTE[3], fillstyle='none', markersize=5)
        axes.plot(after, row, 'o', color=PALETTE[3], markersize=5)
    axes.grid(visible=False)
    axes.set_yticks(range(len(shown)), [short_name(name) for name in shown], fontsize=8)
    axes.set_ylim(len(shown) - 0.5, -0.5)
    return png(canvas, CHART_DPI)


def realisations(values: Mapping[str, np.ndarray], entries: Mapping[str, Mapping[str, Any]], name: str,
                 theme: str) -> bytes:
    """A dot a realisation, a column a method, lines between those of one realisation; the mean with its interval.

    Args:
      values: for each method `[n]`, of the same realisations.
      entries: for each method what `bootstrap.summarise` says of them.
      name: of the figure.
      theme: 'light' or 'dark'.
    """
    canvas, axes = chart(theme, '', name, 4.6, 4.0)
    table = np.array(list(values.values()))
    axes.plot(np.arange(len(table)), table, color=INK[theme], linewidth=0.5, alpha=0.35)
    for number, method in enumerate(values):
        axes.plot(np.full(table.shape[1], number), table[number], 'o', color=COLOURS[method], markersize=4, alpha=0.7)
        entry = entries[method]
        if entry.get('ci95'):
            axes.plot([number + 0.2] * 2, entry['ci95'], color=INK[theme], linewidth=1.6)
        axes.plot(number + 0.2, entry['value'], 'D', color=INK[theme], markersize=4.5)
    axes.set_xticks(range(len(values)), [METHODS[method].replace(' by', '\nby') for method in values])
    axes.set_xlim(-0.4, len(values) - 0.4)
    if table.max() > 10 * max(table.min(), 1e-9):  # some surfaces are far steeper than others
        axes.set_yscale('log')
    return png(canvas, CHART_DPI)
