"""The exception for invalid input, and how messages list names."""

from collections.abc import Sequence

NAMED = 5


class InputError(ValueError):
    """Invalid input: a file, a field or a config key.

    The message is one line that names the file or the field, what was found there, and what was expected. Entry points
    print it and exit with code 2, without a traceback; any other exception is a bug in medjax.
    """


def few(names: Sequence[str]) -> str:
    """The first few names as text, with an ellipsis where there are more."""
    shown = ', '.join(names[:NAMED])
    return f'{shown}, …' if len(names) > NAMED else shown
