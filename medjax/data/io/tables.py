"""What a file may ask of memory, and tables that people write."""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.errors import InputError

LIMIT = 64 * 2**30  # bytes; a header that asks for more is taken to be damaged
PACKED = 1100  # nothing read here packs tighter than deflate, which reaches 1032 to 1


def check_fits(path: pathlib.Path, declared: int, stored: int) -> None:
    """Refuses a header that asks for more bytes than the file can hold.

    Args:
      path: of the file, for the message.
      declared: bytes that the header asks for.
      stored: the most bytes that the file can unpack to.
    """
    if not 0 < declared <= min(LIMIT, stored):
        raise InputError(f'{path}: its header asks for {declared} bytes of voxels, the file holds at most '
                         f'{min(LIMIT, stored)}; expected a whole file: damaged or cut short?')


def read_table(path: pathlib.Path) -> tuple[list[dict[str, str]], list[str]]:
    """Reads a CSV table in UTF-8: its rows, and its columns.

    Raises:
      InputError: where there is none.
    """
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            table = csv.DictReader(file, strict=True)
            return list(table), list(table.fieldnames or [])
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected a CSV table') from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path}: not a CSV table in UTF-8: {error}; expected one') from error


def check_columns(path: pathlib.Path, there: Sequence[str], wanted: Sequence[str]) -> None:
    """Refuses a table that lacks one of the columns that are wanted."""
    for name in wanted:
        if name not in there:
            raise InputError(f'{path}: no column {name!r}; expected some of: {", ".join(there)}')


def check_fields(path: pathlib.Path, number: int, row: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Refuses a row with more or fewer fields than the table has columns."""
    if None in row or None in row.values():
        raise InputError(f'{path}: row {number} has too {"many" if None in row else "few"} fields; expected '
                         f'{len(columns)}')
