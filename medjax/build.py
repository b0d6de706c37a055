"""The only place where names in a config become objects.

A section's `name` is the module's name in the room that the section is of, and every module there has one attribute
that makes its object: `models/NAME.py: Model`, `tasks/NAME.py: task`, `data/NAME.py: source` or `dataset`,
`evals/NAME.py: evaluator`. All other keys of the section are its keyword arguments.
"""

import importlib
import json
import pkgutil
from collections.abc import Iterator, Mapping
from typing import Any

import flax.linen as nn
import grain

from medjax.core import optim
from medjax.core.config import bind, choose
from medjax.core.loop import Experiment
from medjax.core.sharding import Jit, Pmap
from medjax.data import pipeline
from medjax.data.augment import RECIPES, Recipe
from medjax.errors import InputError


def attribute(room: str, section: Mapping[str, Any], fixed: str, where: str) -> tuple[Any, dict[str, Any]]:
    """Finds the module that a section names, and the section's other keys.

    Returns:
      The module's `fixed` attribute, and the other keys.
    """
    options = dict(section)
    name = options.pop('name', None)
    package = importlib.import_module(f'medjax.{room}')
    known = [m.name for m in pkgutil.iter_modules(package.__path__)]
    if name not in known:
        raise InputError(f'{where}.name: {name!r} is not known; expected one of: {", ".join(sorted(known))}')
    module = importlib.import_module(f'medjax.{room}.{name}')
    if not hasattr(module, fixed):
        raise InputError(f'{where}.name: {name!r} makes no {fixed}')
    return getattr(module, fixed), options


def model(section: Mapping[str, Any], precision: str) -> nn.Module:
    """The network: a variant's fields, overridden by the section's."""
    make, options = attribute('models', section, 'Model', 'config.model')
    table = importlib.import_module(make.__module__).VARIANTS
    fields = dict(choose(table, options.pop('variant', next(iter(table))), 'config.model.variant'))
    known = [name for name in make.__dataclass_fields__ if name not in ('parent', 'name', 'dtype')]
    for key in options:
        if key not in known:
            raise InputError(f'config.model.{key}: nothing reads this key; config.model takes: {", ".join(known)}')
    if precision not in ('float32', 'bfloat16'):
        raise InputError(f"config.precision: {precision!r}; expected 'float32' or 'bfloat16'")
    return make(**{**fields, **options, 'dtype': precision})


def dataset(section: Mapping[str, Any]) -> Any:
    """The data set over the source that the section names."""
    make, options = attribute('data', section, 'dataset', 'config.data')
    described = options.pop('source', None) or {}
    source_of, keys = attribute('data', described, 'source', 'config.data.source')
    source = bind(source_of, keys, 'config.data.source')
    return bind(make, options, 'config.data', source=source, definition=json.dumps(described, sort_keys=True))


def augmentation(section: Mapping[str, Any]) -> Recipe:
    """The augmentation that a recipe's name and overrides make."""
    options = dict(section)
    recipe = choose(RECIPES, options.pop('name', None), 'config.augment.name')
    return bind(Recipe, {**recipe, **options}, 'config.augment')


class Batches:
    """A data set's batches, by step."""

    def __init__(self, dataset: grain.MapDataset):
        self._dataset = dataset

    def __getitem__(self, step: int) -> dict[str, Any]:
        return self._dataset[step]

    def stream(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The batches of steps `start` to `stop`, read ahead."""
        return pipeline.stream(self._dataset, start, stop)


def experiment(config: Mapping[str, Any]) -> Experiment:
    """Makes all objects of a config; every key is read by one of them, or refused by name."""
    return bind(_experiment, config.to_dict() if hasattr(config, 'to_dict') else config, 'config')


def _experiment(*, seed: int, steps: int, batch: int, model: Mapping[str, Any], task: Mapping[str, Any],
                data: Mapping[str, Any], optim: Mapping[str, Any], evaluate: Mapping[str, Any],
                augment: Mapping[str, Any] | None = None, parallel: str = 'jit', mesh: Mapping[str, int] | None = None,
                precision: str = 'float32', checkpoint: Mapping[str, Any] | None = None,
                log: Mapping[str, Any] | None = None, debug: Mapping[str, Any] | None = None) -> Experiment:
    return _assemble(locals())


def _assemble(c: Mapping[str, Any]) -> Experiment:
    for key in ('steps', 'batch'):
        if c[key] < 1:
            raise InputError(f'config.{key}: {c[key]}; expected at least 1')
    plan = bind(choose({'jit': Jit, 'pmap': Pmap}, c['parallel'], 'config.parallel'), c['mesh'] or {}, 'config.mesh')
    network = model(c['model'], c['precision'])
    data = dataset(c['data'])
    make, options = attribute('tasks', c['task'], 'task', 'config.task')
    task = bind(make, options, 'config.task', module=network, classes=data.source.classes)
    settings = dict(c['optim'])
    accumulate = settings.pop('accumulate', 1)
    optimiser, schedule = bind(optim.make, settings, 'config.optim', steps=c['steps'])
    make, options = attribute('evals', c['evaluate'], 'evaluator', 'config.evaluate')
    every = options.pop('every', 0)
    evaluator = bind(make, options, 'config.evaluate', data=data, predict=task.predict)
    batches = Batches(pipeline.batches(data, seed=c['seed'], batch=c['batch']))
    augment = augmentation(c['augment']) if c['augment'] else None

    def rest(*, every: int = 0, keep: int = 2, best: str = '', mode: str = 'max') -> dict[str, Any]:
        return {'save_every': every, 'keep': keep, 'best': best, 'mode': mode}

    def logs(*, every: int = 10) -> dict[str, Any]:
        return {'log_every': every}

    def debug(*, skip_nonfinite: bool = False) -> dict[str, Any]:
        return {'skip_nonfinite': skip_nonfinite}

    return Experiment(task=task, data=data, batches=batches, augment=augment, optimiser=optimiser, schedule=schedule,
                      plan=plan, evaluator=evaluator, seed=c['seed'], steps=c['steps'], accumulate=accumulate,
                      eval_every=every, **bind(rest, c['checkpoint'] or {}, 'config.checkpoint'),
                      **bind(logs, c['log'] or {}, 'config.log'), **bind(debug, c['debug'] or {}, 'config.debug'))
