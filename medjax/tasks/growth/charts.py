"""Charts of tumour growth: predicted volumes, trajectories, Dice by case, gains, and ROC curves of new tumours."""

from collections.abc import Mapping

import numpy as np
from matplotlib.ticker import LogLocator, NullLocator

from medjax.ops import growth_laws
from medjax.report import charts, probability_charts
from medjax.report.chapter import Chart, themed_chart
from medjax.report.split import Split
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, legend, png
from medjax.tasks.growth.pictures import COLOURS, Snapshot
from medjax.tasks.growth.table import METHODS, Predictions, method_column

DASHES = {'exponential': ':', 'logistic': '--', 'gompertz': '-'}


def volume_charts(split: Split[Predictions], cases: Mapping[str, tuple[int, Snapshot]]) -> list[Chart]:
    """Predicted against true volumes, and the volumes of the example cases over time; see `pictures.examples`."""
    table = split.table
    out = [themed_chart(lambda theme: draw_volumes(table, theme), 'Predicted against true volumes',
                        'Predicted and true volume of each case at the next visit; dotted: equal.')]
    for kind, (number, case) in cases.items():
        if case.curve:
            volumes = table.truth[number], table.volume[''][number]
            out.append(themed_chart(
                lambda theme, parts=(case, *volumes): draw_trajectory(*parts, theme),
                f'Volumes of {case.name} over time',
                f'{kind} by Dice, {case.name}: volumes of the earlier visits (dots) and growth laws fitted to them. '
                'Ring: true next volume; diamond: prediction of the network.'))
    return out


def dice_charts(split: Split[Predictions]) -> list[Chart]:
    """The Dice of each case by each method, and the gain over a baseline by growth of the tumour."""
    table = split.table
    columns = {METHODS[name]: table.values['dice', name] for name in table.methods}
    entries = {METHODS[name]: split.entries[method_column('dice', name)] for name in table.methods}
    out = [themed_chart(lambda theme: charts.strip_chart(columns, entries, 'Dice of the next mask', theme),
                        'Dice of each case', 'Dots: cases; diamonds: means with 95 % intervals.',
                        wide=len(columns) > 4)]
    baseline = next((name for name in ('gompertz', 'same') if name in table.methods), None)
    if baseline:
        gain = table.values['dice', ''] - table.values['dice', baseline]
        out.append(themed_chart(
            lambda theme: draw_gain(table, baseline, theme), f'Gain in Dice over {METHODS[baseline]}',
            f'Dice of the network minus that of {METHODS[baseline]}, by growth of the tumour; better in '
            f'{int((gain > 0).sum())} of {len(gain)} cases.'))
    return out


def site_charts(split: Split[Predictions]) -> list[Chart]:
    """ROC curves of new tumours by site; none where new tumours arose at no site or at all."""
    known = split.table.new >= 0
    new, scores = split.table.new[known] == 1, {'network': split.table.risk[known]}
    if split.table.chance is not None:
        scores['true probability (simulation)'] = split.table.chance[known]
    if not new.any() or new.all():
        return []
    return [themed_chart(lambda theme: draw_roc(new, scores, theme), 'ROC curves of new tumours by site',
                         'Sites of all patients together.')]


def draw_roc(new: np.ndarray, scores: Mapping[str, np.ndarray], theme: str) -> bytes:
    """ROC curves of scores `[m]` by name, for `new [m]` bool, as PNG."""
    canvas, axes = chart(theme, '1 − specificity', 'Sensitivity', *SQUARE)
    for (name, score), colour, dash in zip(scores.items(), (PALETTE[1], '#8a8f96'), ('-', '--')):
        axes.plot(*probability_charts.roc_curve(new, score), color=colour, linewidth=1.7, linestyle=dash, label=name)
    axes.plot([0, 1], [0, 1], color=INK[theme], linewidth=0.8, linestyle=':')
    axes.set(xlim=(-0.01, 1.01), ylim=(-0.01, 1.01))
    legend(axes, theme, loc='lower right')
    return png(canvas, CHART_DPI)


def draw_volumes(table: Predictions, theme: str) -> bytes:
    """Predicted against true volumes of some methods, on logarithmic axes, as PNG."""
    canvas, axes = chart(theme, 'True volume, ml', 'Predicted volume, ml', *SQUARE)
    least = max(float(table.truth[table.truth > 0].min(initial=np.inf)) / 3, 1e-3)
    least = least if np.isfinite(least) else 1e-3
    for name in ('same', 'gompertz', ''):
        if name in table.methods:
            axes.scatter(np.maximum(table.truth, least), np.maximum(table.volume[name], least), s=13, linewidths=0,
                         color=COLOURS[name], alpha=0.75, label=METHODS[name])
    ends = [least, max(float(table.truth.max(initial=least)), 2 * least) * 1.2]
    axes.plot(ends, ends, color=INK[theme], linewidth=0.8, linestyle=':')
    axes.set(xscale='log', yscale='log')
    for axis in (axes.xaxis, axes.yaxis):
        axis.set_major_locator(LogLocator(subs=(1, 2, 5)))
        axis.set_major_formatter('{x:g}')
        axis.set_minor_locator(NullLocator())
    legend(axes, theme, loc='upper left')
    return png(canvas, CHART_DPI)


def draw_trajectory(case: Snapshot, truth: float, predicted: float, theme: str) -> bytes:
    """Volumes of a case over time with the growth laws, as PNG.

    Args:
      case: the case.
      truth: true volume at the next visit, ml.
      predicted: its prediction by the network, ml.
      theme: 'light' or 'dark'.
    """
    canvas, axes = chart(theme, 'Days from the last earlier visit', 'Volume, ml', *SQUARE)
    time = np.linspace(case.time[0], case.horizon, 80)
    for law, parts in case.curve.items():
        line = np.asarray(growth_laws.volume(law, growth_laws.GrowthCurve(*map(float, parts)), time))
        axes.plot(time, line, color=COLOURS[law], linewidth=1.4, linestyle=DASHES[law], label=METHODS[law])
    axes.plot(case.time, case.volume, 'o', color=INK[theme], markersize=5, clip_on=False)
    axes.plot(case.horizon, truth, 'o', color=INK[theme], fillstyle='none', markersize=9, clip_on=False)
    axes.plot(case.horizon, predicted, 'D', color=COLOURS[''], markersize=6, clip_on=False)
    axes.set_ylim(0, 1.6 * max(truth, predicted, float(case.volume.max())))  # a growth law may exceed the chart
    legend(axes, theme, loc='upper left')
    return png(canvas, CHART_DPI)


def draw_gain(table: Predictions, baseline: str, theme: str) -> bytes:
    """Gain in Dice over a baseline by growth of the tumour, a dot a case, as PNG."""
    canvas, axes = chart(theme, 'True next volume / last volume', f'Gain in Dice over {METHODS[baseline]}', *SQUARE)
    gain = table.values['dice', ''] - table.values['dice', baseline]
    axes.axhline(0, color=INK[theme], linewidth=0.8, linestyle=':')
    axes.scatter(table.truth / np.maximum(table.last, 1e-9), gain, s=14, color=COLOURS[''], alpha=0.75, linewidths=0)
    axes.set_xscale('log')
    axes.set_xticks([1, 2, 4, 8], ['1', '2', '4', '8'])
    axes.minorticks_off()
    return png(canvas, CHART_DPI)
