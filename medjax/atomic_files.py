"""Atomic writing of files: under a temporary name first, then renamed; and reading of JSON and array files."""

import contextlib
import csv
import errno
import fcntl
import functools
import io
import json
import os
import pathlib
import re
import secrets
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, BinaryIO

import numpy as np

from medjax.errors import InputError

# Text that a spreadsheet takes for a formula, or that has an apostrophe in front of such text already.
FORMULA = re.compile(r"'*[=+\-@\t\r]")
NUMBER = re.compile(r'[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?|[+-]?(inf|nan)', re.IGNORECASE | re.ASCII)
FOLDER_MODE = 0o700
TEMPORARY = '.medjax-{}.part'  # names of files that are being written
# Schemes of object storage and the like; `gs://bucket` is `gs:/bucket` as a path.
STORES = r'(gs|gcs|s3|s3a|az|abfss?|hdfs)'
REMOTE = re.compile(rf'({STORES}|https?|ftp|sftp|file):', re.IGNORECASE)
STORED = re.compile(rf'''[\s'"(\[]*({STORES}://)''', re.IGNORECASE)  # begins with such an address, or is a list of some
MOUNT = 'expected a local path: mount the bucket (GCSFuse, Mountpoint for S3, BlobFuse) and name a folder there'
FRESH = 1.0  # seconds in which a new temporary file may not be locked yet


def check_local(path: pathlib.Path | str, where: str) -> None:
    """Refuses an address of object storage as a place for files, which would become a local folder of that name.

    Args:
      path: the place.
      where: the option that it comes from, for the message.

    Raises:
      InputError: it is an address.
    """
    for part in pathlib.PurePath(path).parts:
        if REMOTE.fullmatch(part):
            raise InputError(f'{where}: an address that begins with {part}//; {MOUNT}')


def check_arguments(arguments: Sequence[str]) -> None:
    """Refuses addresses of object storage as arguments of a command or values of its options, whatever they are for.

    Addresses of services, such as http://, are left to the options that take them.

    Args:
      arguments: of the command line.

    Raises:
      InputError: with the first one.
    """
    for argument in arguments:
        name, equals, value = argument.partition('=') if argument.startswith('-') else ('', '', argument)
        found = STORED.match(value)
        if found:
            raise InputError(f'{name}{equals}{value}: an address that begins with {found[1]}; {MOUNT}')


def read_arrays(path: pathlib.Path, kind: str, names: Sequence[str] = ()) -> dict[str, np.ndarray]:
    """The arrays of an .npz file, some by name or all.

    Args:
      path: the file.
      kind: what it should be, for the message.
      names: of the arrays; all where there are none.

    Raises:
      InputError: it lacks one, or is damaged.
    """
    try:
        # NumPy leaves the file open where it is damaged.
        with path.open('rb') as content, np.load(content, allow_pickle=False) as file:
            return {name: file[name] for name in names or file.files}
    except Exception as error:  # NumPy, zipfile and zlib raise many types of error for damaged bytes
        raise InputError(f'{path}: not readable as {kind}: {error}') from error


def read_json(path: pathlib.Path, expected: str = 'an object with named fields') -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
      InputError: the file cannot be read, is damaged, or holds something else than an object.
    """
    try:
        value = json.loads(path.read_bytes())
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected {expected}') from error
    except (ValueError, RecursionError) as error:
        raise InputError(f'{path}: damaged, not readable as JSON: {error}; expected {expected}') from error
    if not isinstance(value, dict):
        raise InputError(f'{path}: contains a {type(value).__name__}; expected {expected}')
    return value


def make_folder(folder: pathlib.Path) -> None:
    """Creates a folder that the user alone may enter, since its files are about patients; an existing one is kept."""
    folder.mkdir(FOLDER_MODE, parents=True, exist_ok=True)


def read_optional_json(path: pathlib.Path, expected: str = 'an object with named fields') -> dict[str, Any]:
    """The object in a JSON file, empty where there is no such file; see `read_json`."""
    return read_json(path, expected) if path.exists() else {}


@contextlib.contextmanager
def replacing(path: pathlib.Path, private: bool = False) -> Iterator[BinaryIO]:
    """A new file under a temporary name, which replaces `path` when the block ends without an error.

    The name cannot be predicted, and the file is new: a link of that name is not followed. What a killed process left
    in the folder is removed.

    Args:
      path: the file; its folder is created where it is missing.
      private: whether the user alone may read it.

    Yields:
      The temporary file, open for binary writing; its path is its `name`.
    """
    make_folder(path.parent)
    _remove_leftovers(path.parent)
    part = path.with_name(TEMPORARY.format(secrets.token_hex(8)))
    mode = 0o600 if private else 0o666  # less what the process's mask forbids
    with open(part, 'xb', opener=lambda name, flags: os.open(name, flags, mode)) as file:
        with contextlib.suppress(OSError):  # some file systems have no locks; nothing is removed there
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        try:
            yield file
            file.flush()
            os.replace(part, path)
        finally:
            with contextlib.suppress(OSError):
                part.unlink(missing_ok=True)


@functools.cache
def _remove_leftovers(folder: pathlib.Path) -> None:
    """Removes the temporary files of killed processes, once for each folder; those of running ones are locked."""
    for part in folder.glob(TEMPORARY.format('*')):
        with contextlib.suppress(OSError):
            handle = os.open(part, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK)  # neither follows a link nor waits
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if time.time() - os.fstat(handle).st_mtime > FRESH:
                    part.unlink()
            finally:
                os.close(handle)


def write_bytes(path: pathlib.Path, content: bytes, private: bool = False) -> None:
    """Writes a file atomically, and creates its folder where it is missing; a kill leaves the old file or the new one.

    Args:
      path: of the file.
      content: of the file.
      private: whether the user alone may read it.

    Raises:
      InputError: where it cannot be written; an existing file of that name is unchanged.
    """
    try:
        with replacing(path, private) as file:
            file.write(content)
    except OSError as error:
        why = 'no space left' if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise InputError(f'{path}: cannot be written: {why}; expected free space in a writable folder'
                         ) from error


def write_arrays(path: pathlib.Path, /, **arrays: Any) -> None:
    """Writes arrays by name as a compressed .npz file, see `write_bytes`."""
    content = io.BytesIO()
    np.savez_compressed(content, **arrays)
    write_bytes(path, content.getvalue())


def write_text(path: pathlib.Path, text: str, private: bool = False) -> None:
    """Writes text in UTF-8 atomically; see `write_bytes`."""
    write_bytes(path, text.encode(), private)


def write_table(path: pathlib.Path, rows: Sequence[Mapping[str, Any]]) -> None:
    """Writes a table as CSV atomically; it has the columns of all rows, and empty cells for NaN and missing values.

    Text that a spreadsheet would run as a formula gets an apostrophe in front; `read_table` removes it.
    """
    columns = list(dict.fromkeys(key for row in rows for key in row))
    lines = [columns, *([row.get(name, '') for name in columns] for row in rows)]
    write_text(path, ''.join(map(_line, lines)))


def _line(cells: Sequence[Any]) -> str:
    """The cells of a row as a line of CSV that ends with a line feed."""
    line = io.StringIO()
    csv.writer(line).writerow(map(_inert, cells))  # ends with both line breaks, so that cells with either are quoted
    return f'{line.getvalue()[:-2]}\n'


def read_table(path: pathlib.Path) -> tuple[list[dict[str, str]], list[str]]:
    """Reads a table that `write_table` wrote: its rows, as `csv.DictReader` has them, and the names of its columns."""
    def plain(cell: Any) -> Any:
        return cell[1:] if isinstance(cell, str) and cell.startswith("'") and FORMULA.match(cell) else cell

    with path.open(newline='', encoding='utf-8') as file:
        reader = csv.DictReader(file)
        rows = [{plain(name): plain(cell) for name, cell in row.items()} for row in reader]
        return rows, list(map(plain, reader.fieldnames or []))


def _inert(value: Any) -> Any:
    """A cell's value that no spreadsheet runs; empty for NaN."""
    if isinstance(value, str):
        return f"'{value}" if FORMULA.match(value) and not NUMBER.fullmatch(value) else value
    return '' if value != value else value


def write_json(path: pathlib.Path, value: Any, private: bool = False) -> None:
    """Writes JSON atomically; NaN becomes null, which every JSON parser reads. See `write_bytes`."""
    def plain(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: plain(v) for k, v in value.items()}
        if isinstance(value, (list, tuple)):
            return [plain(v) for v in value]
        return None if isinstance(value, float) and value != value else value
    write_text(path, json.dumps(plain(value), indent=1, allow_nan=False) + '\n', private)


def add_row(path: pathlib.Path, row: Mapping[str, Any]) -> None:
    """Adds a row to a CSV table; a row with the same value in the first column is replaced.

    Raises:
      InputError: the existing table has other columns.
    """
    rows, key = {}, next(iter(row))
    if path.exists():
        old, columns = read_table(path)
        if old and columns != list(row):
            raise InputError(f'{path}: a table of {", ".join(columns)}; expected one of {", ".join(row)}, or another '
                             '--output')
        rows = {of[key]: of for of in old}
    rows[row[key]] = row
    write_table(path, list(rows.values()))
