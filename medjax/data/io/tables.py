"""CSV tables, and the check that a header does not declare more data than its file can hold."""

import csv
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.errors import InputError

LIMIT = 64 * 2**30  # bytes; a header that declares more is taken to be damaged
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


def read_table(path: pathlib.Path) -> tuple[list[dict[str, str]], list[str]]:
    """Reads a CSV table in UTF-8.

    Returns:
      Its rows, and the names of its columns.

    Raises:
      InputError: the file cannot be read, or is not such a table.
    """
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            table = csv.DictReader(file, strict=True)
            return list(table), list(table.fieldnames or [])
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected a CSV table') from error
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path}: not a CSV table in UTF-8: {error}; expected one') from error


def check_columns(path: pathlib.Path, columns: Sequence[str], required: Sequence[str]) -> None:
    """Checks that a table has the required columns.

    Raises:
      InputError: with the first missing one.
    """
    for name in required:
        if name not in columns:
            raise InputError(f'{path}: no column {name!r}; expected some of: {", ".join(columns)}')


def check_fields(path: pathlib.Path, number: int, row: Mapping[str, Any], columns: Sequence[str]) -> None:
    """Checks that a row has as many fields as the table has columns.

    Raises:
      InputError: with the row's number.
    """
    if None in row or None in row.values():
        raise InputError(f'{path}: row {number} has too {"many" if None in row else "few"} fields; expected '
                         f'{len(columns)}')
