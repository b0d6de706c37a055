"""The parts of a report that a family of problems provides: headlines, tables, and sections of text and pictures.

A family's module `chapter.py` has a function `chapter(run) -> Chapter`. The rest of the page is the same for all.
"""

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from medjax.report import charts, draw
from medjax.report.run_files import Run
from medjax.report.tables import Table
from medjax.statistics import intervals

SPLIT_NAMES = {'test': 'Test', 'val': 'Validation', 'calibrate': 'Calibration', 'train': 'Training'}
HELD_OUT = ('val', 'calibrate')  # splits on which something is chosen or fitted
FEW_PATIENTS = 20  # below this number t intervals of skewed values are known to be too narrow
T_METHODS = ('t', intervals.METHOD)  # of intervals to which this applies


class Chart(NamedTuple):
    """A chart as PNG, for light and for dark pages."""

    light: bytes
    dark: bytes
    alt: str
    caption: str = ''
    wide: bool = False


class Group(NamedTuple):
    """Pictures of one slice or case under a heading."""

    heading: str
    tiles: list[draw.Tile]
    text: str


class Section(NamedTuple):
    """A section of the page; it is left out where it has no table, picture or chart.

    Attributes:
      heading: of the section.
      text: an explanation of what follows.
      keys: legends: a label, and names with their colours.
      tables: shown first.
      groups: of pictures, shown after the tables.
      charts: shown last.
    """

    heading: str
    text: str = ''
    keys: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    tables: Sequence[Table] = ()
    groups: Sequence[Group] = ()
    charts: Sequence[Chart] = ()


@dataclasses.dataclass(frozen=True)
class Chapter:
    """The part of a run's report that depends on the family of problems.

    Attributes:
      headlines: a result and its uncertainty, a sentence each.
      method: how the values and intervals in the tables are computed.
      tables: of the results.
      sections: shown between the results and the table of all cases.
      curves: training curves: for each chart's title the logged keys, and their names in its legend.
      cases: rows of the table of all cases, rounded and in the order in which they are shown.
      text_columns: columns of that table that hold text.
      cases_order: the order of that table, appended to its title; '' for that of the predictions.
      samples: training examples as read and as augmented.
      samples_text: an explanation of these examples.
      conventions_heading: heading of the results' conventions.
      warnings: shown at the top of the page.
    """

    headlines: Sequence[tuple[str, str]]
    method: str
    tables: Sequence[Table]
    sections: Sequence[Section]
    curves: Mapping[str, Mapping[str, str]]
    cases: Sequence[Mapping[str, str]]
    text_columns: Sequence[str] = ('split', 'id', 'patient')
    cases_order: str = ''
    samples: Sequence[tuple[draw.Tile, draw.Tile]] = ()
    samples_text: str = ''
    conventions_heading: str = 'Conventions'
    warnings: Sequence[str] = ()


def split_name(split: str) -> str:
    """The name of a split in headings."""
    return SPLIT_NAMES.get(split, split.replace('_', ' ').capitalize())


def headline_splits(run: Run) -> list[str]:
    """The splits that have a headline; validation and calibration have one only where nothing else was evaluated."""
    return [split for split in run.splits if split not in HELD_OUT] or run.splits


def non_numeric_columns(run: Run) -> list[str]:
    """The columns of the predictions table that hold text: `split`, `id`, `patient`, and those with a cell of text.

    Args:
      run: the run; empty cells count as numbers.
    """
    def is_number(cell: str) -> bool:
        try:
            float(cell or 0)
        except ValueError:
            return False
        return True

    columns = run.predictions[0] if run.predictions else ()
    text = [name for name in columns if not all(is_number(row[name]) for row in run.predictions)]
    return list(dict.fromkeys(['split', 'id', 'patient', *text]))


def caption(run: Run, split: str) -> str:
    """The caption of a split's tables."""
    if split == 'val' and run.selection_metric:
        return f'{split_name(split)} (used to select the weights)'
    if split == 'calibrate':
        return f'{split_name(split)} (used to fit thresholds)'
    return split_name(split)


def interval_method(run: Run, over: str = '') -> str:
    """How the tables' intervals are computed; '' where no value has one.

    Args:
      run: the run.
      over: the units that are left out one by one; by default those that `n` counts, such as patients.
    """
    entries, units = entries_with_intervals(run), f'{run.analysis_unit}s'
    few = any(entry['n'] < FEW_PATIENTS for entry in entries)
    return join_sentences({
        f'95 % intervals are t intervals over {over or units}.': any(
            entry.get('method') in T_METHODS for entry in entries),
        f'With fewer than {FEW_PATIENTS} of them an interval may be too narrow.': few})


def entries_with_intervals(run: Run) -> list[Mapping[str, Any]]:
    """The results of all splits that have an interval."""
    return [entry for split in run.splits for entry in run.results[split].values() if entry.get('ci95')]


def small_samples(run: Run) -> list[str]:
    """A warning for each split with t intervals of fewer than FEW_PATIENTS patients."""
    out = []
    for split in run.splits:
        sizes = [entry['n'] for entry in run.results[split].values()
                 if entry.get('ci95') and entry.get('method') in T_METHODS]
        few = [n for n in sizes if n < FEW_PATIENTS]
        if few:
            units = f'{run.analysis_unit}s'
            out.append(f'{split_name(split)}: {len(few)} of {len(sizes)} intervals are of fewer than {FEW_PATIENTS} '
                       f'{units} (the fewest are {min(few)}) and may be too narrow: with 10 {units} and skewed values '
                       'about 92 in 100 contain the true mean, not 95.')
    return out


def selection_warnings(run: Run, fitted: str) -> list[str]:
    """A warning where validation cases selected the weights and something else is fitted on them too.

    Args:
      run: the run.
      fitted: what is fitted on validation cases.
    """
    if not run.selection_metric or 'calibrate' in run.splits:
        return []
    return [f'The validation cases also selected the weights (by {run.selection_metric}): {fitted}, which are fitted '
            'on the same cases, are optimistic, and a nominal coverage or sensitivity is not guaranteed. Set '
            'patients apart for them by data.calibrate.']


def join_sentences(conditions: Mapping[str, Any]) -> str:
    """The sentences whose condition is true, as one text.

    Args:
      conditions: for each sentence its condition.
    """
    return ' '.join(sentence for sentence, condition in conditions.items() if sentence and condition)


def themed_chart(draw_chart: Callable[[str], bytes], alt: str, caption: str = '', **options: Any) -> Chart:
    """A chart drawn for both themes.

    Args:
      draw_chart: the PNG for a theme, 'light' or 'dark'.
      alt: the chart's content in words.
      caption: shown below the chart.
      **options: of `Chart`.
    """
    return Chart(draw_chart('light'), draw_chart('dark'), alt, caption, **options)


def training_charts(run: Run, plans: Mapping[str, Mapping[str, str]]) -> list[Chart]:
    """Training curves of the keys that were logged; those of validation show the step that was evaluated.

    Args:
      run: the run.
      plans: see `Chapter.curves`.
    """
    out = []
    for title, names in plans.items():
        lines = {key: name for key, name in names.items() if charts.logged_values(run.history, key)[0]}
        if lines:
            validated = any(key.startswith('val/') for key in lines)
            evaluated = run.results.get('step') if validated else None
            draw_chart = functools.partial(charts.training_curve, run.history, lines, title, evaluated=evaluated)
            out.append(themed_chart(draw_chart, f'{title} by training step'))
    return out
