"""Charts of treatment effects: uplift, predicted against true effects, propensity overlap and covariate balance."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.report.chapter import Chart, themed_chart
from medjax.report.split import Split
from medjax.report.style import (
    CHART_DPI,
    INK,
    MARKERS,
    PALETTE,
    SQUARE,
    chart,
    class_colour,
    legend,
    png,
    short_name,
)
from medjax.report.tables import format_number
from medjax.tasks.treatment.summary import UNBALANCED, metric_key
from medjax.tasks.treatment.table import METHODS, Predictions

COLOURS = dict(zip(METHODS, (PALETTE[3], PALETTE[1], PALETTE[5], PALETTE[2])))
BALANCED = 0.1  # standardised difference below which a covariate is commonly called balanced
MAX_COVARIATES = 40  # of a chart


def effect_charts(split: Split[Predictions]) -> list[Chart]:
    """The uplift curves, and predicted against true effects where those are known."""
    table = split.table
    qini = ', '.join(f'{METHODS[method]} {format_number(split.entries[metric_key("qini", method)]["value"])}'
                     for method in table.predicted)
    out = [themed_chart(lambda theme: draw_uplift(table, theme), 'Uplift curves',
                        'Mean gain over all patients if a share of them is treated, those with the largest predicted '
                        'effect first, estimated from the weighted observed outcomes. Dotted: random order. Qini, the '
                        f'area between: {qini}.')]
    if table.truth is not None:
        out.append(themed_chart(lambda theme: draw_true_effects(table, theme), 'Predicted against true effects',
                                'Effects predicted by the network and simulated true effects; dotted: equal.'))
    return out


def balance_charts(training: Mapping[str, Any], names: Sequence[str]) -> list[Chart]:
    """Propensity and covariate balance of the training groups.

    Args:
      training: see `TreatmentEvaluator.groups`.
      names: of the groups.
    """
    return [themed_chart(lambda theme: draw_overlap(training, names, theme), 'Propensity of both groups',
                         'Probability of treatment by logistic regression on the training patients, in treated and '
                         'untreated patients. Where one group has no patients, the data contain no information on the '
                         'other outcome.'),
            themed_chart(lambda theme: draw_balance(training['balance'], theme), 'Standardised mean differences',
                         'Mean of the treated minus mean of the untreated, in standard deviations of the groups: rings '
                         f'unweighted, dots weighted by the inverse propensity. Dotted: {BALANCED} and {UNBALANCED}, '
                         'the common limits of balance and of strong imbalance.')]


def draw_uplift(table: Predictions, theme: str) -> bytes:
    """The uplift curve of each method, with the straight line of a random order, as PNG."""
    canvas, axes = chart(theme, 'Share treated, the largest predicted effect first', 'Gain, mean over all patients',
                         *SQUARE)
    for method in table.predicted:
        share, gain = table.uplift_curve(method)
        axes.plot(share, gain, color=COLOURS[method], linewidth=1.0 if method else 1.9, zorder=2 if method else 3,
                  label=METHODS[method])
    axes.plot([0, 1], [0, gain[-1]], color=INK[theme], linewidth=0.8, linestyle=':')
    axes.set(xlim=(0, 1.01))
    legend(axes, theme, loc='best')
    return png(canvas, CHART_DPI)


def draw_true_effects(table: Predictions, theme: str) -> bytes:
    """Predicted against true effects of the patients of both groups, as PNG."""
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


def draw_overlap(training: Mapping[str, Any], names: Sequence[str], theme: str) -> bytes:
    """Histograms of the propensity in each group, as PNG."""
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


def draw_balance(balance: Mapping[str, Sequence[float | None]], theme: str) -> bytes:
    """Standardised mean differences of the covariates, the largest on top (Love plot), as PNG.

    Args:
      balance: for each covariate the difference without and with weights; None where not defined.
      theme: 'light' or 'dark'.
    """
    known = {name: pair for name, pair in balance.items() if all(value is not None for value in pair)}
    names = sorted(known, key=lambda name: -abs(known[name][0]))[:MAX_COVARIATES]
    canvas, axes = chart(theme, 'Standardised mean difference', '', 4.6, max(4.0, 0.9 + 0.17 * len(names)))
    for place in (-UNBALANCED, -BALANCED, BALANCED, UNBALANCED):
        axes.axvline(place, color=INK[theme], linewidth=0.7, linestyle=':')
    for row, name in enumerate(names):
        unweighted, weighted = known[name]
        axes.plot([unweighted, weighted], [row, row], color=INK[theme], linewidth=0.7, alpha=0.5)
        axes.plot(unweighted, row, 'o', color=PALETTE[3], fillstyle='none', markersize=5)
        axes.plot(weighted, row, 'o', color=PALETTE[3], markersize=5)
    axes.grid(visible=False)
    axes.set_yticks(range(len(names)), [short_name(name) for name in names], fontsize=8)
    axes.set_ylim(len(names) - 0.5, -0.5)
    return png(canvas, CHART_DPI)


def draw_realisations(values: Mapping[str, np.ndarray], entries: Mapping[str, Mapping[str, Any]], label: str,
                      theme: str) -> bytes:
    """A dot for each realisation in a column for each method, with means and intervals, as PNG.

    Args:
      values: for each method `[n]`, of the same realisations; values of one realisation are joined by a line.
      entries: for each method that of `per_patient.summarise`.
      label: of the metric.
      theme: 'light' or 'dark'.
    """
    canvas, axes = chart(theme, '', label, 4.6, 4.0)
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
    if table.max() > 10 * max(table.min(), 1e-9):  # the difficulty of the realisations differs by orders of magnitude
        axes.set_yscale('log')
    return png(canvas, CHART_DPI)
