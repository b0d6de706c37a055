"""Folders of requests: for the user alone, removed after the answer, and cleared at start after a kill."""

import contextlib
import fcntl
import os
import pathlib
import shutil
import stat
import tempfile
from collections.abc import Iterator

from medjax.errors import InputError

LOCK = '.lock'


def claim(parent: pathlib.Path) -> tuple[pathlib.Path, int]:
    """A new folder for this process below one that belongs to the user alone; what killed processes left is removed.

    Args:
      parent: created with mode 0700 where it is missing.

    Returns:
      The folder, and the open file whose lock says that this process is alive.

    Raises:
      InputError: the folder belongs to someone else, is a link, or others may enter it.
    """
    try:
        parent.mkdir(0o700, parents=True, exist_ok=True)
        found = os.lstat(parent)
    except OSError as error:
        raise InputError(f'{parent}: {error.strerror}; expected a place for a folder of uploads: --tmp') from error
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.getuid() or stat.S_IMODE(found.st_mode) & 0o077:
        raise InputError(f'{parent}: mode {stat.S_IMODE(found.st_mode):04o} of user {found.st_uid}; expected a folder '
                         'of your own with mode 0700, since it will have images of patients: --tmp')
    for folder in parent.iterdir():
        with contextlib.suppress(OSError), open(folder / LOCK) as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # fails where its process is alive
            shutil.rmtree(folder)
    folder = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix='service-'))  # mode 0700
    lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    fcntl.flock(lock, fcntl.LOCK_EX)
    return folder, lock


@contextlib.contextmanager
def request_folder(parent: pathlib.Path) -> Iterator[pathlib.Path]:
    """A folder for the files of one request, with mode 0700; removed at the end, whatever happens."""
    folder = pathlib.Path(tempfile.mkdtemp(dir=parent, prefix='request-'))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def release(folder: pathlib.Path, lock: int) -> None:
    """Removes a folder of `claim`."""
    shutil.rmtree(folder, ignore_errors=True)
    os.close(lock)
