"""The exception for invalid input, and how messages list names."""

from collections.abc import Sequence

NAMED = 5


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


def _printable(character: str) -> str:
    """A character as it may be printed in a line."""
    if character.isprintable():
        return character
    return ' ' if character in '\n\t' else character.encode('unicode_escape').decode()


def few(names: Sequence[str]) -> str:
    """The first few names as text, with an ellipsis where there are more."""
    shown = ', '.join(names[:NAMED])
    return f'{shown}, …' if len(names) > NAMED else shown
