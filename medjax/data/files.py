"""What a file may ask of memory."""

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
