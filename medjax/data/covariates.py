"""Columns of a table as covariates: which hold numbers, which categories, and what an unseen category becomes."""

import collections
import dataclasses
import math
import re
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, NamedTuple

from medjax.data.io.dates import PATTERNS, parse_date
from medjax.data.io.tables import check_spellings, code, filled, parse_number
from medjax.data.source import Case
from medjax.errors import InputError

KEYS = 'config.data.source'
MOST = 20  # categories of a covariate
SHOWN = 40  # columns of each kind that the line on a table names
LEAST = 8  # rows from which a column of the numbers of the rows is recognised
UNSEEN = ('refuse', 'missing')
DIGITS = r'[+-]?\d+([.,]\d+)*'
COMMA = re.compile(r'[+-]?\d+(,\d+)+(\.\d+)?', re.ASCII)  # a decimal comma, or commas between thousands
BOUND = re.compile(rf'[<>≤≥]=?\s*{DIGITS}', re.ASCII)
UNIT = re.compile(rf'{DIGITS}(?P<unit>\s+\S.*|[%*°])', re.ASCII)


class Row(NamedTuple):
    """A row of a table: its number there, its cells by column, and whether its patient is a training patient."""

    number: int
    cells: Mapping[str, str]
    train: bool = True


@dataclasses.dataclass(frozen=True)
class CovariateOptions:
    """Options of a source that reads covariates from a table.

    Attributes:
      missing: cells that are missing values, such as 'unknown' or '-99', besides empty ones and the markers '.', 'NA',
        'N/A', 'n/a', 'NaN', 'nan', 'NULL', 'null', 'None', '<NA>', '#N/A' and the other ones of pandas.
      categorical: covariates whose numbers are codes of categories, such as 1 to 4 for four hospitals.
      unseen: what a category is that no training patient has: 'refuse' for an error, or 'missing' for a missing value.
    """

    missing: Sequence[str] = ()
    categorical: Sequence[str] = ()
    unseen: str = 'refuse'


@dataclasses.dataclass(frozen=True)
class Encoding:
    """How the columns of a table become covariates.

    A column of numbers is a covariate as it is. A column of categories becomes a covariate of 0 and 1 for each
    category, COLUMN=CATEGORY, or for the second one where there are two.

    Attributes:
      categories: of each column, all of the training data's table, sorted; () for a column of numbers.
      seen: those that training patients have.
      missing: see `CovariateOptions`.
      unseen: see `CovariateOptions`; or 'accept', for the table itself; or 'reference', 0 for each category, where one
        of the categories is not known.
    """

    categories: Mapping[str, Sequence[str]]
    seen: Mapping[str, Sequence[str]]
    missing: Sequence[str] = ()
    unseen: str = 'refuse'

    def to_json(self) -> dict[str, Any]:
        """The attributes as plain JSON, from which `Encoding(**…)` is equal."""
        lists = {field: {name: list(known) for name, known in getattr(self, field).items()}
                 for field in ('categories', 'seen')}
        return {**lists, 'missing': list(self.missing), 'unseen': self.unseen}

    def accepting(self) -> 'Encoding':
        """The encoding for the table itself, whose unseen categories `check_seen` refuses."""
        return dataclasses.replace(self, unseen='accept') if self.unseen == 'refuse' else self

    def names(self, columns: Iterable[str] | None = None) -> list[str]:
        """The names of the covariates of some columns; of all by default."""
        return [name for column in (self.categories if columns is None else columns) for name in self._names(column)]

    def _names(self, column: str) -> list[str]:
        known = self.categories[column]
        if len(known) == 2 and self.unseen != 'reference':
            known = known[1:]
        return [f'{column}={category}' for category in known] or [column]

    def restricted(self, names: Collection[str]) -> 'Encoding':
        """The encoding of those columns that some of the named covariates come from."""
        return dataclasses.replace(self, categories={column: known for column, known in self.categories.items()
                                                     if set(self._names(column)) & set(names)})

    def record(self, cells: Mapping[str, str], where: str, columns: Iterable[str] | None = None) -> dict[str, float]:
        """The covariates of a row by name; NaN where they are missing.

        Args:
          cells: of the row by column.
          where: the row, for messages.
          columns: by default all.

        Raises:
          InputError: a cell of a column of numbers that holds none; an unseen category, where `unseen` refuses it.
        """
        out: dict[str, float] = {}
        for column in self.categories if columns is None else columns:
            known, cell = self.categories[column], filled(cells[column], self.missing)
            if not known:
                out[column] = self._number(cell, f'{where}: {column}')
                continue
            category = _category(cell, known)
            unseen = bool(cell) and category not in self.seen[column]
            if unseen and self.unseen == 'refuse':
                raise _unseen_error(f'{where}: {column}', cell, self.seen[column])
            missing = not cell or (unseen and self.unseen == 'missing')
            out |= {name: math.nan if missing else float(name == f'{column}={category}')
                    for name in self._names(column)}
        return out

    def _number(self, cell: str, where: str) -> float:
        if not cell:
            return math.nan
        value = parse_number(cell)
        if value is None:
            raise InputError(f'{where} is {cell!r}; expected a number, or nothing; or else the cell in {KEYS}.missing, '
                             f'or the column in {KEYS}.categorical')
        return value


def _unseen_error(where: str, category: str, seen: Sequence[str]) -> InputError:
    return InputError(f'{where} is {category!r}, which no training patient has; expected one of {", ".join(seen)}, or '
                      f"{KEYS}.unseen='missing'")


def check_seen(cases: Sequence[Case], stored: Mapping[str, Any], names: Collection[str],
               measured: Sequence[str] = ()) -> None:
    """Checks that no case has a category that no training patient has.

    Args:
      cases: of the source.
      stored: its encoding, as plain JSON; empty for sources without a table.
      names: of the covariates that are used.
      measured: names of the values of the cases' series.

    Raises:
      InputError: with the case and the category, where the encoding refuses it.
    """
    if stored.get('unseen') != 'refuse':
        return
    for column, known in stored['categories'].items():
        for category in set(known) - {*stored['seen'][column]}:
            # Of two categories the second one has a covariate.
            name = f'{column}={known[1] if len(known) == 2 else category}'
            value = float(len(known) != 2 or category == known[1])
            for case in cases if name in names or name in measured else ():
                values = [case.record.get(name)]
                if name in measured:
                    values = case.series.values[:, measured.index(name)].tolist()
                if value in values:
                    raise _unseen_error(f'{case.id}: {column}', category, stored['seen'][column])


def _category(cell: str, known: Sequence[str]) -> str | None:
    """The category in a cell; None where it is none of the known ones."""
    if cell in known:
        return cell
    category = code(cell)
    return category if category in known else None


def fit(rows: Sequence[Row], columns: Sequence[str], path: object, options: CovariateOptions) -> Encoding:
    """The encoding of some columns of a table.

    A column holds numbers if at least half of its filled cells look like numbers, and categories otherwise.

    Args:
      rows: of all patients.
      columns: names.
      path: of the table, for messages.
      options: of the source.

    Raises:
      InputError: dates; more than `MOST` categories; an unknown option.
    """
    if options.unseen not in UNSEEN:
        raise InputError(f'{KEYS}.unseen: {options.unseen!r}; expected one of: {", ".join(UNSEEN)}')
    missing, categorical = tuple(map(str, options.missing)), tuple(options.categorical)
    if set(categorical) - set(columns):
        raise InputError(f'{KEYS}.categorical: {min(set(categorical) - set(columns))!r}; expected some of the '
                         f'covariates: {", ".join(columns)}')
    categories: dict[str, tuple[str, ...]] = {}
    seen: dict[str, tuple[str, ...]] = {}
    for column in columns:
        cells = [filled(row.cells[column], missing) for row in rows]
        if column not in categorical and is_numeric(list(filter(None, cells)), f'{path}: column {column!r}'):
            categories[column] = seen[column] = ()
            continue
        cells = [code(cell) if column in categorical else cell for cell in cells]
        categories[column] = tuple(sorted({*cells} - {''}))
        seen[column] = tuple(sorted({cell for row, cell in zip(rows, cells) if row.train and cell}))
        check_spellings(f'{path}: column {column!r}', 'categories', categories[column])
        if len(categories[column]) > MOST:
            raise InputError(f'{path}: column {column!r} has {len(categories[column])} categories; expected numbers, '
                             f'or at most {MOST} categories, or another choice of {KEYS}.covariates')
    return Encoding(categories, seen, missing, options.unseen)


def is_numeric(cells: Sequence[str], where: str) -> bool:
    """Whether a column holds numbers: whether half of its cells do, or would without a unit or with a decimal point.

    Args:
      cells: the filled ones.
      where: the column, for messages.

    Raises:
      InputError: it holds dates.
    """
    numbers = sum(parse_number(cell) is not None for cell in cells)
    if numbers == len(cells) and any(len(cell) != len('YYYYMMDD') for cell in cells):
        return True
    dates = [cell for cell in cells if parse_date(cell, PATTERNS) is not None]
    if dates and 2 * len(dates) >= len(cells):
        raise InputError(f'{where} holds dates such as {dates[0]}; expected numbers, such as days since a start, or '
                         f'categories; or another choice of {KEYS}.covariates')
    units = collections.Counter(match['unit'].strip() for match in map(UNIT.fullmatch, cells) if match)
    similar = sum(COMMA.fullmatch(cell) is not None for cell in cells) + max(units.values(), default=0)
    bounds = sum(BOUND.fullmatch(cell) is not None for cell in cells)
    return not cells or (numbers + similar > 0 and 2 * (numbers + similar + bounds) >= len(cells))


def automatic(rows: Sequence[Row], columns: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """The columns that are covariates where the config names none, and why others are not.

    A column without a name and one that numbers the rows are no covariates: as an index of a sorted table they would
    give the order of the outcomes away.
    """
    kept, dropped = [], {}
    for place, column in enumerate(columns, 1):
        first = parse_number(rows[0].cells[column])
        if not column or re.fullmatch(r'Unnamed: [\d.]+', column):
            dropped[column or f'column {place}'] = 'no name'
        elif len(rows) >= LEAST and first in (0, 1) and all(
                parse_number(row.cells[column]) == first + n for n, row in enumerate(rows)):
            dropped[column] = 'the numbers of the rows'
        else:
            kept.append(column)
    return kept, dropped


def describe(rows: Sequence[Row], encoding: Encoding, dropped: Mapping[str, str]) -> str:
    """One line on what became of the columns of a table: numbers, categories with their counts, and dropped columns."""
    numbers, categories = [], []
    for column, known in encoding.categories.items():
        cells = [filled(row.cells[column], encoding.missing) for row in rows]
        counts = collections.Counter(_category(cell, known) for cell in cells if known and cell)
        parts = [f'{category} {counts[category]}{"" if category in encoding.seen[column] else " not in training"}'
                 for category in known]
        if not all(cells):
            parts.append(f'missing {cells.count("")}')
        (categories if known else numbers).append(f'{column} ({", ".join(parts)})' if parts else column)
    lost = [f'{name} ({why})' for name, why in dropped.items()]
    kinds = {'numbers': numbers, 'categories': categories, 'dropped': lost}
    line = '; '.join(f'{kind}: {", ".join(parts[:SHOWN])}{f", … ({len(parts)})" if len(parts) > SHOWN else ""}'
                     for kind, parts in kinds.items() if parts)
    return ' '.join(line.split())  # a category may contain a line break


def encoding_of_names(names: Sequence[str], columns: Collection[str]) -> Encoding:
    """The encoding of a run that stored the names of its covariates alone.

    Where it has one category of a column, the other one is not known: anything else counts as that one.

    Args:
      names: of the covariates: a column, or COLUMN=CATEGORY.
      columns: of the table.
    """
    categories: dict[str, list[str]] = {}
    for name in names:
        column, category = (name, '') if name in columns else name.rpartition('=')[::2]
        categories.setdefault(column or name, []).extend([category] if category else [])
    return Encoding(categories, categories, unseen='reference')
