"""The lock of a folder: one training, or one other work, at a time."""

import contextlib
import datetime
import fcntl
import os
import pathlib
import socket
import time
from collections.abc import Callable, Iterator

from medjax.core import distributed
from medjax.errors import InputError, few

NAME = 'train.lock'
SHARED_WITHIN = 20.0  # seconds in which a network file system shows a new file everywhere


@contextlib.contextmanager
def locked(workdir: pathlib.Path, say: Callable[[str], None], name: str = NAME, option: str = '--workdir',
           busy: str = 'is training there; expected one training in a folder') -> Iterator[None]:
    """Locks a folder for one process; the operating system frees the lock when the process ends or is killed.

    The lock is `flock`'s, which on NFS holds for all hosts, from Linux 2.6.12 on. The file stays, without content.

    Args:
      workdir: the folder.
      say: receives a warning where the file system has no locks.
      name: of the lock's file.
      option: of the folder, for messages.
      busy: says of the process that has locked it what it does, for the message.

    Raises:
      InputError: another process, which is named, has locked the folder.
    """
    handle = os.open(workdir / name, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o666)
    with open(handle, 'r+') as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = file.read(200).strip() or 'another process'
            raise InputError(f'{option}={workdir}: {holder} {busy}: '
                             f'wait for its end, or choose another {option}') from None
        except OSError as error:
            say(f'warning: {workdir}: the file system has no locks ({error.strerror}): a second process there '
                'would not be noticed')
        file.truncate(0)
        file.write(f'process {os.getpid()} on {socket.gethostname()}, since {datetime.datetime.now():%Y-%m-%d %H:%M},')
        file.flush()
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                file.truncate(0)


def is_held(workdir: pathlib.Path) -> bool:
    """Whether another process has locked a run's folder."""
    try:
        with (workdir / NAME).open('r+') as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, or no locks
        pass
    return False


def check_shared(workdir: pathlib.Path) -> None:
    """Checks that all processes of a run see the folder that process 0 has locked.

    Raises:
      InputError: some do not; they are named.
    """
    holder = distributed.on_first((workdir / NAME).read_text)
    end, seen = time.monotonic() + SHARED_WITHIN, False
    while not seen and time.monotonic() < end:
        with contextlib.suppress(OSError):
            seen = (workdir / NAME).read_text() == holder
        time.sleep(0 if seen else 0.2)
    found = distributed.gathered((socket.gethostname(), seen))
    missing = [f'process {number} on {host}' for number, (host, seen) in enumerate(found) if not seen]
    if missing:
        raise InputError(f'--workdir={workdir}: {few(missing)} cannot see what process 0 on {found[0][0]} writes there;'
                         ' expected a folder that all machines share')
