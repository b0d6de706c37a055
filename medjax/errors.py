"""What a user is told: the one exception that a mistake ends in, and how a message names some of many."""

from collections.abc import Sequence

NAMED = 5


class InputError(ValueError):
    """Bad input from outside: a file, a field or a config key.

    The message is one line that names the file or the field, what was found there, and what was expected. Entry points
    print it and exit with code 2, without a traceback; any other exception is a fault of medjax.
    """


def few(names: Sequence[str]) -> str:
    """The first of many names, as messages print them."""
    return ', '.join(names[:NAMED]) + ', …' * (len(names) > NAMED)
