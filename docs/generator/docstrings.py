"""The meaning of parameters, from Args and Attributes of docstrings; references such as 'see `Frame`' are resolved."""

import functools
import importlib
import inspect
import pkgutil
import re
import sys
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import medjax

SECTIONS = ('Args', 'Attributes')
HEADING = re.compile(r'^(?:Args|Attributes|Returns|Raises|Yields)(?: \(.*\))?:\s*$', re.MULTILINE)
# 'see `REF`', 'see `REF`, as for a, b and c', 'see `REF`, also for a and b'; at the beginning or after a semicolon.
REFERENCE = re.compile(r'see `(?P<ref>[\w.]+)`(?:,? (?:as|also) for (?P<names>[\w, `]+?))?(?=[.;]|$)')
DOTS = '…'


def summary(item: Any) -> str:
    """The first sentence of a docstring, or its first line where it has none."""
    first = _paragraphs(inspect.getdoc(item) or '')[:1]
    return re.split(r'(?<=[.!?])\s', first[0])[0] if first else ''


def introduction(item: Any) -> str:
    """All paragraphs of a docstring ahead of its sections, as Markdown."""
    # A module's docstring is not indented, so that its code blocks have to stay where they are.
    text = item.__doc__ if inspect.ismodule(item) else inspect.getdoc(item)
    return HEADING.split(text or '')[0].strip()


def _paragraphs(text: str) -> list[str]:
    return [' '.join(part.split()) for part in re.split(r'\n\s*\n', text.strip()) if part.strip()]


def parameters(item: Any) -> dict[str, str]:
    """The text of each parameter or attribute of a docstring, in its order; continued lines are joined.

    A line of a text that begins with a word and a colon, as in a list of choices, stays a line of its own.
    """
    found: dict[str, str] = {}
    name, inside, indent = '', False, 0
    for line in (inspect.getdoc(item) or '').split('\n'):
        stripped, depth = line.strip(), len(line) - len(line.lstrip())
        heading = re.fullmatch(r'(\w+)(?: \(.*\))?:', stripped)
        if heading and depth == 0:
            inside, indent = heading[1] in SECTIONS, 0
            continue
        if not inside or not stripped:
            continue
        indent = indent or depth
        if depth < indent:
            inside = False
            continue
        entry = re.match(r'(\*{0,2}[\w/, ]+?)(?: \([^)]*\))?: ?(.*)', stripped) if depth == indent else None
        if entry:
            name = entry[1]
            found |= dict.fromkeys(name.split(', '), entry[2])
            name = name.split(', ')[-1]
        elif name:
            choice = depth == indent + 2 and found[name].endswith((':', ';')) and re.match(r'[\w ]+: ', stripped)
            found[name] += ('\n' if choice else ' ') + stripped
    return {key: text.strip() for key, text in found.items()}


def without_effect(item: Any) -> list[str]:
    """Inherited attributes that a docstring says to be without effect: 'of which `a` and `b` have no effect'."""
    found = re.search(r'of which ([\w`, ]+) (?:has|have) no effect', inspect.getdoc(item) or '')
    return re.findall(r'`(\w+)`', found[1]) if found else []


def meaning(item: Any, key: str) -> str:
    """The meaning of a parameter, with references resolved.

    Args:
      item: a function or class with a docstring, in a module of medjax.
      key: the parameter.

    Returns:
      The text; '' where the docstring has none, or where a reference leads nowhere.
    """
    return _meaning(item, key, ())


def _meaning(item: Any, key: str, visited: tuple[tuple[str, str], ...]) -> str:
    here = (f'{getattr(item, "__module__", "")}.{getattr(item, "__qualname__", "")}', key)
    if here in visited:
        return ''
    texts = parameters(item)
    if key in without_effect(item):
        return 'no effect'
    text = texts.get(key, '')
    if not text:
        return _inherited(item, key, texts, (*visited, here))
    if text.startswith(DOTS):
        for other in texts.values():
            for found in REFERENCE.finditer(other):
                if key in re.findall(r'\w+', found['names'] or ''):
                    return _resolved(found['ref'], key, item, (*visited, here)) + text[len(DOTS):]
        return ''
    found = REFERENCE.search(text)
    if found is None:
        return text
    before, after = text[:found.start()], text[found.end():]
    if before.strip():  # a text of its own; the reference says where more is
        return text if not found['names'] else f'{before}see `{found["ref"]}`{after}'
    resolved = _resolved(found['ref'], key, item, (*visited, here))
    return resolved and (resolved.rstrip('.') + after if after not in ('', '.') else resolved)


def _inherited(item: Any, key: str, texts: dict[str, str], visited: tuple[tuple[str, str], ...]) -> str:
    """The meaning of a parameter that stands under `**options: of `REF``, or in the docstring of a base class."""
    for name, text in texts.items():
        if name.startswith('**'):
            for ref in re.findall(r'`([\w.]+)`', text):
                found = _resolved(ref, key, item, visited)
                if found:
                    return found
    for base in getattr(item, '__mro__', ())[1:]:
        if base.__module__.startswith(medjax.__name__) and key in parameters(base):
            return _meaning(base, key, visited)
    return ''


def _resolved(ref: str, key: str, item: Any, visited: tuple[tuple[str, str], ...]) -> str:
    """The meaning of a key by the docstring that a reference names; the reference may end in the key itself."""
    for target in find(ref, sys.modules[item.__module__]):
        # A class that is named like the key, such as `Norm` for `norm`, is chosen by its `kind`.
        same = key == getattr(target, '__name__', '').lower()
        text = _meaning(target, key, visited) or (_meaning(target, 'kind', visited) if same else '')
        if text:
            return text
    head, _, last = ref.rpartition('.')
    for target in find(head, sys.modules[item.__module__]) if head else ():
        text = _meaning(target, last, visited)
        if text:
            return text
    return ''


def find(ref: str, module: ModuleType) -> Iterator[Any]:
    """The objects that a dotted name in a docstring may mean: as the module has it, then by its end in the package."""
    names = ref.split('.')
    found: Any = module
    for name in names:
        found = getattr(found, name, None)
    if found is not None:
        yield found
    head, _, last = ref.rpartition('.')
    for path in modules():
        if head and path.endswith(f'.{head}') and hasattr(imported(path), last):
            yield getattr(imported(path), last)
    if not head:
        for path in modules():
            if hasattr(imported(path), last) and getattr(getattr(imported(path), last), '__module__', '') == path:
                yield getattr(imported(path), last)


@functools.cache
def modules() -> tuple[str, ...]:
    """The modules of the package that may have options: none that are run as programs, or that draw."""
    return tuple(module.name for module in pkgutil.walk_packages(medjax.__path__, f'{medjax.__name__}.')
                 if module.name.count('.') > 1
                 and not re.search(r'\.(bench|report|chapter|charts|page|split|merge)\b', module.name))


@functools.cache
def imported(path: str) -> ModuleType:
    """A module by its dotted name."""
    return importlib.import_module(path)
