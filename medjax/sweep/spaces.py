"""The values that a search may choose from, as arguments of a command say them."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.errors import InputError


def import_optuna() -> Any:
    """Optuna.

    Raises:
      InputError: it is not installed.
    """
    try:
        import optuna
    except ImportError as error:
        raise InputError("--search needs Optuna; install it: pip install optuna, or medjax with its extra: pip install "
                         "--editable '.[search]'") from error
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    return optuna


def read(searched: Sequence[str]) -> dict[str, Any]:
    """Optuna's distribution of each key of the config.

    Args:
      searched: each 'KEY=log(LOW,HIGH)', 'KEY=uniform(LOW,HIGH)', 'KEY=int(LOW,HIGH)' or 'KEY=VALUE,VALUE'; commas in
        brackets belong to a value.

    Raises:
      InputError: Optuna is not installed; a search of another form.
    """
    distributions, out = import_optuna().distributions, {}
    for text in searched:
        key, _, given = text.partition('=')
        form = re.fullmatch(r'(log|uniform|int)\(([^,]+),([^,]+)\)', given.replace(' ', ''))
        values = re.split(r',(?![^(\[]*[)\]])', given)
        try:
            if form and form[1] == 'int':
                found = distributions.IntDistribution(int(form[2]), int(form[3]))
            elif form:
                found = distributions.FloatDistribution(float(form[2]), float(form[3]), log=form[1] == 'log')
            elif all(values) and len({*values}) == len(values) > 1:
                found = distributions.CategoricalDistribution(values)
            else:
                raise ValueError
        except ValueError:
            raise InputError(_expected(text)) from None
        if not key or key in out or (not hasattr(found, 'choices') and found.low >= found.high):
            raise InputError(_expected(text))
        out[key] = found
    return out


def _expected(text: str) -> str:
    return (f'--search={text}; expected KEY=log(LOW,HIGH), KEY=uniform(LOW,HIGH), KEY=int(LOW,HIGH), or '
            'KEY=VALUE,VALUE with different values, and each key once')


def ends(distributions: Mapping[str, Any]) -> list[list[str]]:
    """Arguments with the lowest and with the highest values, and with each of several values, to be checked."""
    choices = {key: getattr(of, 'choices', None) or (of.low, of.high) for key, of in distributions.items()}
    return [arguments({key: values[min(number, len(values) - 1)] for key, values in choices.items()})
            for number in range(max(map(len, choices.values())))]


def arguments(parameters: Mapping[str, Any]) -> list[str]:
    """The arguments of a training with these values."""
    return [f'--config.{key}={value:.6g}' if isinstance(value, float) else f'--config.{key}={value}'
            for key, value in parameters.items()]
