"""The cache of prepared arrays: a folder for each combination of files and options, written atomically."""

import contextlib
import errno
import hashlib
import json
import os
import pathlib
import shutil
import tempfile
from collections.abc import Callable, Iterable
from typing import Any

from medjax.errors import InputError


def cache_root(cache: str, kind: str) -> pathlib.Path:
    """The folder of all prepared data: `cache`, or by default `kind` within the user's cache folder."""
    return pathlib.Path(cache).expanduser() if cache else pathlib.Path.home() / '.cache' / 'medjax' / kind


def file_states(names: Iterable[str]) -> list[tuple[str, int, int]]:
    """Name, size and modification time of files, which identify the content that was prepared.

    Raises:
      InputError: a file that does not exist or cannot be reached.
    """
    states = []
    for name in names:
        try:
            state = os.stat(name)
        except OSError as error:
            link = f', a link to {os.readlink(name)}' if os.path.islink(name) else ''
            raise InputError(f'{name}{link}: {error.strerror}; expected a file') from error
        states.append((name, state.st_size, state.st_mtime_ns))
    return states


def entry(root: pathlib.Path, key: Any) -> pathlib.Path:
    """The folder of what is prepared from `key`, as JSON: files and options. It exists once it has been stored."""
    return root / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]


def store(folder: pathlib.Path, write: Callable[[pathlib.Path], object], what: str) -> None:
    """Writes an entry into a temporary folder, which is then renamed; another process may be faster.

    Args:
      folder: the entry.
      write: writes all files into the folder that it is given.
      what: is prepared, for the message.

    Raises:
      InputError: the cache folder cannot be written, or has too little space.
    """
    root = folder.parent
    try:
        root.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(dir=root, prefix='tmp-') as name:
            part = pathlib.Path(name) / 'part'
            part.mkdir()
            write(part)
            with contextlib.suppress(FileExistsError):
                part.rename(folder)
    except OSError as error:
        if not folder.is_dir():
            raise InputError(f'{root}: cannot keep prepared {what}: {error.strerror}; free some space or set '
                             'config.data.cache to another folder') from error


def check_free_space(folder: pathlib.Path, size: int) -> None:
    """Checks that a folder has room for a file of `size` bytes: a mapped file that runs out of space kills the process.

    Raises:
      OSError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f'{size} bytes needed, {free} free')
