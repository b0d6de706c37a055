"""CSV tables, and the check that a header does not declare more data than its file can hold."""

import collections
import functools
import io
import math
import pathlib
import re
from collections.abc import Collection, Sequence

from medjax.errors import InputError

LIMIT = 64 * 2**30  # bytes; a header that declares more is taken to be damaged
# Cells that are missing values: those of pandas.read_csv, and SAS' point.
MISSING = ('', '.', 'NA', 'N/A', 'n/a', 'NaN', 'nan', '-NaN', '-nan', 'NULL', 'null', 'None', '<NA>', '#N/A', '#NA',
           '#N/A N/A', '1.#IND', '-1.#IND', '1.#QNAN', '-1.#QNAN')
DIGITS = re.compile(r'0*(\d+?)(\.0*)?', re.ASCII)  # a whole number
CACHED = 2**14  # cells that are not parsed again: large tables repeat ages, codes and rounded values
LARGEST = 2.0**128 - 2.0**104  # the largest number of float32
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?', re.ASCII)
PATIENT = ('patientid', 'patientname', 'patientno', 'patientnr', 'patientnumber', 'subject', 'subjectid', 'participant',
           'participantid', 'mrn')  # common names of the column `patient`, in lower case without blanks and underscores
STARTS = {b'PK\x03\x04': 'an Excel workbook', b'\xd0\xcf\x11\xe0': 'an Excel workbook', b'\x1f\x8b': 'compressed',
          b'\xff\xfe': 'UTF-16', b'\xfe\xff': 'UTF-16'}  # first bytes of files that are no CSV table in UTF-8
PACKED = 1100  # bound of the compression ratio: deflate, the tightest codec read here, reaches 1032 to 1


def check_fits(path: pathlib.Path, declared: int, stored: int) -> None:
    """Checks that a header does not declare more bytes than the file can hold.

    Args:
      path: of the file, for the message.
      declared: bytes that the header declares.
      stored: the most bytes that the file can decompress to.

    Raises:
      InputError: with both numbers.
    """
    if not 0 < declared <= min(LIMIT, stored):
        raise InputError(f'{path}: its header declares {declared} bytes of voxels, the file holds at most '
                         f'{min(LIMIT, stored)}; expected a whole file: damaged or cut short?')


def read_table(path: pathlib.Path, unnamed: Sequence[str] = ()) -> tuple[list[dict[str, str]], list[str]]:
    """Reads a CSV table in UTF-8, with commas between the columns, or tabs in a file `.tsv`. Empty lines are skipped.

    Args:
      path: of the table.
      unnamed: the names of the columns of a table without a header; its first row has none of them. By default a table
        has a header.

    Returns:
      Its rows, every cell as it is written, and the names of its columns. Columns without a name and without content,
      as commas at the end of all lines make them, are left out.

    Raises:
      InputError: the file cannot be read, or is not such a table: rows of different lengths, two columns of one name,
        blanks around a name.
    """
    import pandas as pd  # slow to import

    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected a CSV table') from error
    for start, kind in STARTS.items():
        if content.startswith(start):
            raise InputError(f'{path}: {kind}; expected a CSV table in UTF-8: save it as "CSV UTF-8"')
    try:
        text = content.decode('utf-8-sig')
    except UnicodeDecodeError as error:
        raise InputError(f'{path}: not a CSV table in UTF-8: {error}; expected one: save it as "CSV UTF-8"') from error
    if '\0' in text:
        raise InputError(f'{path}: not a CSV table in UTF-8: byte {text.index(chr(0))} is 0; expected text')
    text = text.replace('\r\n', '\n').replace('\r', '\n')
    separator, first = '\t' if path.suffix.lower() == '.tsv' else ',', text.strip('\n').partition('\n')[0]
    for other, name in ((';', 'semicolons'), ('\t', 'tabs')):
        if other in first and separator not in first:
            raise InputError(f'{path}: {name} between the columns; expected commas, and points in numbers: save it as '
                             '"CSV UTF-8" with commas')
    try:
        # Python's parser leaves what a short row lacks as NaN, so that it differs from an empty cell.
        cells = pd.read_csv(io.StringIO(text), header=None, dtype=str, na_filter=False, engine='python',
                            sep=separator).to_numpy(object).tolist()
    except pd.errors.EmptyDataError:
        return [], []
    except pd.errors.ParserError as error:
        longer = re.search(r'Expected (\d+) fields in line (\d+)', str(error))
        raise InputError(f'{path}: row {longer[2]} has too many fields; expected {longer[1]}' if longer else
                         f'{path}: not a CSV table in UTF-8: {error}; expected one') from error
    headed = not unnamed or bool({name.strip() for name in cells[0]} & set(unnamed))
    columns, rows = (cells[0], cells[1:]) if headed else (list(unnamed), cells)
    if len(columns) != len(cells[0]):
        raise InputError(f'{path}: row 1 has {len(cells[0])} fields; expected {",".join(unnamed)}')
    for name in columns:
        if name != name.strip():
            raise InputError(f'{path}: column {name!r}; expected {name.strip()!r}, without blanks around the name')
    for number, row in enumerate(rows, 1 + headed):
        if not isinstance(row[-1], str):
            raise InputError(f'{path}: row {number} has too few fields; expected {len(columns)}')
    places = [place for place, name in enumerate(columns) if name or any(row[place].strip() for row in rows)]
    names = [columns[place] for place in places]
    name, count = collections.Counter(names).most_common(1)[0] if names else ('', 0)
    if count > 1:
        raise InputError(f'{path}: {count} columns {name!r}; expected different names')
    return [dict(zip(names, (row[place] for place in places))) for row in rows], names


def check_columns(path: pathlib.Path, columns: Sequence[str], required: Sequence[str]) -> None:
    """Checks that a table has the required columns.

    Raises:
      InputError: with the first missing one, and a column of nearly that name.
    """
    for name in required:
        if name not in columns:
            near = near_names(columns, name)
            hint = f', which is written {near[0]!r} there' if near else ''
            raise InputError(f'{path}: no column {name!r}{hint}; expected some of: {", ".join(columns)}')


def near_names(columns: Sequence[str], name: str) -> list[str]:
    """The columns whose names differ from a name only in case, blanks and punctuation."""
    return [column for column in columns if column != name and plain_name(column) == plain_name(name)]


def plain_name(name: str) -> str:
    """A name in lower case, its letters and digits alone."""
    return ''.join(filter(str.isalnum, name.lower()))


def check_near_names(path: pathlib.Path, columns: Sequence[str], known: Sequence[str], used: Collection[str] = (),
                     patient: str = 'patient') -> None:
    """Checks that no column is one of the known ones by another spelling, such as 'Patient' or 'patient_id'.

    Args:
      path: of the table, for messages.
      columns: of the table.
      known: names with a meaning, such as 'split'.
      used: columns that the config names, which may have any name.
      patient: that of the known names whose other common names are refused as well; '' for none.

    Raises:
      InputError: with both names.
    """
    others = [column for column in columns if column not in (*known, *used)]
    for name in known:
        near = near_names(others, name)
        if name == patient:
            near += [column for column in others if plain_name(column) in PATIENT]
        if near:
            raise InputError(f'{path}: column {near[0]!r}; expected {name!r}, if it is that, or else another name')


def filled(cell: str | None, missing: Collection[str] = ()) -> str:
    """A cell without blanks around it; '' for a missing value, see `MISSING`.

    Args:
      cell: of a table; None where the table lacks the column.
      missing: further cells that are missing values.
    """
    cell = (cell or '').strip()
    return '' if cell in MISSING or cell in missing else cell


@functools.lru_cache(CACHED)
def parse_number(cell: str) -> float | None:
    """The number in a cell, in digits with a decimal point; None where it holds none that float32 can represent."""
    value = float(cell) if NUMBER.fullmatch(cell.strip()) else math.nan
    return value if abs(value) <= LARGEST else None


@functools.lru_cache(CACHED)
def code(cell: str) -> str:
    """A cell that holds a code, the same for 1, 1.0 and 01."""
    digits = DIGITS.fullmatch(cell.strip())
    if digits:
        return digits[1]  # of any length, such as an accession number
    value = parse_number(cell)
    return cell.strip() if value is None or value != int(value) else str(int(value))


def check_spellings(where: object, kind: str, names: Collection[str], case: bool = True) -> None:
    """Checks that no two names are one in different spellings, such as 1 and 1.0, or 'Ill' and 'ill'.

    Args:
      where: the names are found, for messages.
      kind: what is named, for messages.
      names: all different names.
      case: whether names that differ in case are spellings of one.

    Raises:
      InputError: with two such names.
    """
    first: dict[str, str] = {}
    for name in sorted(names):
        other = first.setdefault(code(name).casefold() if case else code(name), name)
        if other != name:
            raise InputError(f'{where}: {kind} {other!r} and {name!r}; expected one spelling of a name')


def check_unique(path: pathlib.Path, names: Sequence[str], column: str = 'id') -> None:
    """Checks that no name occurs twice.

    Raises:
      InputError: with the name and both rows.
    """
    rows: dict[str, int] = {}
    for number, name in enumerate(names, 2):
        if rows.setdefault(name, number) != number:
            raise InputError(f'{path}: row {number}: {column} {name!r} is that of row {rows[name]}; expected unique '
                             'names')

