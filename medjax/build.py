"""The only place where names in a config become objects.

A section's `name` is the module's name in the room that the section is of, and every module there has one attribute
that makes its object: `models/NAME.py: Model`, `tasks/NAME.py: task`, `data/NAME.py: source` or `dataset`,
`evals/NAME.py: evaluator` and `predictor`, `weights/NAME.py: read`. All other keys of the section are its keyword
arguments. A source that reads images in a way of its own also has `image_reader`, which takes the same keys and makes
what reads a new image.
"""

import dataclasses
import importlib
import math
import pathlib
import pkgutil
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import optax
from flax.traverse_util import flatten_dict

from medjax.core import cost, optim
from medjax.core.config import bind, choose
from medjax.core.experiment import Experiment
from medjax.core.sharding import Jit, Pmap
from medjax.core.task import Task
from medjax.data import pipeline
from medjax.data.datasets.base import Parted
from medjax.data.io import image_files
from medjax.data.transforms.augment import RECIPES, Recipe
from medjax.errors import InputError
from medjax.metrics.classification import LOWER

FOLDS = ('fold', 'folds')  # keys of config.data that the source reads
RESIDENT = 0.25  # of a device's memory: what the training data may take of it, that it be kept there


def attribute(room: str, section: Mapping[str, Any], fixed: str, where: str) -> tuple[Any, dict[str, Any]]:
    """Finds the module that a section names, and the section's other keys.

    Returns:
      The module's `fixed` attribute, and the other keys.
    """
    options = dict(section)
    name = options.pop('name', None)
    package = importlib.import_module(f'medjax.{room}')
    names = [m.name for m in pkgutil.iter_modules(package.__path__)]
    module = importlib.import_module(f'medjax.{room}.{name}') if name in names else None
    if not hasattr(module, fixed):
        known = [n for n in names if hasattr(importlib.import_module(f'medjax.{room}.{n}'), fixed)]
        raise InputError(f'{where}.name: {name!r} is not known; expected one of: {", ".join(sorted(known))}')
    return getattr(module, fixed), options


def network(section: Mapping[str, Any], precision: str) -> nn.Module:
    """The network: a variant's fields, overridden by the section's."""
    make, options = attribute('models', section, 'Model', 'config.model')
    table = importlib.import_module(make.__module__).VARIANTS
    fields = dict(choose(table, options.pop('variant', next(iter(table))), 'config.model.variant'))
    known = [name for name in make.__dataclass_fields__ if name not in ('parent', 'name', 'dtype')]
    for key in options:
        if key not in known:
            raise InputError(f'config.model.{key}: unknown key; config.model takes: {", ".join(known)}')
    lacking = [f.name for f in dataclasses.fields(make) if f.default is dataclasses.MISSING and f.name in known
               and f.default_factory is dataclasses.MISSING and f.name not in {**fields, **options}]
    if lacking:
        raise InputError(f'config.model.{lacking[0]}: this key is missing; config.model takes: {", ".join(known)}')
    if precision not in ('float32', 'bfloat16'):
        raise InputError(f"config.precision: {precision!r}; expected 'float32' or 'bfloat16'")
    return make(**{**fields, **options, 'dtype': precision})


def dataset(section: Mapping[str, Any]) -> Any:
    """The data set over the source that the section names."""
    make, options = attribute('data', section, 'dataset', 'config.data')
    described = options.pop('source', None) or {}
    source_of, keys = attribute('data', described, 'source', 'config.data.source')
    # Folds are what is changed from run to run, so they have the shorter name.
    keys |= {name: options.pop(name) for name in FOLDS if name in options}
    source = bind(source_of, keys, 'config.data.source')
    return bind(make, options, 'config.data', source=source)


def reader(section: Mapping[str, Any]) -> Callable[..., Any]:
    """What reads a new image as the source of a data set's section reads its own."""
    source_of, keys = attribute('data', section.get('source') or {}, 'source', 'config.data.source')
    make = getattr(importlib.import_module(source_of.__module__), 'image_reader', None)
    return make(**keys) if make else image_files.read


def augmentation(section: Mapping[str, Any]) -> Recipe:
    """The augmentation that a recipe's name and overrides make."""
    options = dict(section)
    recipe = choose(RECIPES, options.pop('name', None), 'config.augment.name')
    return bind(Recipe, {**recipe, **options}, 'config.augment')


def experiment(config: Mapping[str, Any]) -> Experiment:
    """Makes all objects of a config; every key is read by one of them, or refused by name."""
    return bind(_experiment, plain(config), 'config')


def plain(config: Mapping[str, Any]) -> Mapping[str, Any]:
    """A config as a plain mapping."""
    return config.to_dict() if hasattr(config, 'to_dict') else config


def _experiment(*, seed: int, batch: int, model: Mapping[str, Any], task: Mapping[str, Any], data: Mapping[str, Any],
                optim: Mapping[str, Any], evaluate: Mapping[str, Any], steps: int = 0, epochs: int = 0,
                augment: Mapping[str, Any] | None = None, parallel: str = 'jit', mesh: Mapping[str, int] | None = None,
                precision: str = 'float32', checkpoint: Mapping[str, Any] | None = None,
                log: Mapping[str, Any] | None = None, debug: Mapping[str, Any] | None = None,
                resident: bool | None = None, init: Mapping[str, Any] | None = None) -> Experiment:
    if batch < 1 or min(steps, epochs) < 0 or max(steps, epochs) < 1:
        raise InputError(f'config.steps: {steps}, config.epochs: {epochs}, config.batch: {batch}; expected a batch of '
                         'at least 1, and steps, or else epochs, of at least 1')
    plan = bind(choose({'jit': Jit, 'pmap': _pmap}, parallel, 'config.parallel'), mesh or {}, 'config.mesh')
    cases = dataset(data)
    if (checkpoint or {}).get('best') and 'val' not in cases.counts:
        raise InputError(f"config.checkpoint.best: {checkpoint['best']!r} is measured on validation cases; the data "
                         f'set has {", ".join(cases.counts)} only')
    steps = steps or math.ceil(epochs * len(cases) / batch)
    module = network(model, precision)
    problem = task_of(task, module, cases.statistics)
    update, schedule = optimiser(optim, steps, module)
    for part in getattr(module, 'frozen', ()):
        if not init or init.get('part', '') not in ('', part) or part in init.get('reinitialise', ()):
            raise InputError(f'config.init: {init}; expected dict(name="run", path=…, part={part!r}): this part of '
                             'the network does not learn here, and begins with what another run has learned')
    make, options = attribute('evals', evaluate, 'evaluator', 'config.evaluate')
    every = options.pop('every', 0)
    if every and isinstance(cases, Parted) and 'val' not in cases.counts:
        raise InputError(f'config.evaluate.every: {every}; expected 0 for a data set that has '
                         f'{", ".join(cases.counts)} only: there is nothing to validate by')
    if options.get('features'):  # the folder of a run, whose network says what images are like
        of, _ = attribute('weights', {'name': 'run'}, 'features', 'config.evaluate.features')
        options['features'] = of(pathlib.Path(options['features']))
    evaluator = bind(make, options, 'config.evaluate', data=cases, task=problem)

    def keeping(*, every: int = 0, keep: int = 2, best: str = '', mode: str = '') -> dict[str, Any]:
        return {'save_every': every, 'keep': keep, 'best': best, 'mode': mode or direction(best)}

    def logging(*, every: int = 10) -> dict[str, Any]:
        return {'log_every': every}

    def debugging(*, skip_nonfinite: bool = False) -> dict[str, Any]:
        return {'skip_nonfinite': skip_nonfinite}

    return Experiment(task=problem, data=cases, batches=pipeline.Streamed(cases, seed=seed, batch=batch),
                      placed=_placed(cases, plan, resident, seed=seed, batch=batch),
                      augment=augmentation(augment) if augment else None, optimiser=update, schedule=schedule,
                      plan=plan, evaluator=evaluator, seed=seed, steps=steps, accumulate=optim.get('accumulate', 1),
                      init=bind(initial, init, 'config.init') if init else None,
                      eval_every=every, **bind(keeping, checkpoint or {}, 'config.checkpoint'),
                      **bind(logging, log or {}, 'config.log'), **bind(debugging, debug or {}, 'config.debug'))


def _placed(cases: Any, plan: Jit | Pmap, wanted: bool | None, **options: Any) -> pipeline.Placed | None:
    """The training data on the device: where it is wanted, or by itself where it leaves most of the room."""
    if wanted is False:
        return None
    resident = cases.resident() if plan.keeps and hasattr(cases, 'resident') else None
    if resident is not None and resident.size <= RESIDENT * cost.room(jax.local_devices()[0]):
        return pipeline.Placed(resident, len(cases), **options)
    if wanted:
        told = (f'the training data takes {resident.size / cost.GIB:.2f} GiB, and may take {RESIDENT:.0%} of a '
                "device's memory" if resident is not None else 'this data set, or this way to share the work, cannot')
        raise InputError(f'config.resident: True, but {told}; expected False or None')
    return None


def direction(metric: str) -> str:
    """Which values of a metric are better where the config does not say: 'min' for losses, errors and distances."""
    return 'min' if metric.startswith(LOWER) else 'max'


def _pmap(*, data: int = -1, fsdp: int = 1, space: int = 1) -> Pmap:
    if data != -1 or fsdp != 1 or space != 1:
        raise InputError("config.mesh: 'pmap' splits the batch over all devices; expected data=-1, fsdp=1, space=1")
    return Pmap()


def task_of(section: Mapping[str, Any], module: nn.Module, statistics: Mapping[str, Any]) -> Task:
    """The problem, posed to a network."""
    make, options = attribute('tasks', section, 'task', 'config.task')
    return bind(make, options, 'config.task', module=module, statistics=statistics)


def initial(*, name: str, path: str, reinitialise: Sequence[str] = (), part: str = '') -> Callable[[Any], Mapping[str, Any]]:
    """What fills a new network with weights from elsewhere.

    Args:
      name: where from: of a module in `medjax/weights`.
      path: a file or folder.
      reinitialise: parts of the network that begin with weights of their own all the same, as the logits of other classes do.
      part: which part of the network the weights are for, a whole network there; all others begin anew. '' for the
        network itself.

    Returns:
      `(variables' shapes) -> {path: array}`, for the variables of all other parts.
    """
    read, _ = attribute('weights', {'name': name}, 'read', 'config.init')

    def given(variables: Any) -> Mapping[str, Any]:
        wanted = flatten_dict(variables)
        if part:
            _check_parts(wanted, [part], 'part')
            wanted = {(kind, *inner): leaf for (kind, of, *inner), leaf in wanted.items()
                      if of == part and inner}
            if not wanted:
                raise InputError(f'config.init.part: {part!r} is one array; expected a part that is a network')
        _check_parts(wanted, reinitialise, 'reinitialise')
        found = read(pathlib.Path(path), {'/'.join(key): leaf for key, leaf in wanted.items() if key[1] not in reinitialise},
                     reinitialise)
        return {key.replace('/', f'/{part}/', 1): leaf for key, leaf in found.items()} if part else found

    return given


def _check_parts(have: Collection[tuple[str, ...]], names: Sequence[str], key: str) -> None:
    parts = sorted({path[1] for path in have})
    for name in names:
        if name not in parts:
            raise InputError(f'config.init.{key}: {name!r} is no part of the network; expected some of: '
                             + ', '.join(parts))


def optimiser(section: Mapping[str, Any], steps: int,
              module: nn.Module | None = None) -> tuple[optax.GradientTransformation, Callable[[int], float]]:
    """The gradient transformation, and the learning rate by step; parts that the network calls `frozen` stay."""
    options = {key: value for key, value in section.items() if key != 'accumulate'}
    return bind(optim.make, options, 'config.optim', steps=steps, frozen=getattr(module, 'frozen', ()))
