"""Results in words and tables: names, units, directions and sensible rounding."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

from medjax.metrics.names import MetricList

Entry = Mapping[str, Any]


COUNTS = {'missed': ('Missed', 'cases in which the structure is there but not found'),
          'spurious': ('Spurious', 'cases in which the structure is found but not there')}
WIDEST = 5  # classes that still fit as columns


class Cell(NamedTuple):
    """A figure in a table: its text, a spread beside and a line below it, smaller, and words for who points at it."""

    text: str
    spread: str = ''
    below: str = ''
    title: str = ''


class Table(NamedTuple):
    """Rows (header, its explanation, cells) under headers (header, explanation)."""

    caption: str
    headers: list[tuple[str, str]]
    rows: list[tuple[str, str, list[Cell]]]


def figure(value: float | None, unit: str = '') -> str:
    """A number as a reader wants it: three decimals of a share, about three digits of a length or volume."""
    if value is None or value != value:
        return '–'
    decimals = 3 if not unit else max(0, 2 - (abs(value) >= 10) - (abs(value) >= 100))
    text = f'{value:.{decimals}f}'
    return text.replace('-', '−') if float(text) else text.lstrip('-')


def known(entry: Entry) -> bool:
    """Whether an entry has a value."""
    return entry.get('value') is not None and entry['value'] == entry['value']


def interval(entry: Entry, unit: str = '') -> str:
    """The 95 % interval, or '' where there is none."""
    limits = entry.get('ci95') or ()
    return ('–' if min(limits, default=0) >= 0 else ' to ').join(figure(limit, unit) for limit in limits)


def told(name: str, entry: Entry) -> str:
    """A figure in a sentence, with its interval in brackets, or why there is none."""
    said = interval(entry) if known(entry) else entry.get('why', '')
    return f'{name} {figure(entry.get("value"))}' + f' ({said})' * bool(said)


def beside(table: Table) -> Table:
    """A table whose intervals are beside their figures: half as long."""
    return table._replace(rows=[(*head, [cell._replace(spread=cell.spread or cell.below, below='') for cell in cells])
                                for *head, cells in table.rows])


def per_class(metrics: MetricList, entries: Mapping[str, Entry], classes: Sequence[str], caption: str,
              tolerance: float | None = None) -> Table | None:
    """Metrics against classes, with n, missed and spurious; many classes become the rows.

    Args:
      metrics: of the family.
      entries: a split of `results.json`.
      classes: names, without the background's.
      caption: of the table.
      tolerance: of the surface distance, mm.
    """
    keys = {metrics.split_key(key, classes): entry for key, entry in entries.items()}
    names = [name for name in (*classes, 'mean') if any(name == c for _, c in keys)]
    return grid(metrics, keys, names, caption, tolerance) if set(names) & set(classes) else None


def grid(metrics: MetricList, keys: Mapping[tuple[str, str], Entry], names: Sequence[str], caption: str,
         tolerance: float | None = None, counts: tuple[str, str, Mapping[str, Any]] | None = None) -> Table:
    """Metrics against columns, with n; many columns become the rows.

    Args:
      metrics: of the family.
      keys: entries by metric and column.
      names: the columns, each with one entry at least.
      caption: of the table.
      tolerance: of the surface distance, mm.
      counts: what is counted in place of patients: its name, its explanation, and the columns' counts.
    """
    most = {name: max(e.get('n', 0) for (_, c), e in keys.items() if c == name) for name in names}
    none = not any(most.values())  # a metric that no case has is left out, unless all are such
    shown = dict.fromkeys(m for (m, c), e in keys.items() if c in names and (none or e.get('n', 1)))
    rows = [(*heading(metrics, m, tolerance), [cell(metrics, m, keys.get((m, c)), most[c]) for c in names])
            for m in shown]
    of = {name: next(e for (_, c), e in keys.items() if c == name) for name in names}
    unit = of[names[0]].get('unit', 'patient')
    last, explanation, counted = counts or (f'n ({unit}s)', f'{unit}s counted', most)
    rows.append((last, explanation, [Cell(str(counted[name])) for name in names]))
    rows += [(*COUNTS[count], [Cell(str(of[name].get(count, ''))) for name in names])
             for count in COUNTS if any(count in entry for entry in of.values())]
    if len(names) <= WIDEST:
        return Table(caption, [(name, '') for name in names], rows)
    return Table(caption, [row[:2] for row in rows],
                 [(name, '', [row[2][i] for row in rows]) for i, name in enumerate(names)])


def overall(metrics: MetricList, entries: Mapping[str, Entry], classes: Sequence[str], caption: str) -> Table | None:
    """The metrics that are of no single class, one a row."""
    rows = []
    for key, entry in entries.items():
        if not metrics.split_key(key, classes)[1]:
            unit = metrics.describe(key).unit
            texts = (figure(entry.get('value'), unit), interval(entry, unit) or entry.get('why', '–'),
                     figure(entry.get('sd'), unit), str(entry.get('n', '–')))
            rows.append((*heading(metrics, key), [Cell(text) for text in texts]))
    headers = [('Mean', ''), ('95 % CI', ''), ('SD', 'standard deviation between patients'), ('n', 'counted')]
    return Table(caption, headers, rows) if rows else None


def headline(metrics: MetricList, split: str, entries: Mapping[str, Entry],
             classes: Sequence[str]) -> tuple[str, str]:
    """The result in a sentence, and how sure it is in another."""
    lead = next((key for key in ('dice_mean', *entries) if key in entries), None)
    if lead is None:
        return f'No result on the {split} cases.', ''
    entry, (key, of) = entries[lead], metrics.split_key(lead, classes)
    metric = metrics.describe(key)
    name, unit = metric.label, metric.unit
    what = f'Mean {name}' if of == 'mean' else f'{name} of {of}' if of else name
    parts = [f'{c} {figure(entries[f"{key}_{c}"].get("value"), unit)}'
             for c in classes if f'{key}_{c}' in entries]
    text = f'{what} on the {split} cases: {figure(entry.get("value"), unit)} {unit}'.strip()
    text += f' ({", ".join(parts)}).' if of == 'mean' and parts else '.'
    n, cases, who = entry.get('n', 0), entry.get('cases', 0), entry.get('unit', 'patient')
    size = f'{n} {who}{"s" * (n != 1)}' + (f', {cases} cases' if cases > n else '')
    known = entry.get('ci95')
    sure = f'95 % CI {interval(entry, unit)}, n = {size}.' if known else f'{entry.get("why", size)}.'
    if 'missed' in entry:
        sure += f' Structures missed: {entry["missed"]}; found where there is none: {entry["spurious"]}.'
    return text, sure[:1].upper() + sure[1:]


def heading(metrics: MetricList, key: str, tolerance: float | None = None) -> tuple[str, str]:
    """A metric's name with its unit and where it is better, and words for who points at it."""
    metric = metrics.describe(key)
    unit = f'{tolerance:g} mm tolerance' if key == 'nsd' and tolerance else metric.unit
    arrow = metric.arrow if metrics.has(key) or metric.at_time else ''
    return f'{metric.label}{f" ({unit})" if unit else ""}\N{NO-BREAK SPACE}{arrow}'.strip(), ''


def cell(metrics: MetricList, key: str, entry: Entry | None, most: int) -> Cell:
    """An entry as a cell; n is written where fewer patients count than for the class's other metrics, `most`."""
    if not entry:
        return Cell('')
    unit, n = metrics.describe(key).unit, entry.get('n', most)
    below = ', '.join(filter(None, [interval(entry, unit), f'n = {n}' if n < most else '']))
    if not known(entry) and 'why' in entry:
        below = textwrap.fill(entry['why'], 26)
    spread = '' if entry.get('sd') is None else f'± {figure(entry["sd"], unit)}'
    return Cell(figure(entry.get('value'), unit), spread, below, entry.get('why', ''))


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
