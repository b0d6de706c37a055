"""The only place where names in a config become objects.

A section's `name` is the name of a module, and every module of its kind has one attribute that makes its object:
`models/NAME.py: Model`, `data/datasets/NAME.py: dataset`, `data/sources/NAME.py: source`, `weights/NAME.py: read`. A
family may have a data set and a source of its own, `tasks/NAME/dataset.py` and `tasks/NAME/source.py`; simulated
sources are `simulated_NAME`, in `data/simulated/NAME.py`. A name with a dot is a module of your own, on Python's path.
Tasks and evaluators are found through their family (`tasks/family.py`). All other keys of the section are keyword
arguments.
"""

import dataclasses
import importlib
import importlib.util
import pathlib
import pkgutil
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import flax.linen as nn
import numpy as np
import optax

from medjax import options
from medjax.core import config as configs
from medjax.core import contracts, optim
from medjax.core.config import bind, check, choose, unknown_key
from medjax.core.task import Task
from medjax.data import splits
from medjax.data.io import image_files
from medjax.data.source import Source
from medjax.data.transforms.augment import RECIPES, Recipe
from medjax.errors import InputError
from medjax.tasks import family

SPLIT_KEYS = ('calibrate', 'fold', 'folds')  # keys of config.data that the source reads
NESTED = ('nested cross-validation: all patients are assigned to splits by folds; a test split that the data set or '
          'the config names is not used, so that results cannot be compared with those published for it')


@dataclasses.dataclass(frozen=True)
class Kind:
    """Where modules of one kind are found.

    Attributes:
      attribute: what each module has.
      packages: packages, each with the prefix of the names of its modules.
      own: the module of a family that is of this kind; '' for none.
    """

    attribute: str
    packages: Mapping[str, str]
    own: str = ''

    def modules(self) -> dict[str, str]:
        """All modules by the name that a config has."""
        out = {}
        for package, prefix in self.packages.items():
            path = importlib.import_module(package).__path__
            out |= {f'{prefix}{module.name}': f'{package}.{module.name}' for module in pkgutil.iter_modules(path)}
        for name in family.names() if self.own else ():
            own = f'medjax.tasks.{name}.{self.own}'
            if importlib.util.find_spec(own):
                out.setdefault(name, own)
        return out


KINDS = {
    'model': Kind('Model', {'medjax.models': ''}),
    'data': Kind('dataset', {'medjax.data.datasets': ''}, own='dataset'),
    'source': Kind('source', {'medjax.data.sources': '', 'medjax.data.simulated': 'simulated_'}, own='source'),
    'weights': Kind('read', {'medjax.weights': ''}),
}


def attribute(kind: str, section: Mapping[str, Any], where: str) -> tuple[Any, dict[str, Any]]:
    """Finds the module that a section names, and the section's other keys.

    Args:
      kind: one of KINDS.
      section: with `name`.
      where: the section's path in the config, for messages.

    Returns:
      The module's attribute, and the other keys.

    Raises:
      InputError: no module of this kind has the name; the message has the known names.
    """
    options = dict(section)
    name, of = options.pop('name', None), KINDS[kind]
    modules = of.modules()
    if isinstance(name, str) and '.' in name and importlib.util.find_spec(name.partition('.')[0]):
        modules[name] = name
    module = importlib.import_module(modules[name]) if name in modules else None
    if not hasattr(module, of.attribute):
        names = [n for n, path in modules.items() if hasattr(importlib.import_module(path), of.attribute)]
        raise InputError(f'{where}.name: {name!r} is not known; expected one of: {", ".join(sorted(names))}')
    return getattr(module, of.attribute), options


def network(section: Mapping[str, Any], precision: str) -> nn.Module:
    """The network: a variant's fields, overridden by the section's."""
    make, given = attribute('model', section, 'config.model')
    table = importlib.import_module(make.__module__).VARIANTS
    fields = dict(choose(table, given.pop('variant', next(iter(table))), 'config.model.variant'))
    allowed = [name for name in make.__dataclass_fields__ if name not in ('parent', 'name', 'dtype')]
    for key in given:
        if key not in allowed:
            raise InputError(unknown_key(key, allowed, 'config.model'))
    options.check_all(make, given, 'config.model')
    missing = [f.name for f in dataclasses.fields(make) if f.default is dataclasses.MISSING and f.name in allowed
               and f.default_factory is dataclasses.MISSING and f.name not in {**fields, **given}]
    if missing:
        raise InputError(f'config.model.{missing[0]}: this key is missing; config.model takes: {", ".join(allowed)}')
    return make(**{**fields, **given, 'dtype': precision})


def dataset(section: Mapping[str, Any]) -> contracts.Dataset:
    """The data set over the source that the section names."""
    make, options, make_source, keys, splitting = _data_functions(section)
    source = bind(make_source, keys, 'config.data.source')
    if splitting:
        cases = bind(splits.CrossValidation, splitting, 'config.data.source').resplit(source.cases, seed=0)
        source = dataclasses.replace(source, cases=tuple(cases))
    if splits.is_nested({**keys, **splitting}.get('folds', 0)):
        source = dataclasses.replace(source, warnings=(*source.warnings, NESTED))
    return bind(make, options, 'config.data', source=source)


def dataset_source(section: Mapping[str, Any]) -> Source:
    """The source that a section of config.data.source describes."""
    make, keys = attribute('source', section, 'config.data.source')
    return bind(make, keys, 'config.data.source')


def check_dataset(section: Mapping[str, Any]) -> None:
    """Checks the keys and values of a data set's section and of its source, without reading the data.

    Raises:
      InputError: see `core.config.check`.
    """
    make, options, make_source, keys, splitting = _data_functions(section)
    check(make_source, keys, 'config.data.source')
    check(splits.CrossValidation, splitting, 'config.data.source')
    check(make, options, 'config.data', ['source'])


def _data_functions(section: Mapping[str, Any]) -> tuple[Any, dict[str, Any], Any, dict[str, Any], dict[str, Any]]:
    """The function of a data set with its options, and that of its source with its keys and the split options for it.

    The last are empty for a source that takes folds itself.
    """
    make, options = attribute('data', section, 'config.data')
    make_source, keys = attribute('source', options.pop('source', None) or {}, 'config.data.source')
    # These are what is changed from run to run, so they have the shorter name.
    keys |= {name: options.pop(name) for name in SPLIT_KEYS if name in options}
    own = 'folds' in configs.keys(make_source)
    splitting = {} if own else {name: keys.pop(name) for name in SPLIT_KEYS if name in keys}
    return make, options, make_source, keys, splitting


def reader(section: Mapping[str, Any]) -> Callable[..., Any]:
    """The function that reads a new image as the source of a data set's section reads its own.

    A source may offer it as `image_reader(**keys)` beside `source`; else any image file is read as it is.
    """
    source_of, keys = attribute('source', section.get('source') or {}, 'config.data.source')
    module = importlib.import_module(source_of.__module__)
    return module.image_reader(**keys) if hasattr(module, 'image_reader') else image_files.read


def label_encoder(section: Mapping[str, Any]) -> Callable[[np.ndarray], np.ndarray]:
    """The function that turns predicted class numbers into the values or colours of the labels of a data set's source.

    A source may offer it as `label_encoder(**keys)` beside `source`; else class numbers are written.
    """
    source_of, keys = attribute('source', section.get('source') or {}, 'config.data.source')
    module = importlib.import_module(source_of.__module__)
    return module.label_encoder(**keys) if hasattr(module, 'label_encoder') else _same


def _same(numbers: np.ndarray) -> np.ndarray:
    return numbers


class Inputs(NamedTuple):
    """The files of new inputs.

    Attributes:
      suffixes: in lower case, of the files in a folder that are inputs; empty for those of images and videos.
      files: all files that an input is read from.
      output_name: the name of the file of labels of an input.
    """

    suffixes: tuple[str, ...] = ()
    files: Callable[[pathlib.Path], tuple[str, ...]] = image_files.files
    output_name: Callable[[pathlib.Path], str] = image_files.output_name


def inputs(section: Mapping[str, Any]) -> Inputs:
    """The files of new inputs of a data set's section.

    A source that reads other files than images has their endings as `SUFFIXES` beside `source`; one whose inputs are
    several files also has `input_files(path)` and `output_name(path)`.
    """
    source_of, _ = attribute('source', section.get('source') or {}, 'config.data.source')
    module = importlib.import_module(source_of.__module__)
    return Inputs(tuple(suffix.lower() for suffix in getattr(module, 'SUFFIXES', ())),
                  getattr(module, 'input_files', image_files.files),
                  getattr(module, 'output_name', image_files.output_name))


def augmentation(section: Mapping[str, Any]) -> Recipe:
    """The augmentation of a recipe's name and overrides."""
    options = dict(section)
    recipe = choose(RECIPES, options.pop('name', None), 'config.augment.name')
    return bind(Recipe, {**recipe, **options}, 'config.augment')


def task_of(section: Mapping[str, Any], module: nn.Module, statistics: Mapping[str, Any]) -> Task:
    """The task that the section names, for a network.

    Args:
      section: of the task.
      module: the network.
      statistics: of the training data.
    """
    options = dict(section)
    _, make = family.of_task(str(options.pop('name', '')))
    return bind(make, options, 'config.task', module=module, statistics=statistics)


def optimiser(section: Mapping[str, Any], steps: int,
              module: nn.Module | None = None) -> tuple[optax.GradientTransformation, Callable[[int], float]]:
    """The gradient transformation, and the learning rate by step; parts that the network calls `frozen` stay."""
    given = {key: value for key, value in section.items() if key != 'accumulate'}
    frozen = contracts.option(module, 'frozen')
    return bind(optim.make_optimiser, given, 'config.optim', steps=steps, frozen=frozen)


def plain(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config as a plain mapping."""
    return config.to_dict() if hasattr(config, 'to_dict') else config
