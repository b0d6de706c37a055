"""What a file may ask of memory, and how one is written whole or not at all."""

import contextlib
import errno
import os
import pathlib

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


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Writes a file under a temporary name in its folder, which it makes, then gives it its own name.

    Raises:
      InputError: where it cannot be written; the file of that name, if there was one, is as before.
    """
    part = path.with_name(f'.{path.name[-100:]}.{os.getpid()}.part')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part.write_bytes(content)
        os.replace(part, path)
    except OSError as error:
        why = 'no space left' if error.errno in (errno.ENOSPC, errno.EDQUOT) else error.strerror
        raise InputError(f'{path}: cannot be written: {why}; expected room in a folder that can be written to'
                         ) from error
    finally:
        with contextlib.suppress(OSError):
            part.unlink(missing_ok=True)
