"""A whole config as an `Experiment`: every section's objects, and what ties them together."""

import math
import pathlib
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
from flax.traverse_util import flatten_dict

from medjax import atomic_files, build, options, restore
from medjax.clinic.options import DicomOptions
from medjax.core import contracts, cost, trackers
from medjax.core.config import bind, check, choose
from medjax.core.experiment import Experiment
from medjax.core.sharding import Jit, Pmap
from medjax.data import pipeline
from medjax.errors import InputError
from medjax.options import Count, Int, NonNegativeInt
from medjax.report.study import Study
from medjax.tasks import family
from medjax.weights import run as run_weights

RESIDENT = 0.25  # of a device's memory: what the training data may take of it, to be kept there


def experiment(config: Mapping[str, Any]) -> Experiment:
    """All objects of a config; every key is read by one of them, or refused by name.

    Raises:
      InputError: naming the key, its value, and what was expected.
    """
    config = build.plain(config)
    check_local(config)
    return bind(_experiment, config, 'config')


def check_local(config: Mapping[str, Any]) -> None:
    """Refuses addresses of object storage as values of any key, see `atomic_files.check_arguments`."""
    atomic_files.check_arguments([f'--config.{".".join(map(str, path))}={value!r}'
                                  for path, value in flatten_dict(dict(config)).items()])


def of_run(workdir: pathlib.Path) -> tuple[dict[str, Any], Experiment]:
    """The config and the experiment of a run for this machine's devices, with no training data on them."""
    config = {**restore.load(workdir).to_dict(), 'parallel': 'jit', 'mesh': None, 'keep_on_device': False}
    return config, experiment(config)


def check_keys(config: Mapping[str, Any]) -> None:
    """Checks the keys and values of all sections; data are not read, nor what depends on them.

    Raises:
      InputError: a key that is unknown or missing, or a value that is not of its type or range.
    """
    sections = {name: dict(config.get(name) or {}) for name in (
        'augment', 'checkpoint', 'data', 'debug', 'evaluate', 'init', 'log', 'report', 'study', 'task')}
    check_local(config)
    check(_experiment, config, 'config')
    of = family.of_config(config)
    build.check_dataset(sections['data'])
    module = build.network(config['model'], config.get('precision', 'float32'))
    steps = config.get('steps') or 10**6  # those of epochs are known from the data
    build.optimiser(config['optim'], steps, module)
    options.check(config['optim'].get('accumulate', 1), Count, 'config.optim.accumulate')
    _, task = family.of_task(str(sections['task'].pop('name', '')))
    check(task, sections['task'], 'config.task', ['module', 'statistics'])
    evaluate = {key: value for key, value in sections['evaluate'].items() if key not in ('name', 'every')}
    check(of.function('evaluator', 'evaluator'), evaluate, 'config.evaluate', ['data', 'task'])
    check(checkpointing, sections['checkpoint'], 'config.checkpoint', ['metrics', 'name'])
    for name, function in (('log', logging), ('debug', debugging), ('report', reporting), ('study', Study)):
        check(function, sections[name], f'config.{name}')
    trackers.check(sections['log'].get('also', ()))
    if sections['augment']:
        build.augmentation(sections['augment'])
    if sections['init']:
        check(initial, sections['init'], 'config.init')


def _experiment(*, seed: NonNegativeInt, batch: Count, model: Mapping[str, Any], task: Mapping[str, Any],
                data: Mapping[str, Any], optim: Mapping[str, Any], evaluate: Mapping[str, Any],
                steps: NonNegativeInt = 0, epochs: NonNegativeInt = 0, augment: Mapping[str, Any] | None = None,
                parallel: Literal['jit', 'pmap'] = 'jit', mesh: Mapping[str, Int] | None = None,
                precision: Literal['float32', 'bfloat16'] = 'float32', checkpoint: Mapping[str, Any] | None = None,
                log: Mapping[str, Any] | None = None, debug: Mapping[str, Any] | None = None,
                keep_on_device: bool | None = None, init: Mapping[str, Any] | None = None,
                study: Mapping[str, Any] | None = None, report: Mapping[str, Any] | None = None,
                dicom: Mapping[str, Any] | None = None) -> Experiment:
    """An experiment.

    Args:
      seed: of all randomness of the run.
      batch: examples of a step, over all devices.
      model: the network; see the models.
      task: the losses and outputs; see the tasks.
      data: the data set, with its `source`; see the data sets and sources.
      optim: the optimiser and its schedule.
      evaluate: the evaluator, by its family's name (the task's own family by default), with its options; `every` is
        the number of steps between validations, 0 for none during training.
      steps: of the training; 0 where `epochs` says it.
      epochs: passes over the training items, where `steps` is 0.
      augment: a recipe of augmentation, by its name, with overrides; None for none.
      parallel: 'jit', over a mesh of devices; or 'pmap', the batch over all devices.
      mesh: the devices along `data`, `fsdp` and `space`; -1 for all that are left.
      precision: of the network's activations, 'float32' or 'bfloat16'.
      checkpoint: what is saved and kept.
      log: how often metrics are written.
      debug: how non-finite steps are handled.
      keep_on_device: whether the training data is kept on the devices; None for where it fits.
      init: weights from elsewhere.
      study: statements on the study for the report, such as the reference standard.
      report: what the report shows.
      dicom: the content of the DICOM objects that `predict --dicom` writes, such as the codes of the classes.
    """
    bind(Study, study or {}, 'config.study')
    shown = bind(reporting, report or {}, 'config.report')
    described = bind(DicomOptions, dicom or {}, 'config.dicom')
    if batch < 1 or min(steps, epochs) < 0 or max(steps, epochs) < 1:
        raise InputError(f'config.steps: {steps}, config.epochs: {epochs}, config.batch: {batch}; expected a batch of '
                         'at least 1, and steps, or else epochs, of at least 1')
    of = family.of_config({'task': task, 'evaluate': evaluate})
    plan = bind(choose({'jit': Jit, 'pmap': _pmap}, parallel, 'config.parallel'), mesh or {}, 'config.mesh')
    saving = bind(checkpointing, checkpoint or {}, 'config.checkpoint', metrics=of.metrics, name=of.name)
    logs = bind(logging, log or {}, 'config.log')  # before data are read
    cases = build.dataset(data)
    if saving['best'] and 'val' not in cases.counts:
        raise InputError(f"config.checkpoint.best: {saving['best']!r} is measured on validation cases; the data "
                         f'set has {", ".join(cases.counts)} only')
    described.check_classes(cases.source.classes)
    steps = steps or math.ceil(epochs * len(cases) / batch)
    module = build.network(model, precision)
    problem = build.task_of(task, module, cases.statistics)
    update, schedule = build.optimiser(optim, steps, module)
    accumulate = optim.get('accumulate', 1)
    options.check(accumulate, Count, 'config.optim.accumulate')
    _check_frozen(module, init)
    every, evaluator = _evaluator(of, evaluate, cases, problem)
    evaluator = evaluator.show_channel(shown) if shown else evaluator
    order = {'seed': seed, 'batch': batch, 'rows': plan.rows(batch)}
    return Experiment(task=problem, data=cases, batches=pipeline.Streamed(cases, **order),
                      placed=_placed(cases, plan, keep_on_device, **order),
                      augment=build.augmentation(augment) if augment else None, optimiser=update, schedule=schedule,
                      plan=plan, evaluator=evaluator, seed=seed, steps=steps, accumulate=accumulate,
                      init=bind(initial, init, 'config.init') if init else None, eval_every=every, **saving,
                      **logs, **bind(debugging, debug or {}, 'config.debug'))


def checkpointing(*, metrics: Any, name: str, every: NonNegativeInt = 0, keep: Count = 2,
                  best: str = '') -> dict[str, Any]:
    """Options of checkpoints.

    Args:
      metrics: of the family.
      name: of the family.
      every: steps between checkpoints, 0 for those at validations and at the end.
      keep: how many of the newest are kept.
      best: the validation metric whose best checkpoint is kept and evaluated; '' for the last one. Which values are
        better is declared with the metric.
    """
    metric = metrics.find(best)
    if best and metric is None:
        raise InputError(f'config.checkpoint.best: {best!r} is no metric of {name}; expected one of: '
                         + ', '.join(metric.name for metric in metrics))
    return {'save_every': every, 'keep': keep, 'best': best, **({'rank': metric.rank} if metric else {})}


def logging(*, every: Count = 10, also: Sequence[str] = ()) -> dict[str, Any]:
    """Options of logs.

    Args:
      every: steps between lines of the console and of `metrics.jsonl`.
      also: experiment trackers that get the config, the metrics, the report and a model card: 'mlflow', which writes to
        the server that MLFLOW_TRACKING_URI names, or into the folder `mlruns` beside the run's; and 'wandb', offline in
        the run's folder unless WANDB_MODE says otherwise.
    """
    trackers.check(also)
    return {'log_every': every, 'log_also': tuple(also)}


def reporting(*, channel: str = '') -> str:
    """Options of the report.

    Args:
      channel: of segmentation, the name of the channel that is drawn of images with several; by default the one with
        most contrast in the labels of training cases.
    """
    return channel


def debugging(*, skip_nonfinite: bool = False) -> dict[str, Any]:
    """Options of debugging.

    Args:
      skip_nonfinite: skip steps whose loss or gradients are not finite, in place of stopping.
    """
    return {'skip_nonfinite': skip_nonfinite}


def initial(*, name: str, path: str, reinitialise: Sequence[str] = (),
            part: str = '') -> Callable[[Any], Mapping[str, Any]]:
    """A function that fills a new network with weights from elsewhere.

    Args:
      name: where from: a module in `medjax/weights`.
      path: a file or folder.
      reinitialise: parts of the network that keep their random initial weights, such as the logits of other classes.
      part: the part of the network that the weights are for, which is a whole network there; all other parts keep
        their random initial weights. '' for the network itself.

    Returns:
      `(variables' shapes) -> {path: array}`, for the variables of all other parts.
    """
    read, _ = build.attribute('weights', {'name': name}, 'config.init')

    def given(variables: Any) -> Mapping[str, Any]:
        wanted = flatten_dict(variables)
        if part:
            _check_parts(wanted, [part], 'part')
            wanted = {(kind, *inner): leaf for (kind, of, *inner), leaf in wanted.items() if of == part and inner}
            if not wanted:
                raise InputError(f'config.init.part: {part!r} is one array; expected a part that is a network')
        _check_parts(wanted, reinitialise, 'reinitialise')
        kept = {'/'.join(key): leaf for key, leaf in wanted.items() if key[1] not in reinitialise}
        weights = read(pathlib.Path(path), kept, reinitialise)
        return {key.replace('/', f'/{part}/', 1): leaf for key, leaf in weights.items()} if part else weights

    return given


def _check_parts(have: Collection[tuple[str, ...]], names: Sequence[str], key: str) -> None:
    parts = sorted({path[1] for path in have})
    for name in names:
        if name not in parts:
            raise InputError(f'config.init.{key}: {name!r} is no part of the network; expected some of: '
                             + ', '.join(parts))


def _check_frozen(module: nn.Module, init: Mapping[str, Any] | None) -> None:
    """Refuses a network with a part that is not trained and gets no weights from elsewhere."""
    for part in contracts.option(module, 'frozen'):
        if not init or init.get('part', '') not in ('', part) or part in init.get('reinitialise', ()):
            raise InputError(f'config.init: {init}; expected dict(name="run", path=…, part={part!r}): this part of '
                             'the network is not trained here; its weights come from another run')


def _evaluator(of: family.Family, section: Mapping[str, Any], cases: contracts.Dataset,
               task: Any) -> tuple[int, contracts.Evaluator]:
    """Steps between validations, and the evaluator."""
    given = {key: value for key, value in section.items() if key != 'name'}
    every = given.pop('every', 0)
    options.check(every, NonNegativeInt, 'config.evaluate.every')
    if every and 'val' not in cases.counts:
        raise InputError(f'config.evaluate.every: {every}; expected 0 for a data set that has '
                         f'{", ".join(cases.counts)} only: there are no validation cases')
    if given.get('features'):  # the folder of a run, whose network gives the features that images are compared by
        given['features'] = run_weights.feature_extractor(pathlib.Path(given['features']))
    make = of.function('evaluator', 'evaluator')
    return every, bind(make, given, 'config.evaluate', data=cases, task=task)


def _placed(cases: contracts.Dataset, plan: Jit | Pmap, wanted: bool | None,
            **options: Any) -> pipeline.Placed | None:
    """The training data on the device: where it is wanted, or by default where it leaves most of the memory."""
    if wanted is False:
        return None
    resident = cases.resident() if plan.supports_resident else None
    if resident is not None and resident.size <= RESIDENT * cost.device_memory(jax.local_devices()[0]):
        return pipeline.Placed(resident, len(cases), **options)
    if wanted:
        why = 'this data set, or this kind of parallelism, cannot keep it there'
        if resident is not None:
            why = (f'the training data takes {resident.size / cost.GIB:.2f} GiB, and may take {RESIDENT:.0%} of a '
                   "device's memory")
        raise InputError(f'config.keep_on_device: True, but {why}; expected False or None')
    return None


def _pmap(*, data: Int = -1, fsdp: Count = 1, space: Count = 1) -> Pmap:
    if data != -1 or fsdp != 1 or space != 1:
        raise InputError("config.mesh: 'pmap' splits the batch over all devices; expected data=-1, fsdp=1, space=1")
    return Pmap()
