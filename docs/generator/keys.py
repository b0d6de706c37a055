"""Sections of a config: every key with its type, default and meaning, from the function that a section is bound to."""

import dataclasses
import importlib
import inspect
import math
import types
import typing
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any, Literal

from generator import docstrings
from medjax import assemble, build, options
from medjax.clinic.options import DicomOptions
from medjax.core import config, optim, sharding
from medjax.core.config import REQUIRED, Key
from medjax.data.transforms import augment
from medjax.losses import image_similarity, segmentation
from medjax.ops import instance_optimisation
from medjax.report.study import Study
from medjax.tasks import family


@dataclasses.dataclass(frozen=True)
class KeyDoc:
    """A key of a section.

    Attributes:
      name: the key.
      type: its type, in words.
      default: its default as written in a config; '' for a key that a config must have.
      meaning: what it does; '' where the docstring does not say it.
    """

    name: str
    type: str
    default: str
    meaning: str


@dataclasses.dataclass(frozen=True)
class Section:
    """A section of a config, bound to one function or class.

    Attributes:
      name: what the config calls it.
      path: the module's file, relative to the checkout.
      introduction: Markdown.
      keys: the keys.
      variants: of a model, the options of each variant.
    """

    name: str
    path: str
    introduction: str
    keys: Sequence[KeyDoc]
    variants: Mapping[str, Mapping[str, Any]] = dataclasses.field(default_factory=dict)


HIDDEN = ('parent', 'name', 'dtype')  # fields of a model that are no keys
# Keys that `build` and `assemble` read themselves, with their meaning.
NAME = 'name of the module, see the headings of this page'
COMMON = {
    'model': {'name': ('str', NAME),
              'variant': ('str', 'a set of options, see the table of variants; the first one by default')},
    'data': {'name': ('str', NAME), 'source': ('section', 'where the cases come from, see [sources](sources.md) and '
                                               '[simulated data](simulated.md)'),
             'calibrate': ('float in [0, 1) or int ≥ 1', 'the `calibrate` of the source, which may stand here'),
             'fold': ('int ≥ 0 or list of int ≥ 0', 'the `fold` of the source, which may stand here'),
             'folds': ('int ≥ 0 or list of int ≥ 0', 'the `folds` of the source, which may stand here')},
    'source': {'name': ('str', NAME)},
    'task': {'name': ('str', 'name of the task, see the headings of this page')},
    'evaluate': {'name': ('str', 'name of the family; by default that of the task'),
                 'every': ('int ≥ 0', 'number of steps between validations; 0, the default, for none during training')},
    'augment': {'name': ('str', 'name of the recipe: ' + ', '.join(f'`{name}`' for name in augment.RECIPES))},
}
ACCUMULATE = KeyDoc('accumulate', 'int ≥ 1', '1', 'number of micro-batches of a batch, whose gradients are averaged.')
# Keys of a task that are sections of their own.
NESTED = {'registration': {'refine': instance_optimisation.OptimisationOptions}}


def plain_type(annotation: Any) -> str:
    """A type in words, with the range of its numbers, such as 'list of int ≥ 1'.

    Args:
      annotation: the type.
    """
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Annotated:
        limits = [interval(extra) for extra in parts[1:] if isinstance(extra, options.Range)]
        return ' '.join([plain_type(parts[0]), *filter(None, limits)])
    if origin is Literal:
        *others, last = (f'`{choice!r}`' for choice in parts)
        return ' or '.join(filter(None, [', '.join(others), last]))
    if len(members := options.alternatives(annotation)) > 1:
        return ' or '.join(dict.fromkeys(plain_type(member) for member in members))
    if origin is tuple and Ellipsis not in parts:
        if len(set(parts)) == 1:
            return f'{len(parts)} × {plain_type(parts[0])}'
        return f'({", ".join(map(plain_type, parts))})'
    if origin in (tuple, Sequence):
        return f'list of {plain_type(parts[0])}'
    if origin is Mapping:
        return 'section' if parts[-1] is Any else f'section of {plain_type(parts[-1])}'
    return 'None' if annotation is types.NoneType else getattr(annotation, '__name__', str(annotation))


def interval(limits: options.Range) -> str:
    """A range of numbers in mathematical notation: '≥ 0', or '[0, 1)' where 0 is included and 1 is not."""
    if math.isinf(limits.low) and math.isinf(limits.high):
        return ''
    if math.isinf(limits.high):
        return f'{">" if limits.open_low else "≥"} {limits.low:g}'
    if math.isinf(limits.low):
        return f'{"<" if limits.open_high else "≤"} {limits.high:g}'
    return (f'in {"(" if limits.open_low else "["}{limits.low:g}, {limits.high:g}'
            f'{")" if limits.open_high else "]"}')


def plain_default(value: Any) -> str:
    """A default as a config has it; '' for a key without one."""
    if value is REQUIRED:
        return ''
    if callable(getattr(value, 'unfreeze', None)):
        value = value.unfreeze()
    if isinstance(value, float):
        return repr(float(f'{value:.4g}'))
    return repr(dict(value)) if isinstance(value, Mapping) else repr(value)


def documented(function: Callable[..., Any], given: Sequence[str] = ()) -> list[KeyDoc]:
    """The keys of the section that a function is bound to, with their meanings."""
    groups = {field.name: parameter.default for parameter in inspect.signature(function).parameters.values()
              if dataclasses.is_dataclass(parameter.default) and not isinstance(parameter.default, type)
              for field in dataclasses.fields(parameter.default)}
    return [key_doc(key, type(groups[name]) if name in groups else function)
            for name, key in config.keys(function, given).items()]


def key_doc(key: Key, owner: Any) -> KeyDoc:
    """A key with its meaning by the docstring of its owner."""
    return KeyDoc(key.name, plain_type(key.type), plain_default(key.default), docstrings.meaning(owner, key.name))


def common(kind: str) -> list[KeyDoc]:
    """The keys that every section of a kind has."""
    return [KeyDoc(name, written, '', text) for name, (written, text) in COMMON[kind].items()]


def groups_of(function: Callable[..., Any]) -> list[Any]:
    """The groups of options, as dataclass instances with their defaults, that a function takes."""
    return [parameter.default for parameter in inspect.signature(function).parameters.values()
            if dataclasses.is_dataclass(parameter.default) and not isinstance(parameter.default, type)]


def path_of(module: str) -> str:
    """A module's file, relative to the checkout."""
    return module.replace('.', '/') + '.py'


def model_sections() -> list[Section]:
    """The models: the fields of each `Model`, and its variants."""
    found = []
    for name, path in sorted(build.KINDS['model'].modules().items()):
        module = importlib.import_module(path)
        model = module.Model
        keys = [Key(field.name, REQUIRED if field.default is dataclasses.MISSING and
                    field.default_factory is dataclasses.MISSING else field.default
                    if field.default is not dataclasses.MISSING else field.default_factory(), field.type)
                for field in dataclasses.fields(model) if field.name not in HIDDEN]
        found.append(Section(name, path_of(path), docstrings.introduction(module),
                             [key_doc(key, model) for key in keys], module.VARIANTS))
    return found


def module_sections(kind: str, given: Sequence[str] = ()) -> list[Section]:
    """The modules of a kind of `build.KINDS` that have its attribute."""
    found = []
    for name, path in sorted(build.KINDS[kind].modules().items()):
        module = importlib.import_module(path)
        function = getattr(module, build.KINDS[kind].attribute, None)
        if function is not None:
            found.append(Section(name, path_of(path), docstrings.introduction(module), documented(function, given)))
    return found


def task_sections() -> list[tuple[str, str, list[Section], Section]]:
    """For each family its name, its introduction, its tasks and its evaluator."""
    found = []
    for name in family.names():
        declared = family.find(name)
        tasks = []
        for task, module in declared.tasks.items():
            function = declared.function(module, 'task')
            keys = documented(function, ('module', 'statistics'))
            keys += kind_keys(importlib.import_module(f'{declared.package}.{module}'))
            tasks.append(Section(task, path_of(f'{declared.package}.{module}'),
                                 docstrings.introduction(function), keys))
        make = declared.function('evaluator', 'evaluator')
        evaluator = Section(name, path_of(f'{declared.package}.evaluator'), docstrings.introduction(make),
                            documented(make, ('data', 'task')))
        text = docstrings.introduction(importlib.import_module(f'{declared.package}.family'))
        found.append((name, text, tasks, evaluator))
    return found


def nested_sections(task: str) -> list[Section]:
    """The sections within a task's section."""
    return [Section(key, path_of(owner.__module__), docstrings.introduction(owner), documented(owner))
            for key, owner in NESTED.get(task, {}).items()]


def kind_keys(module: Any) -> list[KeyDoc]:
    """Keys of a task that depend on its `kind`: the fields of the classes in the module's table KINDS."""
    kinds = getattr(module, 'KINDS', {})
    found: dict[str, list[tuple[str, KeyDoc]]] = {}
    for kind, owner in kinds.items() if isinstance(kinds, Mapping) else ():
        for key in documented(owner):
            found.setdefault(key.name, []).append((kind, key))
    out = []
    for of in found.values():
        alike = len({key for _, key in of}) == 1 and len(of) == len(kinds)
        out += [key if alike else dataclasses.replace(key, meaning=key.meaning and f"kind='{kind}': {key.meaning}")
                for kind, key in (of[:1] if alike else of)]
    return out


def top_sections() -> list[Section]:
    """The top level of a config, and the sections that `assemble` reads."""
    sections = [('config', assemble._experiment, ()), ('checkpoint', assemble.checkpointing, ('metrics', 'name')),
                ('log', assemble.logging, ()), ('debug', assemble.debugging, ()), ('init', assemble.initial, ()),
                ('mesh', sharding.Jit, ('devices',)), ('study', Study, ()), ('report', assemble.reporting, ()),
                ('dicom', DicomOptions, ())]
    return [Section(name, path_of(function.__module__), docstrings.introduction(function), documented(function, given))
            for name, function, given in sections]


def augment_section() -> Section:
    """Augmentation: the fields of `Recipe`, and the recipes as variants."""
    return Section('augment', path_of(augment.__name__), docstrings.introduction(augment), documented(augment.Recipe),
                   augment.RECIPES)


def table_sections(table: Mapping[str, Any], given: Sequence[str]) -> list[Section]:
    """Entries of a table of functions or classes, each with its options."""
    return [Section(name, path_of(item.__module__), docstrings.introduction(item), documented(item, given))
            for name, item in table.items()]


def loss_sections() -> dict[str, list[Section]]:
    """Losses that a config names, by the page's headings."""
    return {
        'Terms of `task.loss` (segmentation, tumour growth)': table_sections(segmentation.TERMS, ('v', 'inputs')),
        'Names of `task.similarity` (registration)': table_sections(image_similarity.DISSIMILARITIES,
                                                                    ('fixed', 'moved')),
    }


def optim_keys() -> list[KeyDoc]:
    """The keys of the section `optim` that no optimiser has of its own."""
    return [*documented(optim._parameter_group, ('steps', 'path')), ACCUMULATE,
            *documented(optim.make_optimiser, ('steps', 'frozen'))]


def optim_sections() -> dict[str, list[Section]]:
    """Optimisers and schedules, by the page's headings."""
    return {
        'Names of `optim.name`': table_sections(optim.OPTIMISERS, ('lr',)),
        'Names of `optim.schedule.name`': table_sections(optim.SCHEDULES, ('lr', 'steps')),
    }
