"""Charts of a survival run: what became of each risk group, and whether what was predicted for patients came true."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from medjax.metrics.survival import Curve
from medjax.report import probability_charts
from medjax.report.chapter import Chart, split_name, themed_chart
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, legend, png, short_name, style_axes
from medjax.report.tables import format_number
from medjax.tasks.survival.split import Followed
from medjax.tasks.survival.summary import ADVICE, GROUPS

COLOURS = dict(zip((*GROUPS, *ADVICE), (PALETTE[0], PALETTE[2], PALETTE[5], PALETTE[0], PALETTE[5])))
EVENT, CENSORED, OTHER, LATER = ('o', 'full'), ('o', 'none'), ('X', 'full'), ('>', 'full')  # marks
TICKS = 8  # times at which patients at risk are counted


class Stratum(NamedTuple):
    """A group: its name, what became of it, and its patients' times and whether they were censored, each `[n]`."""

    name: str
    curve: Curve
    time: np.ndarray
    censored: np.ndarray


def parted(of: Followed) -> list[Chart]:
    """What became of the risk groups, and how what was predicted is spread."""
    middle = of.horizons[len(of.horizons) // 2:][:1]
    return [_observed(of, of.members, 'by risk group', of.groups['logrank']),
            *(_spread(of, horizon) for horizon in middle)]


def trusted(of: Followed) -> list[Chart]:
    """Whether predicted probabilities come true at each horizon, and how far they are off over time."""
    calibration = [part for horizon in of.horizons for part in _calibration(of, horizon)]
    return [*calibration, *(_brier(of, k) for k in range(len(of.brier)))]


def foretold(of: Followed) -> Chart:
    """What was predicted for some patients, and what happened to them."""
    marks = f'A dot is {of.table.events[0]}, a ring the end of observation'
    marks += ', a cross another event' * of.several + '; an arrow stands where what happened came after the last time.'
    return themed_chart(lambda theme: predicted(of, theme), f'Predicted curves of {len(of.examples)} patients',
                f'{_scale(of, "Predicted probability")}, for the patients in the table. {marks}', wide=True)


def stepped(strata: list[Stratum], axes_names: tuple[str, str], theme: str) -> bytes:
    """Observed curves with 95 % intervals, ticks where patients were censored, and how many are at risk below."""
    canvas, _ = chart(theme, '', '', 9.4, 4.4)
    canvas.clear()
    upper, lower = canvas.subplots(2, 1, sharex=True, height_ratios=(5, 0.3 * len(strata) + 0.3))
    last = max(float(stratum.time.max()) for stratum in strata) or 1.0
    for number, (name, curve, time, censored) in enumerate(strata):
        x = np.concatenate([[0], curve.times[curve.times > 0]])
        value, low, high = curve.at(x)
        upper.fill_between(x, low, high, step='post', color=COLOURS[name], alpha=0.15, linewidth=0)
        upper.step(x, value, where='post', color=COLOURS[name], linewidth=1.8, label=_called(name),
                   linestyle=probability_charts.DASHES[number])
        ends = np.unique(time[censored])
        upper.plot(ends, curve.at(ends)[0], '|', color=COLOURS[name], markersize=6, markeredgewidth=0.8)
    ticks = [tick for tick in MaxNLocator(TICKS).tick_values(0, last) if 0 <= tick <= last]
    for axes in (upper, lower):
        style_axes(axes, theme)
        axes.set_xticks(ticks)
    upper.set(ylim=(-0.01, 1.02), xlim=(-0.01 * last, last * 1.01), ylabel=axes_names[1])
    upper.tick_params(labelbottom=False)
    legend(upper, theme, loc='best')
    lower.grid(visible=False)
    lower.spines[['left', 'bottom']].set_visible(False)
    lower.set(ylim=(len(strata) - 0.5, -0.5), xlabel=axes_names[0])
    lower.set_title('At risk', loc='left', fontsize=9, color=INK[theme])
    lower.tick_params(axis='y', pad=12)
    lower.set_yticks(range(len(strata)), [_called(stratum.name) for stratum in strata])
    for number, stratum in enumerate(strata):
        for tick in ticks:
            lower.text(tick, number, str(int((stratum.time >= tick).sum())), ha='center', va='center', fontsize=9,
                       color=INK[theme])
    return png(canvas, CHART_DPI)


def predicted(of: Followed, theme: str) -> bytes:
    """Predicted curves of the example patients, each with a mark where what happened to them happened."""
    canvas, axes = chart(theme, _time(of), _scale(of, 'Probability'), 9.4, 4.0)
    table, x = of.table, np.append(0, of.table.grid)
    incidence = table.incidence_at(0, x)
    for number in of.examples:
        colour, curve = COLOURS[GROUPS[of.place[number]]], incidence[number] if of.several else 1 - incidence[number]
        marker, fill = EVENT if table.event[number] == 1 else OTHER if table.event[number] else CENSORED
        at = min(table.time[number], x[-1])
        marker, fill = (marker, fill) if at == table.time[number] else LATER
        axes.plot(x, curve, color=colour, linewidth=1.4)
        axes.plot(at, np.interp(at, x, curve), marker, color=colour, markersize=7, fillstyle=fill, markeredgewidth=1.4,
                  zorder=4, clip_on=False)
    axes.set(xlim=(0, x[-1]), ylim=(-0.01, 1.02))
    shown = [name for number, name in enumerate(GROUPS) if number in of.place[of.examples]]
    legend(axes, theme, handles=[Line2D([], [], color=COLOURS[name], linewidth=1.8, label=f'{name} risk')
                                 for name in shown])
    return png(canvas, CHART_DPI)


def over_time(of: Followed, k: int, theme: str) -> bytes:
    """Brier's score at each time, of the model, and dashed that of the observed curve of all patients."""
    canvas, axes = chart(theme, _time(of), 'Brier score', *SQUARE)
    times, model, plain, _ = of.brier[k]
    axes.plot(times, plain, color=INK[theme], linewidth=1.3, linestyle='--', label=of.estimator)
    axes.plot(times, model, color=PALETTE[3 if theme == 'light' else 0], linewidth=1.8, label='model')
    axes.set(xlim=(0, times[-1]), ylim=(0, None))
    legend(axes, theme, loc='lower right')
    return png(canvas, CHART_DPI)


def advised(of: Followed) -> Chart:
    """What became of those who were treated as the network advises, and of the others."""
    return _observed(of, of.advised, 'by whether they were treated as advised',
                     of.run.results['analysis']['advice'][of.split]['logrank'])


def _called(name: str) -> str:
    return f'{name} risk' if name in GROUPS else name


def _observed(of: Followed, members: Mapping[str, np.ndarray], by: str, logrank: Mapping[str, float]) -> Chart:
    table, cases = of.table, split_name(of.split).lower()
    strata = [Stratum(name, of.curve(chosen), table.time[chosen], table.event[chosen] == 0)
              for name, chosen in members.items()]
    names, others = (_time(of), _scale(of, 'Share')), ' (other events censored)' * of.several
    return themed_chart(lambda theme: stepped(strata, names, theme), f'{names[1]} of the {cases} cases, {by}',
                f'{names[1]} of the {cases} cases {by}: {of.estimator}\'s estimate with 95 % intervals '
                f'(log-log). Ticks: censored. Log-rank test{others}: {tested(logrank)}.', wide=True)


def _spread(of: Followed, horizon: float) -> Chart:
    table, event, when = of.table, of.table.events[0], of.after(horizon)
    said = table.incidence_at(0, np.array([horizon]))[:, 0]
    had, without = table.has(0) & (table.time <= horizon), (table.time > horizon) | table.other(0)
    groups = {f'no {event}': said[~had & without], event: said[had]}
    name, unknown = f'Predicted probability of {event} by {when}', int((~had & ~without).sum())
    return themed_chart(lambda theme: probability_charts.histogram_chart(groups, name, theme), f'{name}, by what happened until then',
                f'{name}, by what happened until then; in bins of 0.05. {unknown} censored before are left out.')


def _calibration(of: Followed, horizon: float) -> list[Chart]:
    known, bins, error = of.run.results['analysis']['calibration'][of.split], {}, []
    for event in of.table.events:
        found = known[f'{horizon:g}' if event == of.table.events[0] else f'{horizon:g}_{event}']
        seen = [{'said': one['predicted'], 'came': one['observed'], 'n': one['n'],
                 'ci95': (one['low'], one['high']) if _known(one['low']) else None}
                for one in found['bins'] if _known(one['observed'])]
        if seen:
            bins[event] = seen
            error.append(f'{event} ' * of.several + format_number(found['error']))
    if not bins:
        return []
    what = 'the event' if of.several else short_name(of.table.events[0])
    names = f'Predicted probability of {what} by {of.after(horizon)}', f'Observed share with {what}'
    most = max(x for seen in bins.values() for one in seen for x in (one['said'], one['came'], *(one['ci95'] or ())))
    high = min(1.0, math.ceil(10 * most) / 10)
    return [themed_chart(lambda theme: probability_charts.reliability_chart(bins, names, theme, high),
                 f'Calibration at {of.after(horizon)} in the {split_name(of.split).lower()} cases',
                 f'Calibration at {of.after(horizon)}: patients in groups of rising prediction; what came is '
                 f'{of.estimator}\'s estimate with 95 % intervals. Dotted: perfect; mean distance from that: '
                 f'{", ".join(error)}; chance alone makes some.')]


def _brier(of: Followed, k: int) -> Chart:
    event, (model, plain) = f' of {of.table.events[k]}' * of.several, of.brier[k].means
    return themed_chart(lambda theme: over_time(of, k, theme), f'Brier score{event} over time',
                f'Brier score{event} over time; lower is better. Dashed: that of one curve for all, {of.estimator}\'s '
                f'estimate in these very patients. Means over time (IBS): model {format_number(model)}, one curve for all '
                f'{format_number(plain)}.')


def tested(found: Mapping[str, float]) -> str:
    """A log-rank test between groups, in words."""
    if not _known(found['p']):
        return 'not defined, for there are no two groups with events'
    p = 'p < 0.001' if found['p'] < 0.001 else f'p = {found["p"]:.3f}'
    return f'χ² {found["chi2"]:.1f} with {found["df"]} degree{"s" * (found["df"] > 1)} of freedom, {p}'


def _known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _scale(of: Followed, what: str) -> str:
    event = of.table.events[0]
    return f'Cumulative incidence of {event}' if of.several else f'{what} without {event}'


def _time(of: Followed) -> str:
    return f'Time, {of.unit}' if of.unit else 'Time'
