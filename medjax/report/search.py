"""The section of a report on the search that chose the run's setting."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.report import style
from medjax.report.chapter import Section, themed_chart
from medjax.report.run_files import Run
from medjax.report.tables import Cell, Table, format_number, format_significant

SHOWN = 30  # trials of the table
COLUMNS = 4  # parameters that are drawn


def sections(run: Run) -> list[Section]:
    """The section, or none where the results say nothing of a search."""
    search = run.results.get('search')
    if not search:
        return []
    trials = [trial for trial in search['trials'] if trial['value'] is not None]
    names = list(dict.fromkeys(name for trial in trials for name in trial['parameters']))
    chosen, metric = search['chosen'], search['metric']
    order = sorted(trials, key=lambda trial: (not trial['chosen'], trial['number']))[:SHOWN]
    rows = [(f'{trial["number"]}{" (chosen)" if trial["chosen"] else ""}', '',
             [Cell(trial['state']), Cell(format_number(trial['value'])),
              *(Cell(_text(trial['parameters'].get(name))) for name in names)]) for trial in order]
    counts = f'{search["tried"]} settings were tried, {search["pruned"]} of them pruned; {search["failed"]} failed.'
    more = f' The first {SHOWN} are listed.' if len(trials) > SHOWN else ''
    table = Table(f'Trials by {metric} on validation cases; of those that were pruned, the last value.{more}',
                  [('Trial', ''), ('State', ''), (metric, ''), *((name, '') for name in names)], rows)
    charts = [themed_chart(functools.partial(draw, trials, metric, name), f'{metric} of the trials by {name}')
              for name in ['', *names[:COLUMNS]]]
    text = (f'{search["text"]} {counts} Trial {chosen["trial"]} was chosen, with {metric} '
            f'{format_number(chosen["value"])} on validation cases, which is biased for the best of several. In the '
            'charts it is orange, and crosses are pruned trials.')
    return [Section('Search over settings', text, tables=[table], charts=charts)]


def _text(value: Any) -> str:
    return format_significant(value) if isinstance(value, float) else str(value)


def draw(trials: Sequence[Mapping[str, Any]], metric: str, name: str, theme: str) -> bytes:
    """The trials' validation metric by one parameter, or in their order, as PNG.

    Args:
      trials: each with `number`, `state`, `value`, `parameters` and `chosen`.
      metric: its name.
      name: of the parameter; '' for the trials' numbers.
      theme: 'light' or 'dark'.
    """
    figure, axes = style.chart(theme, name or 'trial', metric)
    trials = [trial for trial in trials if trial['value'] is not None]
    values = [trial['parameters'].get(name) if name else trial['number'] for trial in trials]
    numbers = all(isinstance(value, int | float) for value in values)
    for trial, value in zip(trials, values):
        complete, colour = trial['state'] == 'complete', style.INK[theme]
        axes.plot(value if numbers else str(value), trial['value'], 'o' if complete else 'x', markersize=5,
                  color=style.PALETTE[1] if trial['chosen'] else style.PALETTE[3] if complete else colour)
    if name and numbers and values and min(values) > 0 and max(values) / min(values) > 20:
        axes.set_xscale('log')
    return style.png(figure, style.CHART_DPI)
