"""The cache of prepared data: a folder for each combination of files and options, written atomically.

Each folder holds the digests of its files, which are verified when the data is prepared: once in a run. Patients' data
is readable by the user alone.
"""

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterable
from typing import Any

from medjax import atomic_files
from medjax.errors import InputError

DIGESTS = 'digests.json'  # of an entry: the BLAKE2b of each of its other files
FILE_MODE = 0o600
LOCK, FRESH = 'lock', 10.0  # of a temporary folder; seconds in which a new one may not be locked yet


def cache_root(cache: str, kind: str) -> pathlib.Path:
    """The folder of all prepared data: `cache`, or by default `kind` within the user's cache folder."""
    return pathlib.Path(cache).expanduser() if cache else pathlib.Path.home() / '.cache' / 'medjax' / kind


def file_states(names: Iterable[str]) -> list[tuple[str, int, int, int]]:
    """Name, size, and times in ns of the last change of content and of status of files.

    They identify the content that was prepared. No program can set the second time, so it also changes where content
    is replaced while the first time is kept, as by `cp -p` and `rsync -t`.

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
        states.append((name, state.st_size, state.st_mtime_ns, state.st_ctime_ns))
    return states


def entry(root: pathlib.Path, key: Any) -> pathlib.Path:
    """The folder of what is prepared from `key`, as JSON: files and options. It exists once it has been stored."""
    return root / hashlib.sha256(json.dumps(key).encode()).hexdigest()[:24]


def found(folder: pathlib.Path, what: str) -> bool:
    """Whether an entry exists and all its files are as they were stored.

    Args:
      folder: the entry; where it is damaged, a line on standard error says so, and `store` replaces it.
      what: is prepared, for that line.
    """
    if not folder.is_dir():
        return False
    damage = _damage(folder)
    if damage:
        print(f'warning: {folder}: {damage}; the prepared {what} are prepared again', file=sys.stderr, flush=True)
    return not damage


def store(folder: pathlib.Path, write: Callable[[pathlib.Path], object], what: str,
          key: str = 'config.data.cache') -> None:
    """Writes an entry into a temporary folder, which is then renamed; another process may be faster.

    Args:
      folder: the entry; one that is damaged is replaced.
      write: writes all files into the folder that it is given.
      what: is prepared, for the message.
      key: of the config, which has the cache folder; for the message.

    Raises:
      InputError: the cache folder cannot be written, is on object storage, or has too little space.
    """
    root = folder.parent
    atomic_files.check_local(root, key)
    try:
        atomic_files.make_folder(root)
        _remove_leftovers(root)
        with (tempfile.TemporaryDirectory(dir=root, prefix='tmp-') as name,
              (pathlib.Path(name) / LOCK).open('x') as lock):
            with contextlib.suppress(OSError):  # some file systems have no locks; nothing is removed there
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part = pathlib.Path(name) / 'part'
            part.mkdir(atomic_files.FOLDER_MODE)
            write(part)
            (part / DIGESTS).write_text(json.dumps({path.name: _digest(path) for path in sorted(part.iterdir())}))
            for path in part.iterdir():
                path.chmod(FILE_MODE)
            if folder.is_dir() and _damage(folder):
                folder.rename(pathlib.Path(name) / 'damaged')
            with contextlib.suppress(FileExistsError):
                part.rename(folder)
    except OSError as error:
        if not folder.is_dir() or _damage(folder):
            raise InputError(f'{root}: cannot keep prepared {what}: {error.strerror}; free some space or set '
                             f'{key} to another folder') from error


def _remove_leftovers(root: pathlib.Path) -> None:
    """Removes the temporary folders of killed processes; those of running ones are locked."""
    for folder in root.glob('tmp-*'):
        with contextlib.suppress(OSError), (folder / LOCK).open() as lock:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if time.time() - os.fstat(lock.fileno()).st_mtime > FRESH:
                shutil.rmtree(folder, ignore_errors=True)


def _damage(folder: pathlib.Path) -> str:
    """How an entry's files differ from what was stored; empty where they do not."""
    try:
        digests = json.loads((folder / DIGESTS).read_text())
        for name, digest in digests.items():
            if _digest(folder / name) != digest:
                return f'{name} was changed after it was written'
    except FileNotFoundError as error:
        return f'{pathlib.Path(error.filename).name} is missing'
    except OSError as error:
        return f'cannot be read: {error.strerror}'
    except (ValueError, AttributeError, TypeError):
        return f'{DIGESTS} is damaged'
    return '' if digests else f'{DIGESTS} is empty'


def _digest(path: pathlib.Path) -> str:
    with path.open('rb') as file:
        return hashlib.file_digest(file, 'blake2b').hexdigest()


def check_free_space(folder: pathlib.Path, size: int) -> None:
    """Checks that a folder has room for a file of `size` bytes: a mapped file that runs out of space kills the process.

    Raises:
      OSError: it has not.
    """
    free = shutil.disk_usage(folder).free
    if free < size:
        raise OSError(errno.ENOSPC, f'{size} bytes needed, {free} free')
