"""The files that a table or the header of an image may name: those of its data folder.

A table or a header that was received from elsewhere could name any file of the user's, whose content would then be
read into predictions and reports. Folders beyond the data folder are allowed by the environment variable
MEDJAX_READ_DIRS, which lists them, separated by colons; `/` allows all.
"""

import contextlib
import math
import os
import pathlib
import re
from collections.abc import Iterator

from medjax.errors import InputError

VARIABLE = 'MEDJAX_READ_DIRS'
DETACHED = ('.mhd', '.mha', '.nhdr', '.nrrd')  # headers that name the files of their voxels
LINE, HEADER = 2**16, 2**24  # most bytes of a header's line, and of a header
MOST = 10**5  # files of one image
ALLOWED_DIMS = [str(number) for number in range(1, 11)]  # of MetaImage

_data_folders: set[str] = set()  # those that this process has opened; files in all of them may be named


def add_data_folder(folder: pathlib.Path) -> pathlib.Path:
    """Allows tables and headers to name files in a data set's folder; returns the folder."""
    _data_folders.add(os.path.abspath(folder))
    return folder


@contextlib.contextmanager
def any_folder() -> Iterator[None]:
    """Allows tables to name files anywhere, for a table that the user's own program makes."""
    added = {os.path.sep} - _data_folders
    _data_folders.update(added)
    try:
        yield
    finally:
        _data_folders.difference_update(added)


def inside(folder: pathlib.Path, name: str, where: str) -> pathlib.Path:
    """The path of a file that a table or header names, relative to a folder.

    A data folder may hold links to files elsewhere.

    Args:
      folder: the data folder.
      name: as the table has it.
      where: the table and row, for the message.

    Raises:
      InputError: the path is neither within the folder, nor another data set's, nor within those of MEDJAX_READ_DIRS.
    """
    return _checked(folder / name, name, where, folder)


def data_files(path: pathlib.Path) -> tuple[pathlib.Path, ...]:
    """The files in which a header says that its voxels are; none where they are in the same file.

    Args:
      path: MetaImage or NRRD.

    Raises:
      InputError: a file is outside of the header's folder, all data folders and those of MEDJAX_READ_DIRS.
    """
    names = _meta_names(path) if path.suffix.lower() in ('.mhd', '.mha') else _nrrd_names(path)
    return tuple(_checked(path.parent / name, name, f'{path}: file of voxels', path.parent) for name in names)


def _checked(path: pathlib.Path, name: str, where: str, own: pathlib.Path) -> pathlib.Path:
    given = [os.path.expanduser(folder) for folder in os.environ.get(VARIABLE, '').split(os.pathsep) if folder]
    if '\0' in name:
        raise InputError(f'{where} {name[:200]!r}; expected the name of a file')
    roots = {way(folder) for folder in [own, *_data_folders, *given] for way in (os.path.abspath, os.path.realpath)}
    # After a link, `..` is the parent of what it links to, which only the resolved folder shows.
    ways = [_resolved_folder] if '..' in pathlib.PurePath(name).parts else [os.path.abspath, os.path.realpath]
    if not any(pathlib.PurePath(way(path)).is_relative_to(root) for way in ways for root in roots):
        raise InputError(f'{where} {name[:200]!r} is outside of the folder {own}; expected a file in it: list '
                         f'other folders that may be read in the environment variable {VARIABLE}')
    return path


def _resolved_folder(path: str | pathlib.Path) -> str:
    """An absolute path without links, except that the last part may be one."""
    folder, name = os.path.split(path)
    return os.path.realpath(path) if name == '..' else os.path.join(os.path.realpath(folder), name)


def header_lines(path: pathlib.Path) -> Iterator[str]:
    """The lines of a header; characters of any encoding."""
    total = 0
    with path.open('rb') as file:
        while total < HEADER and (line := file.readline(LINE)):
            total += len(line)
            yield os.fsdecode(line).rstrip('\r\n')


def _meta_names(path: pathlib.Path) -> list[str]:
    """The names in a MetaImage header: its field ElementDataFile is the last one, or is followed by a list."""
    lines, extents = header_lines(path), []
    for line in lines:
        field = re.match(r'\s*(\w+)\s*[=:]\s*(.*?)\s*$', line)
        dims = re.match(r'\s*NDims\b[^=:]*[=:]\s*(.*?)\s*$', line)
        if dims and dims[1] not in ALLOWED_DIMS:  # ITK has arrays for ten, and ends the process with any other number
            raise InputError(f'{path}: NDims = {dims[1][:40]!r}; expected 2 or 3')
        if field and field[1].lower() == 'dimsize':
            extents = [int(number) for number in field[2].split() if number.isdigit()]
        if field and field[1].lower() == 'elementdatafile':
            names = _expanded(path, field[2], lines)
            _check_count(path, field[2], names, extents)
            return names
    return []


def _check_count(path: pathlib.Path, value: str, names: list[str], extents: list[int]) -> None:
    """Checks that a MetaImage header lists as many files as its image has parts; ITK leaves parts without a file unset.

    Args:
      path: of the header.
      value: of its field ElementDataFile; a number at its end is the number of dimensions in each file.
      names: of the files.
      extents: of the image.
    """
    if names in ([], [value]):
        return
    dims = re.fullmatch(r'LIST\s+(\d+)D?|.*\s(?:-?\d+\s+){3}(\d+)', value, re.IGNORECASE)
    expected = math.prod(extents[int(dims[1] or dims[2]) if dims else len(extents) - 1:])
    if len(names) != expected:
        raise InputError(f'{path}: lists {len(names)} files of voxels for an image of '
                         f'{"×".join(map(str, extents))} voxels; expected {expected}')


def _nrrd_names(path: pathlib.Path) -> list[str]:
    """The names in a NRRD header, which ends with an empty line."""
    lines = header_lines(path)
    for line in lines:
        field = re.match(r'data ?file:(?!=) *(.*?)\s*$', line, re.IGNORECASE)
        if field:
            return _expanded(path, field[1], lines)
        if not line:
            break
    return []


def _expanded(path: pathlib.Path, value: str, rest: Iterator[str]) -> list[str]:
    """The file names of a field's value: a name, `LIST` before a list, or a format with first, last and step."""
    if value.lower() == 'local':
        return []
    if re.match(r'LIST\b', value, re.IGNORECASE):
        return [line.strip() for line in rest if line.strip()]
    pattern = re.fullmatch(r'([^%]*%0?\d{0,2}[di][^%]*?)\s+(-?\d{1,9})\s+(-?\d{1,9})\s+(-?\d{1,9})(?:\s+\d+)?', value)
    if not pattern:
        return [value]
    first, last, step = map(int, pattern.groups()[1:4])
    numbers = range(first, last + (1 if step > 0 else -1), step) if step else ()
    if not 0 < len(numbers) <= MOST:
        raise InputError(f'{path}: files of voxels {value!r}; expected 1 to {MOST}, with a step that is not 0')
    return [pattern[1] % number for number in numbers]
