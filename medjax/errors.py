"""The exception for invalid input, which errors end a command with one line, and how messages list names."""

import errno
from collections.abc import Sequence

NAMED = 5
MENDABLE = {errno.ENOSPC: 'no space left', errno.EDQUOT: 'no space left', errno.EACCES: 'no permission',
            errno.EROFS: 'read-only file system', errno.ENOTDIR: 'not a folder', errno.EPERM: 'no permission',
            errno.ESTALE: 'no longer there (stale file handle)', errno.EIO: 'input/output error of the device',
            errno.ENOTCONN: 'its file system is no longer connected'}


class InputError(ValueError):
    """Invalid input: a file, a field or a config key.

    The message is one line that names the file or the field, what was found there, and what was expected. Entry points
    print it and exit with code 2, without a traceback; any other exception is a bug in medjax.

    Args:
      message: the line. Characters that cannot be printed are escaped: names and fields come from files, whose bytes a
        terminal must not take for commands.
    """

    def __init__(self, message: str):
        super().__init__(''.join(map(_printable, message)))


def is_full(error: BaseException) -> bool:
    """Whether an error, or what led to it, is a full disk."""
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, OSError) and cause.errno in (errno.ENOSPC, errno.EDQUOT):
            return True
        cause = cause.__cause__
    return False


def as_line(error: BaseException) -> str | None:
    """The line that a command ends with for an error that its user can mend; None for a bug."""
    line = None
    if isinstance(error, InputError):
        line = str(error)
    elif isinstance(error, FileNotFoundError) and error.filename:
        line = f'{error.filename}: no such file or folder; expected it to stay there while the command runs'
    elif isinstance(error, OSError) and error.errno in MENDABLE:
        line = f'{error.filename or "a file of the run"}: {MENDABLE[error.errno]}'
    return None if line is None else ' '.join(line.split())


def _printable(character: str) -> str:
    """A character as it may be printed in a line."""
    if character.isprintable():
        return character
    return ' ' if character in '\n\t' else character.encode('unicode_escape').decode()


def few(names: Sequence[str]) -> str:
    """The first few names as text, with an ellipsis where there are more."""
    shown = ', '.join(names[:NAMED])
    return f'{shown}, …' if len(names) > NAMED else shown
