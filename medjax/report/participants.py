"""The participants of a run in its report: their flow, and their characteristics by split (table 1)."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medjax.errors import InputError
from medjax.report.chapter import split_name
from medjax.report.run_files import Run
from medjax.report.tables import Cell, Table, format_number, format_significant

NOT_KEPT = ('participants.json is missing: this run is of an earlier version. Evaluate it again, by python -m '
            'medjax.evaluate, for the flow of participants and their characteristics.')
WIDE = 3  # splits beside each other with quartiles beside the medians
MERGED = 'This result is of several runs: their own reports have the flow and the characteristics of the participants.'


class Box(NamedTuple):
    """A box of the flow diagram: a heading, and lines below it."""

    heading: str
    lines: Sequence[str]


class Participants(NamedTuple):
    """The section on participants.

    Attributes:
      text: paragraphs; the flow in words first.
      found: the first box; None where the flow is not known.
      left_out: the box beside it; None where nothing was left out.
      splits: a box for each split.
      notes: lines on what else was left out or assumed in reading.
      tables: characteristics by split.
    """

    text: Sequence[str]
    found: Box | None = None
    left_out: Box | None = None
    splits: Sequence[Box] = ()
    notes: Sequence[str] = ()
    tables: Sequence[Table] = ()


def simulated(run: Run) -> str:
    """The name of the simulated source of a run; '' for others."""
    def names(section: Any) -> list[str]:
        if not isinstance(section, Mapping):
            return []
        own = [section['name']] if str(section.get('name', '')).startswith('simulated_') else []
        return own + [name for part in section.values() for name in names(part)]
    return next(iter(names(run.section('data'))), '')


def participants(run: Run) -> Participants | None:
    """The section on a run's participants; None before the first evaluation of a run without `participants.json`.

    Raises:
      InputError: `participants.json` has another form.
    """
    if not run.participants:
        if not run.splits:
            return None
        return Participants([MERGED if 'of' in run.results else NOT_KEPT])
    try:
        return _section(run, run.participants)
    except (KeyError, TypeError, AttributeError) as error:
        raise InputError(f'{run.folder / "participants.json"}: not readable: {error!r}; expected what a run writes; '
                         'evaluate again after removing it') from error


def _section(run: Run, known: Mapping[str, Any]) -> Participants:
    # What was split, such as molecules, or cases where it is not known which are of one patient.
    unit = run.analysis_unit if known['patients_known'] else 'case'
    left_out = [f'{_count(item, unit)} {item["reason"]}' for item in known['left_out']]
    splits = [Box(split_name(split), [_count(counts, unit), _evaluated(run, split, unit)])
              for split, counts in known['splits'].items()]
    found = Box('Found in the source', [_count(known['found'], unit)])
    words = [f'Found in the source: {found.lines[0]}. Left out: {"; ".join(left_out) or "none"}.',
             ' '.join(f'{box.heading}: {", ".join(box.lines)}.' for box in splits)]
    if unit == 'case':
        words.append('It is not known which cases are of the same patient: cases are counted.')
    elif known['shared']:
        words.append(f'{unit.capitalize()}s that are in training and in another split: {known["shared"]}.')
    elif 'train' in known['splits'] and len(known['splits']) > 1:
        words.append(f'No {unit} is in training and in another split.')
    table = _table(known, unit)
    if table is None:
        words.append('The source has neither characteristics of the participants nor an outcome for each case.')
    else:
        words.append(_table_text(known, unit))
    return Participants(words, found, Box('Left out', left_out) if left_out else None, splits, known['notes'],
                        [table] if table else [])


def _count(counts: Mapping[str, int], unit: str) -> str:
    """Patients, or other units, and cases in words; one of the two where a unit has one case each."""
    cases, units = _words(counts['cases'], 'case'), _words(counts['patients'], unit)
    if unit == 'case':
        return cases
    if not counts['cases'] or counts['cases'] == counts['patients']:
        return units
    return f'{units} with {cases}' if counts['patients'] else cases


def _words(count: int, unit: str) -> str:
    return f'{count:,}'.replace(',', '\N{NARROW NO-BREAK SPACE}') + f' {unit if count == 1 else unit + "s"}'


def _evaluated(run: Run, split: str, unit: str) -> str:
    """How many cases of a split have a prediction."""
    rows = run.rows(split)
    if split not in run.splits or not rows:
        return 'used for training' if split == 'train' else 'not evaluated'
    counts = {'cases': len({row['id'] for row in rows}),
              'patients': len({row.get('patient') or row['id'] for row in rows})}
    assigned = run.participants['splits'][split]['cases']
    return 'all evaluated' if counts['cases'] == assigned else f'evaluated: {_count(counts, unit)}'


def _table_text(known: Mapping[str, Any], unit: str) -> str:
    """How the table is to be read."""
    text = 'Median and quartiles of numbers, count and percentage of categories, of those that are known.'
    if unit != 'case':
        text += f' Characteristics that differ between cases of a {unit} are of cases, all others of {unit}s.'
    if known['compared']:
        first, second = map(split_name, known['compared'])
        text += (f' SMD: the standardised mean difference of {second.lower()} from {first.lower()} (Austin 2009); '
                 'beyond 0.1 it is often called imbalance.')
    if known['not_shown']:
        text += f' Not summarised, as identifiers, dates or free text: {", ".join(known["not_shown"])}.'
    return text


def _table(known: Mapping[str, Any], unit: str) -> Table | None:
    """Characteristics as rows and splits as columns; None where nothing is known."""
    rows, before, narrow = [], '', len(known['splits']) > WIDE
    several = any(counts['patients'] != counts['cases'] for counts in known['splits'].values())
    for row in known['characteristics']:
        name = f'{row["name"]}: {row["level"]}' if row['level'] else row['name']
        if several and unit != 'case' and row['of'] == 'cases':
            name += ', cases'
        first = row['name'] != before
        cells = [_cell(row['splits'].get(split), first, narrow) for split in known['splits']]
        if known['compared']:
            cells.append(Cell('' if row['smd'] is None else format_number(row['smd'], 'SD')))
        rows.append((name, '', cells))
        before = row['name']
    if not rows:
        return None
    headers = [(split_name(split), '') for split in known['splits']]
    return Table('Characteristics by split', [*headers, *([('SMD', '')] if known['compared'] else [])],
                 [*_sizes(known, unit), *rows])


def _sizes(known: Mapping[str, Any], unit: str) -> list[tuple[str, str, list[Cell]]]:
    """The rows with the numbers of patients, or other units, and cases."""
    alike = all(counts['patients'] == counts['cases'] for counts in known['splits'].values())
    keys = {'patients': unit} if alike else {'patients': unit, 'cases': 'case'}
    if unit == 'case':
        keys = {'cases': 'case'}
    blank = [Cell('')] if known['compared'] else []
    return [(f'Number of {name}s', '', [*(Cell(str(counts[key])) for counts in known['splits'].values()), *blank])
            for key, name in keys.items()]


def _cell(entry: Mapping[str, Any] | None, show_missing: bool, narrow: bool) -> Cell:
    """A summary of some values as a cell.

    Args:
      entry: the summary; None where the split is not known.
      show_missing: whether the number of missing values is shown.
      narrow: whether quartiles or percentage are below the value, in place of beside it.
    """
    if entry is None:
        return Cell('')
    missing = f'missing {entry["missing"]}' if entry['missing'] and show_missing else ''
    if 'count' in entry:
        value, spread = str(entry['count']), f'({100 * entry["count"] / entry["n"]:.1f} %)' if entry['n'] else ''
    elif entry['median'] is None:
        value, spread = '–', 'not reached' if entry['n'] and 'q1' not in entry else ''
    else:
        value, *quartiles = (format_significant(entry[key]) for key in ('median', 'q1', 'q3') if key in entry)
        separator = ' to ' if any(text.startswith('−') for text in quartiles) else '–'
        spread = f'[{separator.join(quartiles)}]' if quartiles else ''
    return Cell(value, '', '\n'.join(filter(None, [spread, missing]))) if narrow else Cell(value, spread, missing)
