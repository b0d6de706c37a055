"""The lock of a run's folder: one training at a time."""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
from collections.abc import Callable, Iterator

from medjax.errors import InputError

NAME = 'train.lock'


@contextlib.contextmanager
def locked(workdir: pathlib.Path, say: Callable[[str], None]) -> Iterator[None]:
    """Locks a run's folder for one training; the operating system frees the lock when the process ends or is killed.

    The lock is `flock`'s, which on NFS holds for all hosts, from Linux 2.6.12 on. The file stays, without content.

    Args:
      workdir: the folder.
      say: receives a warning where the file system has no locks.

    Raises:
      InputError: another process, which is named, has locked the folder.
    """
    handle = os.open(workdir / NAME, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with open(handle, 'r+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(200).strip() or 'another process'
            raise InputError(f'--workdir={workdir}: {holder} is training there; expected one training in a folder: '
                             'wait for its end, or choose another --workdir') from None
        except OSError as error:
            say(f'warning: {workdir}: the file system has no locks ({error.strerror}): a second training there would '
                'not be noticed')
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}, since {datetime.datetime.now():%Y-%m-%d %H:%M},')
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)
