"""What a config may say: sections are bound to the functions that read them, by name."""

import inspect
import json
from collections.abc import Callable, Mapping
from typing import Any

from ml_collections import config_dict

from medjax.errors import InputError


def bind(function: Callable[..., Any], section: Mapping[str, Any], where: str, **given: Any) -> Any:
    """Calls `function` with a config section as keyword arguments: its signature is the section's schema.

    A key that the function does not read and a key that it needs and does not get are both refused by name, so that
    no option of a config is silently without effect.

    Args:
      function: takes the section's keys as keyword parameters; a parameter without default is a required key.
      section: the config section.
      where: the section's path, such as 'config.optim'.
      **given: arguments that the caller provides; they are no keys of the config.

    Returns:
      What the function returns.

    Raises:
      InputError: naming the unknown or the missing key and the keys that the section takes.
    """
    parameters = inspect.signature(function).parameters.values()
    named = {p.name: p for p in parameters if p.kind in (p.KEYWORD_ONLY, p.POSITIONAL_OR_KEYWORD)}
    keys = [name for name in named if name not in given]
    if not any(p.kind is p.VAR_KEYWORD for p in parameters):
        for key in section:
            if key not in keys:
                raise InputError(f'{where}.{key}: nothing reads this key; {where} takes: {", ".join(keys) or "no key"}')
    for key in keys:
        if named[key].default is inspect.Parameter.empty and key not in section:
            raise InputError(f'{where}.{key}: this key is missing; {where} takes: {", ".join(keys)}')
    return function(**given, **section)


def choose(table: Mapping[str, Any], name: str, where: str) -> Any:
    """Looks a name of the config up in a table.

    Raises:
      InputError: naming the key, the unknown name and the known ones.
    """
    if name not in table:
        raise InputError(f'{where}: {name!r} is not known; expected one of: {", ".join(sorted(table))}')
    return table[name]


def to_json(config: Mapping[str, Any]) -> str:
    """Writes a config (nested mappings of numbers, strings, lists, tuples and None) as JSON."""
    plain = config.to_dict() if isinstance(config, config_dict.ConfigDict) else config
    try:
        return json.dumps(plain, indent=1) + '\n'
    except TypeError as error:
        raise InputError(f'config: a value is not plain data (numbers, strings, lists, None): {error}') from None


def from_json(text: str) -> config_dict.ConfigDict:
    """Reads what `to_json` wrote, locked; lists come back as tuples, as configs write them."""
    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(item) for key, item in value.items()}
        return tuple(map(tuples, value)) if isinstance(value, list) else value
    return config_dict.ConfigDict(tuples(json.loads(text))).lock()
