"""What a family of problems gives its report: headlines, tables, and sections of words, pictures and charts.

A family is a module with `chapter(run) -> Chapter`, which `report.CHAPTERS` names; all else is the same for all.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

from medjax.report import charts, draw
from medjax.report.run_files import Run
from medjax.report.tables import Table

NAMES = {'test': 'Test', 'val': 'Validation', 'train': 'Training'}
FEW = 10  # patients below which a bootstrap interval is known to be too narrow


class Chart(NamedTuple):
    """A chart as PNG, for light and for dark pages."""

    light: bytes
    dark: bytes
    alt: str
    caption: str = ''
    wide: bool = False


class Group(NamedTuple):
    """The pictures of one slice or case under a heading."""

    heading: str
    tiles: list[draw.Tile]
    text: str


class Section(NamedTuple):
    """A part of the page; without tables, groups and charts it is left out.

    Attributes:
      heading: of the section.
      text: what a reader must know of what follows.
      keys: colours' meanings: a label, and names with their colours.
      tables: come first.
      groups: of pictures.
      charts: come last.
    """

    heading: str
    text: str = ''
    keys: Sequence[tuple[str, Sequence[tuple[str, str]]]] = ()
    tables: Sequence[Table] = ()
    groups: Sequence[Group] = ()
    charts: Sequence[Chart] = ()


@dataclasses.dataclass(frozen=True)
class Chapter:
    """What the report of a run says that hangs on its family of problems.

    Attributes:
      headlines: each a result in a sentence, and how sure it is in another.
      method: how the tables' figures and intervals are made.
      tables: of the results.
      sections: between the results and the table of all cases.
      curves: what was logged in training: for each chart's name its keys, and their names in its legend.
      samples: training examples as read and as augmented.
      sampled: what they show.
      conventions: the heading over the results' conventions.
      cases: the table of all cases, rounded, in the order in which it is shown.
      words: columns of that table that are no numbers.
      order: which cases come first in it; '' for that of the predictions.
      warnings: what a reader must not miss.
    """

    headlines: Sequence[tuple[str, str]]
    method: str
    tables: Sequence[Table]
    sections: Sequence[Section]
    curves: Mapping[str, Mapping[str, str]]
    samples: Sequence[tuple[draw.Tile, draw.Tile]]
    sampled: str
    conventions: str
    cases: Sequence[Mapping[str, str]]
    words: Sequence[str] = ('split', 'id', 'patient')
    order: str = ''
    warnings: Sequence[str] = ()


def split_name(split: str) -> str:
    """What a split is called at the head of a table."""
    return NAMES.get(split, split.replace('_', ' ').capitalize())


def spoken(run: Run) -> list[str]:
    """The splits that have a headline: not the validation's, unless nothing else was evaluated."""
    return [split for split in run.splits if split != 'val' or run.splits == ['val']]


def caption(run: Run, split: str) -> str:
    """The heading of a split's tables."""
    return split_name(split) + ' – chose the weights, no test' * (split == 'val' and bool(run.chosen_by))


def resampled(run: Run, over: str = 'patients') -> str:
    """How the tables' intervals are made, over whom; nothing where no figure has one.

    Args:
      run: the run.
      over: what is drawn with replacement.
    """
    entries = with_intervals(run)
    drawn = max((entry.get('resamples', 0) for entry in entries), default=0)
    return sentences({
        f'Intervals are of 95 %, by a percentile bootstrap over {over} with {drawn} resamples.': drawn,
        f'Over fewer than {FEW} of them an interval is too narrow: it shows the spread, and proves little.': any(
            entry['n'] < FEW for entry in entries)})


def with_intervals(run: Run) -> list[Mapping[str, Any]]:
    """The figures that have an interval, of all splits."""
    return [entry for split in run.splits for entry in run.results[split].values() if entry.get('ci95')]


def sentences(said: Mapping[str, Any]) -> str:
    """The sentences that are true, one after the other."""
    return ' '.join(words for words, true in said.items() if words and true)


def both(make: Callable[[str], bytes], alt: str, caption: str = '', **options: Any) -> Chart:
    """A chart drawn for both themes."""
    return Chart(make('light'), make('dark'), alt, caption, **options)


def curves(run: Run, plans: Mapping[str, Mapping[str, str]]) -> list[Chart]:
    """Learning curves of what was logged; those of validation mark the step whose weights were evaluated."""
    made = []
    for title, wanted in plans.items():
        lines = {key: name for key, name in wanted.items() if charts.series(run.metrics, key)[0]}
        if lines:
            chosen = run.results.get('step') if any(key.startswith('val/') for key in lines) else None
            draw_it = lambda theme, a=(lines, title), c=chosen: charts.curve(run.metrics, *a, theme, c)
            made.append(both(draw_it, f'{title} over the training steps'))
    return made
