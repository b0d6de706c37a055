"""Charts of a survival run: risk groups, distribution of predictions, calibration, Brier score, example patients."""

import math
from collections.abc import Mapping
from typing import NamedTuple

import numpy as np
from matplotlib.axes import Axes
from matplotlib.lines import Line2D
from matplotlib.ticker import MaxNLocator

from medjax.metrics.survival import Curve
from medjax.report import probability_charts
from medjax.report.chapter import Chart, split_name, themed_chart
from medjax.report.style import CHART_DPI, INK, PALETTE, SQUARE, chart, legend, png, short_name, style_axes
from medjax.report.tables import format_number
from medjax.tasks.survival.split import SurvivalSplit
from medjax.tasks.survival.summary import ADVICE, GROUPS

COLOURS = dict(zip((*GROUPS, *ADVICE), (PALETTE[0], PALETTE[2], PALETTE[5], PALETTE[0], PALETTE[5])))
EVENT, CENSORED, OTHER, LATER = ('o', 'full'), ('o', 'none'), ('X', 'full'), ('>', 'full')  # markers and fill styles
TICKS = 8  # times at which patients at risk are counted


class Stratum(NamedTuple):
    """A group of patients.

    Attributes:
      name: of the group.
      curve: its observed curve.
      time: `[n]`, time of the event or of the last follow-up.
      censored: `[n]` bool.
    """

    name: str
    curve: Curve
    time: np.ndarray
    censored: np.ndarray


def risk_groups_chart(split: SurvivalSplit) -> Chart:
    """Observed curves of the risk groups."""
    return _observed_chart(split, split.group_members, 'by risk group', split.groups['logrank'])


def recommendation_chart(split: SurvivalSplit) -> Chart:
    """Observed curves of patients treated as recommended, and of the others."""
    return _observed_chart(split, split.advice_members, 'by agreement of treatment and recommendation',
                           split.run.results['analysis']['advice'][split.split]['logrank'])


def discrimination_charts(split: SurvivalSplit) -> list[Chart]:
    """The distribution of the predicted probability at the middle horizon, by outcome; none without a horizon."""
    if not split.horizons:
        return []
    horizon = split.horizons[len(split.horizons) // 2]
    table, event, time = split.table, split.table.events[0], split.format_time(horizon)
    predicted = table.incidence_at(0, np.array([horizon]))[:, 0]
    had = table.has_event(0) & (table.time <= horizon)
    free = (table.time > horizon) | table.has_other_event(0)
    groups = {f'no {event}': predicted[~had & free], event: predicted[had]}
    name, unknown = f'Predicted probability of {event} by {time}', int((~had & ~free).sum())
    return [themed_chart(lambda theme: probability_charts.histogram_chart(groups, name, theme),
                         f'{name}, by outcome at that time',
                         f'{name}, by outcome at that time, in bins of 0.05. {unknown} patients who were censored '
                         'before are left out.')]


def calibration_charts(split: SurvivalSplit) -> list[Chart]:
    """Calibration at each horizon, and the Brier score over time of each event."""
    return [*(part for horizon in split.horizons for part in _calibration_chart(split, horizon)),
            *(_brier_chart(split, k) for k in range(len(split.brier_curves)))]


def example_patients_chart(split: SurvivalSplit) -> Chart:
    """Predicted curves of the example patients, with their outcomes."""
    markers = f'Dots are {split.table.events[0]}, rings the end of follow-up'
    if split.competing:
        markers += ', crosses other events'
    markers += '; an arrow stands for an outcome after the last predicted time.'
    caption = f'{_curve_name(split, "Predicted probability")}, for the patients in the table. {markers}'
    return themed_chart(lambda theme: draw_examples(split, theme),
                        f'Predicted curves of {len(split.examples)} patients', caption, wide=True)


def draw_strata(strata: list[Stratum], axes_names: tuple[str, str], theme: str) -> bytes:
    """Observed curves with 95 % intervals and ticks at censored times, above the numbers at risk, as PNG.

    Args:
      strata: the groups.
      axes_names: of x and y.
      theme: 'light' or 'dark'.
    """
    canvas, _ = chart(theme, '', '', 9.4, 4.4)
    canvas.clear()
    upper, lower = canvas.subplots(2, 1, sharex=True, height_ratios=(5, 0.3 * len(strata) + 0.3))
    last = max(float(stratum.time.max()) for stratum in strata) or 1.0
    for number, stratum in enumerate(strata):
        _draw_curve(upper, stratum, number)
    ticks = [tick for tick in MaxNLocator(TICKS).tick_values(0, last) if 0 <= tick <= last]
    for axes in (upper, lower):
        style_axes(axes, theme)
        axes.set_xticks(ticks)
    upper.set(ylim=(-0.01, 1.02), xlim=(-0.01 * last, last * 1.01), ylabel=axes_names[1])
    upper.tick_params(labelbottom=False)
    legend(upper, theme, loc='best')
    _draw_numbers_at_risk(lower, strata, ticks, theme)
    lower.set_xlabel(axes_names[0])
    return png(canvas, CHART_DPI)


def _draw_curve(axes: Axes, stratum: Stratum, number: int) -> None:
    curve, colour = stratum.curve, COLOURS[stratum.name]
    x = np.concatenate([[0], curve.times[curve.times > 0]])
    value, low, high = curve.at(x)
    axes.fill_between(x, low, high, step='post', color=colour, alpha=0.15, linewidth=0)
    axes.step(x, value, where='post', color=colour, linewidth=1.8, label=_label(stratum.name),
              linestyle=probability_charts.DASHES[number])
    censored = np.unique(stratum.time[stratum.censored])
    axes.plot(censored, curve.at(censored)[0], '|', color=colour, markersize=6, markeredgewidth=0.8)


def _draw_numbers_at_risk(axes: Axes, strata: list[Stratum], ticks: list[float], theme: str) -> None:
    axes.grid(visible=False)
    axes.spines[['left', 'bottom']].set_visible(False)
    axes.set_ylim(len(strata) - 0.5, -0.5)
    axes.set_title('At risk', loc='left', fontsize=9, color=INK[theme])
    axes.tick_params(axis='y', pad=12)
    axes.set_yticks(range(len(strata)), [_label(stratum.name) for stratum in strata])
    for number, stratum in enumerate(strata):
        for tick in ticks:
            axes.text(tick, number, str(int((stratum.time >= tick).sum())), ha='center', va='center', fontsize=9,
                      color=INK[theme])


def draw_examples(split: SurvivalSplit, theme: str) -> bytes:
    """Predicted curves of the example patients, each with a marker at its outcome, as PNG."""
    canvas, axes = chart(theme, _time_name(split), _curve_name(split, 'Probability'), 9.4, 4.0)
    table, x = split.table, np.append(0, split.table.grid)
    incidence = table.incidence_at(0, x)
    for number in split.examples:
        colour = COLOURS[GROUPS[split.risk_group[number]]]
        curve = incidence[number] if split.competing else 1 - incidence[number]
        time = min(table.time[number], x[-1])
        if time < table.time[number]:
            marker, fill = LATER
        elif table.event[number] == 1:
            marker, fill = EVENT
        else:
            marker, fill = OTHER if table.event[number] else CENSORED
        axes.plot(x, curve, color=colour, linewidth=1.4)
        axes.plot(time, np.interp(time, x, curve), marker, color=colour, markersize=7, fillstyle=fill,
                  markeredgewidth=1.4, zorder=4, clip_on=False)
    axes.set(xlim=(0, x[-1]), ylim=(-0.01, 1.02))
    groups = [name for number, name in enumerate(GROUPS) if number in split.risk_group[split.examples]]
    legend(axes, theme, handles=[Line2D([], [], color=COLOURS[name], linewidth=1.8, label=_label(name))
                                 for name in groups])
    return png(canvas, CHART_DPI)


def draw_brier(split: SurvivalSplit, k: int, theme: str) -> bytes:
    """The Brier score of event `k` over time, of the model and of the observed curve of all patients, as PNG."""
    canvas, axes = chart(theme, _time_name(split), 'Brier score', *SQUARE)
    times, model, reference, _ = split.brier_curves[k]
    axes.plot(times, reference, color=INK[theme], linewidth=1.3, linestyle='--', label=split.estimator)
    axes.plot(times, model, color=PALETTE[3 if theme == 'light' else 0], linewidth=1.8, label='model')
    axes.set(xlim=(0, times[-1]), ylim=(0, None))
    legend(axes, theme, loc='lower right')
    return png(canvas, CHART_DPI)


def _label(group: str) -> str:
    return f'{group} risk' if group in GROUPS else group


def _observed_chart(split: SurvivalSplit, members: Mapping[str, np.ndarray], by: str,
                    logrank: Mapping[str, float]) -> Chart:
    table, cases = split.table, split_name(split.split).lower()
    strata = [Stratum(name, split.observed_curve(chosen), table.time[chosen], table.event[chosen] == 0)
              for name, chosen in members.items()]
    names = _time_name(split), _curve_name(split, 'Share')
    test = 'Log-rank test (other events censored)' if split.competing else 'Log-rank test'
    return themed_chart(lambda theme: draw_strata(strata, names, theme), f'{names[1]} of the {cases} cases, {by}',
                        f'{names[1]} of the {cases} cases {by}: {split.estimator} estimate with 95 % intervals '
                        f'(log-log). Ticks: censored. {test}: {describe_logrank(logrank)}.', wide=True)


def _calibration_chart(split: SurvivalSplit, horizon: float) -> list[Chart]:
    """The calibration of all events at a horizon; none where nothing was observed."""
    calibration = split.run.results['analysis']['calibration'][split.split]
    events, bins, errors = split.table.events, {}, []
    for event in events:
        found = calibration[f'{horizon:g}' if event == events[0] else f'{horizon:g}_{event}']
        points = [one for one in found['bins'] if _is_known(one['observed'])]
        if points:
            bins[event] = points
            error = format_number(found['error'])
            errors.append(f'{event} {error}' if split.competing else error)
    if not bins:
        return []
    name = 'the event' if split.competing else short_name(events[0])
    time = split.format_time(horizon)
    names = f'Predicted probability of {name} by {time}', f'Observed share with {name}'
    highest = max(x for points in bins.values() for point in points
                  for x in (point['predicted'], point['observed'], *(point['ci95'] or ())))
    limit = min(1.0, math.ceil(10 * highest) / 10)
    return [themed_chart(lambda theme: probability_charts.reliability_chart(bins, names, theme, limit),
                         f'Calibration at {time} in the {split_name(split.split).lower()} cases',
                         f'Calibration at {time}: patients in groups by prediction, with the {split.estimator} '
                         'estimate and its 95 % interval. Dotted: perfect calibration; mean absolute difference from '
                         f'it: {", ".join(errors)}, some of which is due to chance.')]


def _brier_chart(split: SurvivalSplit, k: int) -> Chart:
    name = f'Brier score of {split.table.events[k]}' if split.competing else 'Brier score'
    model, reference = split.brier_curves[k].means
    return themed_chart(lambda theme: draw_brier(split, k, theme), f'{name} over time',
                        f'{name} over time; lower is better. Dashed: of one curve for all, the {split.estimator} '
                        f'estimate of the same patients. Means over time (IBS): model {format_number(model)}, one '
                        f'curve for all {format_number(reference)}.')


def describe_logrank(found: Mapping[str, float]) -> str:
    """A log-rank test in words."""
    if not _is_known(found['p']):
        return 'not defined, because there are no two groups with events'
    p = 'p < 0.001' if found['p'] < 0.001 else f'p = {found["p"]:.3f}'
    degrees = '1 degree' if found['df'] == 1 else f'{found["df"]} degrees'
    return f'χ² {found["chi2"]:.1f} with {degrees} of freedom, {p}'


def _is_known(value: float | None) -> bool:
    return value is not None and not math.isnan(value)


def _curve_name(split: SurvivalSplit, what: str) -> str:
    event = split.table.events[0]
    return f'Cumulative incidence of {event}' if split.competing else f'{what} without {event}'


def _time_name(split: SurvivalSplit) -> str:
    return f'Time, {split.unit}' if split.unit else 'Time'
