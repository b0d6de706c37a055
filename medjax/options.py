"""Types of options: ranges of numbers that are declared in annotations, and the check of a config's values by them.

    def evaluator(*, batch: Count = 64, coverage: Probability = 0.9): ...

An option's annotation is the only place that says which values it takes. `core.config.bind` checks the values of a
config by it, and the reference of config keys shows it.
"""

import dataclasses
import math
import numbers
import types
import typing
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Annotated, Any, Literal

from medjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Range:
    """The finite numbers that an option takes.

    Attributes:
      low: the lowest number.
      high: the highest number.
      open_low: whether `low` itself is excluded.
      open_high: whether `high` itself is excluded.
    """

    low: float = -math.inf
    high: float = math.inf
    open_low: bool = False
    open_high: bool = False

    def __contains__(self, value: float) -> bool:
        above = value > self.low if self.open_low else value >= self.low
        below = value < self.high if self.open_high else value <= self.high
        return math.isfinite(value) and above and below

    def __str__(self) -> str:
        """The range as it follows 'a number' in a message; '' for all finite numbers."""
        if math.isinf(self.low) and math.isinf(self.high):
            return ''
        if math.isinf(self.high):
            return f'{"above" if self.open_low else "of at least"} {self.low:g}'
        if math.isinf(self.low):
            return f'{"below" if self.open_high else "of at most"} {self.high:g}'
        if not self.open_low and not self.open_high:
            return f'from {self.low:g} to {self.high:g}'
        return (f'{"above" if self.open_low else "of at least"} {self.low:g} and '
                f'{"below" if self.open_high else "at most"} {self.high:g}')


Count = Annotated[int, Range(low=1)]
NonNegativeInt = Annotated[int, Range(low=0)]
Int = Annotated[int, Range()]
Positive = Annotated[float, Range(low=0, open_low=True)]
NonNegative = Annotated[float, Range(low=0)]
Probability = Annotated[float, Range(low=0, high=1)]
PositiveFraction = Annotated[float, Range(low=0, high=1, open_low=True)]
FractionBelowOne = Annotated[float, Range(low=0, high=1, open_high=True)]
InnerFraction = Annotated[float, Range(low=0, high=1, open_low=True, open_high=True)]
Float = Annotated[float, Range()]
Dims = Literal[1, 2, 3]
NUMBERS = {int: ('a whole number', 'whole numbers'), float: ('a number', 'numbers')}


def alternatives(annotation: Any) -> Sequence[Any]:
    """The members of a union, or the annotation itself."""
    union = typing.get_origin(annotation) in (typing.Union, types.UnionType)
    return typing.get_args(annotation) if union else (annotation,)


def accepts(annotation: Any, value: Any) -> bool:
    """Whether a value is of an annotated type and in its range.

    Lists and tuples stand for each other, and a whole number for a float; True and False are no numbers. Types that a
    config cannot hold, such as callables, accept everything.
    """
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if len(members := alternatives(annotation)) > 1:
        return any(accepts(member, value) for member in members)
    if origin is Annotated:
        return accepts(inner[0], value) and all(value in extra for extra in inner[1:] if isinstance(extra, Range))
    if origin is Literal:
        return any(value == choice and type(value) is type(choice) for choice in inner)
    if annotation in (None, types.NoneType):
        return value is None
    if annotation in (bool, str):
        return isinstance(value, annotation)
    if annotation in (int, float):
        kind = numbers.Integral if annotation is int else numbers.Real
        return isinstance(value, kind) and not isinstance(value, bool)
    if origin is tuple and Ellipsis not in inner:
        return _is_list(value) and len(value) == len(inner) and all(map(accepts, inner, value))
    if origin in (tuple, Sequence):
        return _is_list(value) and all(accepts(inner[0], item) for item in value)
    if origin is Mapping or annotation is Mapping:
        return isinstance(value, Mapping) and (not inner or all(
            accepts(inner[0], key) and accepts(inner[1], item) for key, item in value.items()))
    return callable(value) if origin is Callable else True


def _is_list(value: Any) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str)


def description(annotation: Any, plural: bool = False) -> str:
    """Words for what an annotation accepts, such as 'a whole number of at least 1'."""
    origin, inner = typing.get_origin(annotation), typing.get_args(annotation)
    if len(members := alternatives(annotation)) > 1:
        *rest, last = dict.fromkeys(description(member, plural) for member in members)
        return f'{", ".join(rest)} or {last}' if rest else last
    if origin is Annotated:
        extra = [str(item) for item in inner[1:] if isinstance(item, Range) and str(item)]
        return ' '.join([description(inner[0], plural), *extra])
    if origin is Literal:
        *rest, last = map(repr, inner)
        return f'{", ".join(rest)} or {last}' if rest else last
    if annotation in NUMBERS:
        return NUMBERS[annotation][plural]
    if annotation in (None, types.NoneType):
        return 'None'
    if annotation in (bool, str):
        return 'True or False' if annotation is bool else 'strings' if plural else 'a string'
    if origin is tuple and Ellipsis not in inner:
        if len(set(inner)) == 1:
            return f'{len(inner)} {description(inner[0], True)}'
        return f'{len(inner)} values: {", ".join(map(description, inner))}'
    if origin in (tuple, Sequence):
        return f'{"lists" if plural else "a list"} of {description(inner[0], True)}'
    if origin is Mapping or annotation is Mapping:
        if len(inner) == 2 and inner[1] is not Any:
            return f'{"sections" if plural else "a section"} of {description(inner[1], True)}'
        return 'sections, as in dict(…)' if plural else 'a section, as in dict(…)'
    return getattr(annotation, '__name__', str(annotation))


def check(value: Any, annotation: Any, where: str) -> None:
    """Refuses a value that an option does not take.

    Args:
      value: the value in a config.
      annotation: the option's type.
      where: the option's path in the config.

    Raises:
      InputError: naming the option, its value and what was expected.
    """
    if not accepts(annotation, value):
        raise InputError(f'{where}: {value!r}; expected {description(annotation)}')


def annotations(function: Callable[..., Any]) -> dict[str, Any]:
    """The annotations of a function's parameters or of a dataclass's fields, by name."""
    if dataclasses.is_dataclass(function):
        return {field.name: field.type for field in dataclasses.fields(function)}
    return dict(function.__annotations__)


def check_all(function: Callable[..., Any], values: Mapping[str, Any], where: str,
              leave: Collection[str] = ()) -> None:
    """Refuses values that a function's parameters, or a dataclass's fields, do not take.

    Args:
      function: a function or a dataclass.
      values: values by name; those of other names are left to the caller.
      where: the section's path in the config.
      leave: names that are not checked.
    """
    declared = annotations(function)
    for name, value in values.items():
        if name in declared and name not in leave:
            check(value, declared[name], f'{where}.{name}')
