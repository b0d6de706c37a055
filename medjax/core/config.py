"""Config sections: each is bound to the function that reads it, whose signature is the schema of the section."""

import dataclasses
import difflib
import hashlib
import inspect
import json
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, NamedTuple

from ml_collections import config_dict

from medjax import atomic_files, options
from medjax.errors import InputError

REQUIRED = inspect.Parameter.empty  # the default of a key that a config must have


class Key(NamedTuple):
    """A key that a config section takes: its name, its default (`REQUIRED` for none) and its annotated type."""

    name: str
    default: Any
    type: Any


def keys(function: Callable[..., Any], given: Collection[str] = ()) -> dict[str, Key]:
    """The keys that a config section may have when it is bound to a function.

    A parameter whose default is a frozen dataclass stands for a group of options, such as those that say how patients
    are split: the fields of the dataclass are keys of the section.

    Args:
      function: takes the section's keys as keyword parameters.
      given: parameters that are no keys, since the caller provides them.

    Returns:
      The keys by name, in the order of the signature.
    """
    out: dict[str, Key] = {}
    for parameter in inspect.signature(function).parameters.values():
        if parameter.name in given or parameter.kind not in (parameter.KEYWORD_ONLY, parameter.POSITIONAL_OR_KEYWORD):
            continue
        if _is_group(parameter):
            for field in dataclasses.fields(parameter.default):
                default = getattr(parameter.default, field.name)
                out[field.name] = Key(field.name, default, field.type)
        else:
            default = REQUIRED if parameter.default is inspect.Parameter.empty else parameter.default
            out[parameter.name] = Key(parameter.name, default, parameter.annotation)
    return out


def _is_group(parameter: inspect.Parameter) -> bool:
    """Whether a parameter stands for a group of options."""
    return dataclasses.is_dataclass(parameter.default) and not isinstance(parameter.default, type)


def bind(function: Callable[..., Any], section: Mapping[str, Any], where: str, **given: Any) -> Any:
    """Calls `function` with a config section as keyword arguments: its signature is the section's schema.

    An unknown key and a missing required key are both refused by name, so that no option of a config is silently
    without effect. So is a value that is not of the key's annotated type and range, see `medjax.options`.

    Args:
      function: takes the section's keys as keyword parameters, see `keys`; a parameter without default is a required
        key.
      section: the config section.
      where: the section's path, such as 'config.optim'.
      **given: arguments that the caller provides; they are no keys of the config.

    Returns:
      What the function returns.

    Raises:
      InputError: naming the unknown or the missing key and the keys that the section takes, or the key whose value is
        not of its type or out of its range.
    """
    check(function, section, where, given)
    arguments = dict(section)
    for parameter in inspect.signature(function).parameters.values():
        if _is_group(parameter) and parameter.name not in given:
            names = [field.name for field in dataclasses.fields(parameter.default)]
            own = {name: arguments.pop(name) for name in names if name in arguments}
            arguments[parameter.name] = dataclasses.replace(parameter.default, **own)
    return function(**given, **arguments)


def check(function: Callable[..., Any], section: Mapping[str, Any], where: str, given: Collection[str] = ()) -> None:
    """Checks a section's keys and values as `bind` does, without a call of the function.

    Args:
      function: see `bind`, as for section and where.
      section: …
      where: …
      given: names of the arguments that the caller of the function provides.

    Raises:
      InputError: see `bind`.
    """
    known = keys(function, given)
    if not any(p.kind is p.VAR_KEYWORD for p in inspect.signature(function).parameters.values()):
        for key in section:
            if key not in known:
                raise InputError(unknown_key(key, list(known), where))
    for key in known.values():
        if key.default is REQUIRED and key.name not in section:
            raise InputError(f'{where}.{key.name}: this key is missing; {where} takes: {", ".join(known)}')
    for key in section:
        if key in known:
            options.check(section[key], known[key].type, f'{where}.{key}')


def unknown_key(key: str, known: Sequence[str], where: str) -> str:
    """The message that refuses a key that a section does not take, with the nearest one that it takes."""
    near = difflib.get_close_matches(key, known, n=1, cutoff=0.5)
    hint = f'did you mean {near[0]!r}? ' if near else ''
    return f'{where}.{key}: unknown key; {hint}{where} takes: {", ".join(known) or "no key"}'


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
    return _locked(json.loads(text))


def read(path: pathlib.Path) -> config_dict.ConfigDict:
    """The config in a run's `config.json`, see `from_json`.

    Raises:
      InputError: the file is missing or damaged.
    """
    value = atomic_files.read_json(path, 'the config of a run')
    for name in ('model', 'task', 'data', 'optim', 'evaluate'):
        if not isinstance(value.get(name), dict):
            raise InputError(f'{path}: damaged: {name} is {value.get(name, "missing")!r}; expected a section, as in '
                             'the config of a run')
    try:
        return _locked(value)
    except ValueError as error:  # a key that no config can have
        raise InputError(f'{path}: damaged: {error}; expected the config of a run') from error


def digest(path: pathlib.Path) -> str:
    """SHA-256 of a config file's content."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def _locked(plain: Mapping[str, Any]) -> config_dict.ConfigDict:
    """A locked config of plain data."""
    def tuples(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: tuples(item) for key, item in value.items()}
        return tuple(map(tuples, value)) if isinstance(value, list) else value
    return config_dict.ConfigDict(tuples(plain)).lock()
