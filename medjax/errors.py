"""The one exception that a user's mistake ends in."""


class InputError(ValueError):
    """Bad input from outside: a file, a field or a config key.

    The message is one line that names the file or the field, what was found there, and what was expected. Entry points
    print it and exit with code 2, without a traceback; any other exception is a fault of medjax.
    """
