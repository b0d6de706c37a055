"""Results as text and tables: metric names, units, directions and rounding."""

import math
import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medjax.metrics.names import MetricList

Entry = Mapping[str, Any]

COUNTS = {'missed': ('Missed', 'cases with the structure in which it was not found'),
          'spurious': ('Spurious', 'cases without the structure in which it was found')}
FAILURES = ('Missed or spurious (%)', '95 % interval of the share of the cases that count; where there is none in the '
            'sample, the intervals above are of structures that are neither')
MAX_COLUMNS = 5  # classes shown as columns; more become rows


class Cell(NamedTuple):
    """A table cell: its text, smaller text beside and below it, and a tooltip."""

    text: str
    spread: str = ''
    below: str = ''
    title: str = ''


class Table(NamedTuple):
    """Rows of (header, tooltip, cells) under headers of (header, tooltip)."""

    caption: str
    headers: list[tuple[str, str]]
    rows: list[tuple[str, str, list[Cell]]]


def format_number(value: float | None, unit: str = '') -> str:
    """A number as text: three decimals without a unit, about three significant digits with one; '–' for no value."""
    if value is None or value != value:
        return '–'
    decimals = 3
    if unit:
        decimals = 2 if abs(value) < 10 else 1 if abs(value) < 100 else 0
    text = f'{value:.{decimals}f}'
    return text.replace('-', '−') if float(text) else text.lstrip('-')


def format_significant(value: float, digits: int = 3) -> str:
    """A number with so many significant digits, without an exponent or trailing zeros; '–' where it is not finite."""
    if not math.isfinite(value):
        return '–'
    text = f'{value:.{digits - 1}e}'
    decimals = max(digits - 1 - int(text.partition('e')[2]), 0)
    text = f'{float(text):.{decimals}f}'
    if '.' in text:
        text = text.rstrip('0').rstrip('.')
    return text.replace('-', '−') if float(text) else text.lstrip('-')


def format_p(p: float | None) -> str:
    """A p value as text; '–' where there is none."""
    if p is None:
        return '–'
    return '< 0.0001' if p < 1e-4 else f'{p:.4f}' if p < 0.01 else f'{p:.3f}'


def format_count_of(count: int, unit: str) -> str:
    """A number of things as text, such as '1 patient' or '624 images'."""
    return f'1 {unit}' if count == 1 else f'{count} {unit}s'


def has_value(entry: Entry) -> bool:
    """Whether an entry has a value that is not NaN."""
    return entry.get('value') is not None and entry['value'] == entry['value']


def format_interval(entry: Entry, unit: str = '') -> str:
    """The 95 % interval of an entry as text; '' where it has none."""
    limits = entry.get('ci95') or ()
    separator = '–' if min(limits, default=0) >= 0 else ' to '
    return separator.join(format_number(limit, unit) for limit in limits)


def format_count(entry: Entry) -> str:
    """The hits and the cases of a proportion as text, such as '18 of 20'; '' for other entries."""
    return f'{entry["count"]} of {entry["cases"]}' if 'count' in entry else ''


def format_chance(entry: Entry, unit: str = '') -> str:
    """The difference that equal groups have, and its p value, as text; '' for other entries."""
    if 'by_chance' not in entry:
        return ''
    mean, high = (format_number(entry[key], unit) for key in ('by_chance', 'by_chance95'))
    return f'by chance {mean}, up to {high}; p = {format_number(entry["p"])}'


def value_with_interval(name: str, entry: Entry) -> str:
    """A metric's name and value for a sentence, with the interval or the reason for its absence in brackets."""
    note = format_interval(entry) if has_value(entry) else entry.get('why', '')
    text = f'{name} {format_number(entry.get("value"))}'
    return f'{text} ({note})' if note else text


def inline_intervals(table: Table) -> Table:
    """The table with intervals beside the values instead of below them."""
    rows = []
    for header, tooltip, cells in table.rows:
        rows.append((header, tooltip, [cell._replace(spread=cell.spread or cell.below, below='') for cell in cells]))
    return table._replace(rows=rows)


def class_table(metrics: MetricList, entries: Mapping[str, Entry], classes: Sequence[str], caption: str,
                tolerance: str = '') -> Table | None:
    """Metrics by class with n, missed and spurious; None where no entry is of a class.

    Args:
      metrics: the family's metrics.
      entries: a split of `results.json`.
      classes: names of the classes without the background.
      caption: of the table.
      tolerance: tolerance of the surface distance, with its unit.
    """
    keys = {metrics.split_key(key, classes): entry for key, entry in entries.items()}
    present = {name for _, name in keys}
    names = [name for name in (*classes, 'mean') if name in present]
    return metric_table(metrics, keys, names, caption, tolerance) if set(names) & set(classes) else None


def metric_table(metrics: MetricList, keys: Mapping[tuple[str, str], Entry], names: Sequence[str], caption: str,
                 tolerance: str = '', counts: tuple[str, str, Mapping[str, Any]] | None = None) -> Table:
    """Metrics as rows and `names` as columns, with n; transposed where there are many columns.

    Args:
      metrics: the family's metrics.
      keys: entries by metric and column.
      names: the columns, each with at least one entry.
      caption: of the table.
      tolerance: tolerance of the surface distance, with its unit.
      counts: a row of counts to show in place of n: its name, its tooltip, and the count of each column.
    """
    columns = {name: {metric: entry for (metric, column), entry in keys.items() if column == name} for name in names}
    most = {name: max(entry.get('n', 0) for entry in columns[name].values()) for name in names}
    empty = not any(most.values())  # a metric without a value in any case is left out, unless all are
    shown = dict.fromkeys(metric for (metric, column), entry in keys.items()
                          if column in columns and (empty or entry.get('n', 1)))
    rows = [(*heading(metrics, metric, tolerance),
             [cell(metrics, metric, columns[name].get(metric), most[name]) for name in names]) for metric in shown]
    first = {name: next(iter(columns[name].values())) for name in names}
    unit = first[names[0]].get('unit', 'patient')
    label, tooltip, counted = counts or (f'n ({unit}s)', f'{unit}s counted', most)
    rows.append((label, tooltip, [Cell(str(counted[name])) for name in names]))
    for count, header in COUNTS.items():
        if any(count in entry for entry in first.values()):
            rows.append((*header, [Cell(str(first[name].get(count, ''))) for name in names]))
    if any('failures95' in entry for entry in first.values()):
        rows.append((*FAILURES, [Cell(_failures(first[name])) for name in names]))
    if len(names) <= MAX_COLUMNS:
        return Table(caption, [(name, '') for name in names], rows)
    return Table(caption, [row[:2] for row in rows],
                 [(name, '', [row[2][place] for row in rows]) for place, name in enumerate(names)])


def overall_table(metrics: MetricList, entries: Mapping[str, Entry], classes: Sequence[str],
                  caption: str) -> Table | None:
    """The metrics that belong to no single class, one a row; None where there are none."""
    rows = []
    for key, entry in entries.items():
        if not metrics.split_key(key, classes)[1]:
            unit = metrics.describe(key).unit
            texts = (format_number(entry.get('value'), unit), format_interval(entry, unit) or entry.get('why', '–'),
                     format_number(entry.get('sd'), unit), format_count(entry) or str(entry.get('n', '–')))
            rows.append((*heading(metrics, key), [Cell(text) for text in texts]))
    headers = [('Mean', ''), ('95 % CI', ''), ('SD', 'standard deviation between patients'), ('n', 'counted')]
    return Table(caption, headers, rows) if rows else None


def headline(metrics: MetricList, split: str, entries: Mapping[str, Entry],
             classes: Sequence[str]) -> tuple[str, str]:
    """The result of a split as a sentence, and its interval and sample size as another."""
    lead = next((key for key in ('dice_mean', *entries) if key in entries), None)
    if lead is None:
        return f'No result on the {split} cases.', ''
    entry, (key, name) = entries[lead], metrics.split_key(lead, classes)
    metric = metrics.describe(key)
    label = metric.label
    if name:
        label = f'Mean {metric.label}' if name == 'mean' else f'{metric.label} of {name}'
    value = f'{format_number(entry.get("value"), metric.unit)} {metric.unit}'.strip()
    parts = [f'{c} {format_number(entries[f"{key}_{c}"].get("value"), metric.unit)}'
             for c in classes if f'{key}_{c}' in entries]
    text = f'{label} on the {split} cases: {value}'
    text += f' ({", ".join(parts)}).' if name == 'mean' and parts else '.'
    return text, _sample(entry, metric.unit)


def _sample(entry: Entry, unit: str) -> str:
    """The interval of an entry, its numbers of patients and cases, and its missed and spurious structures."""
    count, cases, kind = entry.get('n', 0), entry.get('cases', 0), entry.get('unit', 'patient')
    size = format_count_of(count, kind)
    if cases > count:
        size += f', {cases} cases'
    text = f'95 % CI {format_interval(entry, unit)}, n = {size}.' if entry.get('ci95') else f'{entry.get("why", size)}.'
    if 'missed' in entry:
        text += f' Structures missed: {entry["missed"]}; found where there is none: {entry["spurious"]}'
        text += f' (together {_failures(entry)} % of the cases by a 95 % CI).' if 'failures95' in entry else '.'
    return text[:1].upper() + text[1:]


def _failures(entry: Entry) -> str:
    """The interval of the share of cases with a missed or spurious structure, in percent; '' where there is none."""
    return ' to '.join(f'{100 * limit:.1f}' for limit in entry.get('failures95') or ())


def heading(metrics: MetricList, key: str, tolerance: str = '') -> tuple[str, str]:
    """The header of a metric, with its unit and an arrow towards better values, and an empty tooltip.

    Args:
      metrics: the family's metrics.
      key: of the metric.
      tolerance: tolerance of the surface distance, with its unit.
    """
    metric = metrics.describe(key)
    unit = f'{tolerance} tolerance' if key == 'nsd' and tolerance else metric.unit
    label = f'{metric.label} ({unit})' if unit else metric.label
    arrow = metric.arrow if metrics.has(key) or metric.at_time else ''
    return f'{label}\N{NO-BREAK SPACE}{arrow}'.strip(), ''


def cell(metrics: MetricList, key: str, entry: Entry | None, most: int) -> Cell:
    """An entry as a cell, with n where it is below `most`, the number of patients of the class's other metrics."""
    if not entry:
        return Cell('')
    unit, count = metrics.describe(key).unit, entry.get('n', most)
    notes = [format_interval(entry, unit), format_count(entry) or (f'n = {count}' if count < most else ''),
             format_chance(entry, unit)]
    below = ', '.join(filter(None, notes))
    if not has_value(entry) and 'why' in entry:
        below = textwrap.fill(entry['why'], 26)
    spread = '' if entry.get('sd') is None else f'± {format_number(entry["sd"], unit)}'
    return Cell(format_number(entry.get('value'), unit), spread, below, entry.get('why', ''))


def entry_line(name: str, entry: Entry) -> str:
    """An entry as a line for the console: its value, interval, n and the spread over runs."""
    limits, deviation = entry.get('ci95'), entry.get('run_sd')
    text = f'{name:25} {entry["value"]:.3f}'
    if limits:
        text += f' [{limits[0]:.3f}, {limits[1]:.3f}]'
    text += f' (n={entry["n"]})'
    if deviation is not None:
        text += f'   {entry["run_mean"]:.3f} ± {deviation:.3f} over {entry["runs"]} runs'
    return text


def headline_lines(results: Mapping[str, Any], metrics: MetricList, classes: Sequence[str]) -> list[str]:
    """The headline metrics of each evaluated split of `results.json`, one a line, for the console."""
    return [entry_line(f'{split} {name}', entry) for split in results['counts']
            for name, entry in results.get(split, {}).items() if metrics.is_headline(name, classes)]
