"""Dates and times in the cells of tables."""

import datetime
import re
from collections.abc import Iterable, Sequence
from typing import NamedTuple

from medjax.data.io.tables import parse_number
from medjax.errors import InputError, few

# Forms of dates, by the option under which they are read. 20240129 is a date of DICOM (PS3.5, value representation DA).
YEAR, SHORT_MONTH, SHORT_DAY = r'(?P<y>\d{4})', r'(?P<m>\d\d?)', r'(?P<d>\d\d?)'
FORMS = {
    'iso': {'YYYY-MM-DD': rf'{YEAR}-(?P<m>\d\d)-(?P<d>\d\d)', 'YYYYMMDD': rf'{YEAR}(?P<m>\d\d)(?P<d>\d\d)'},
    'dmy': {f'D{mark}M{mark}YYYY': re.escape(mark).join([SHORT_DAY, SHORT_MONTH, YEAR]) for mark in './-'},
    'mdy': {f'M{mark}D{mark}YYYY': re.escape(mark).join([SHORT_MONTH, SHORT_DAY, YEAR]) for mark in '/-'},
}
PATTERNS = {form: pattern for known in FORMS.values() for form, pattern in known.items()}
SHORTEST = len('D.M.YYYY')
YEARS = range(1850, 2150)  # in which a number of eight digits is a date
DAYS = {'seconds': 1 / 86400, 'minutes': 1 / 1440, 'hours': 1 / 24, 'days': 1.0, 'weeks': 7.0, 'months': 365.25 / 12,
        'years': 365.25}
LONGEST = 130 * 365.25  # days that a patient can have been observed
UNIX = 6e8  # seconds from 1970 to 1989


class Times(NamedTuple):
    """Times of a column: the form of its cells, 'number' or that of a date, and the times; of dates in days."""

    form: str
    values: list[float]


def parse_date(cell: str, forms: Iterable[str] = FORMS['iso']) -> int | None:
    """The number of the day that a cell names, 1 for 0001-01-01; None where it is no date.

    Args:
      cell: the cell.
      forms: some of those of `PATTERNS`; by default those of ISO 8601 and DICOM.
    """
    cell = cell.strip()
    if len(cell) < SHORTEST:
        return None
    matches = (re.fullmatch(PATTERNS[form], cell, re.ASCII) for form in forms)
    match = next((match for match in matches if match and int(match['y']) in YEARS), None)
    if match is None:
        return None
    try:
        return datetime.date(int(match['y']), int(match['m']), int(match['d'])).toordinal()
    except ValueError:
        return None


def read_times(cells: Sequence[str], where: Sequence[str], *, unit: str, dates: str = 'iso') -> Times:
    """The times in a column: dates of one form, or numbers.

    Args:
      cells: of the column.
      where: row and column of each cell, for messages.
      unit: of numbers, one of `DAYS`.
      dates: the order of day, month and year, one of `FORMS`.

    Raises:
      InputError: a cell that is neither; dates and numbers, or dates of two forms, in one column; a number that is no
        time of a patient.
    """
    if dates not in FORMS or unit not in DAYS:
        raise InputError(f'dates: {dates!r}, unit: {unit!r}; expected one of {", ".join(FORMS)}, and one of '
                         f'{", ".join(DAYS)}')
    form = next((form for form in FORMS[dates] if cells and parse_date(cells[0], [form]) is not None), 'number')
    expected = {'number': f'a number of {unit}', 'YYYY-MM-DD': 'an ISO date YYYY-MM-DD'}.get(form, f'a date {form}')
    values: list[float] = []
    for cell, place in zip(cells, where):
        value = parse_number(cell) if form == 'number' else parse_date(cell, [form])
        if value is None or (form == 'number' and are_dates([cell])):
            raise InputError(f'{place} {cell!r}; expected {expected} as in the first row, or one form in all rows: '
                             f"{', '.join(FORMS[dates])}, where dates is {dates!r}, of {', '.join(FORMS)}")
        if form == 'number' and abs(value) * DAYS[unit] > LONGEST:
            raise InputError(f'{place} {cell!r}: {value * DAYS[unit] / 365.25:.0f} years as a number of {unit}; '
                             'expected the time since a start, in its unit, or a date')
        values.append(float(value))
    return Times(form, values)


def are_dates(cells: Sequence[str]) -> bool:
    """Whether all cells are dates of any form, and there are some."""
    return bool(cells) and all(parse_date(cell, PATTERNS) is not None for cell in cells)


def check_durations(path: object, column: str, cells: Sequence[str], unit: str = '', per: float = 1.0) -> None:
    """Checks that the numbers in a column can be times since a start of each patient.

    Args:
      path: of the table, for messages.
      column: name.
      cells: of the column; those without a number are skipped.
      unit: of the times, '' or another word where it is not known.
      per: times of the column in one unit.

    Raises:
      InputError: dates, times since 1970, or times longer than a life.
    """
    values = [value for value in map(parse_number, cells) if value is not None]
    expected = 'expected the time since each patient\'s own start, such as the first visit'
    if are_dates(cells):
        raise InputError(f'{path}: {column}: dates such as {few(cells[:1])}; {expected}')
    if not values:
        return
    low, high = min(values), max(values)
    if low > UNIX:
        raise InputError(f'{path}: {column}: {low:.12g} to {high:.12g}, which may be seconds since 1970; {expected}')
    if high / per * DAYS.get(unit, 0) > LONGEST:
        raise InputError(f'{path}: {column}: up to {high / per:.9g} {unit}, longer than a life; {expected}')
    if 0 < high - low < 1e-4 * high:
        raise InputError(f'{path}: {column}: {low:.12g} to {high:.12g}, nearly equal for all; {expected}')
