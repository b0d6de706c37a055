"""A trained run's folder as objects: its config, its best weights, its predictor and its report."""

import contextlib
import dataclasses
import inspect
import os
import pathlib
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import jax

from medjax import atomic_files, build, cli
from medjax.core import config as configs
from medjax.core import contracts, distributed, state
from medjax.core.checkpoint import Checkpoints
from medjax.core.config import bind
from medjax.core.manifest import DamagedCheckpointError
from medjax.core.sharding import Jit
from medjax.core.task import Task
from medjax.data.labels import first_stage
from medjax.data.training_ranges import WARNING, CheckedReader
from medjax.errors import InputError
from medjax.report import run_files
from medjax.report.page import draw
from medjax.tasks.family import of_config

ENSEMBLE = 'ensemble.json'  # the runs of an ensemble, and what was chosen for it
FOREVER = 2**31 - 1  # steps of an optimiser of which only the state's layout is needed


@dataclasses.dataclass(frozen=True)
class Trained:
    """A trained network with its predictor.

    Attributes:
      predictor: of the run's evaluator.
      variables: of the chosen step.
      step: the best by validation where one was measured, else the last.
      task: of the network.
      statistics: of the training data.
      inputs: the files of new inputs.
      config: of the run.
      origin: where published weights are from; '' for those of a run.
      notes: how the images that the predictor has read are outside of the ranges of the training images, a line each;
        `take_notes` empties the list.
    """

    predictor: contracts.Predictor
    variables: dict[str, Any]
    step: int
    task: Task
    statistics: Mapping[str, Any]
    inputs: build.Inputs = build.Inputs()
    config: Mapping[str, Any] = dataclasses.field(default_factory=dict)
    origin: str = ''
    notes: list[str] = dataclasses.field(default_factory=list)

    def take_notes(self, folder: str | pathlib.Path = '') -> list[str]:
        """Warnings about the images in a folder, by default in all, that were read since the last call."""
        found = [note for note in self.notes if note.startswith(f'{folder}/' if folder else '')]
        for note in found:
            self.notes.remove(note)
        return [f'{WARNING}: {note}' for note in found]


def load(workdir: pathlib.Path) -> Any:
    """The config that a run was trained with."""
    atomic_files.check_local(workdir, str(workdir))
    path = workdir / 'config.json'
    if not path.is_file():
        raise InputError(f'{workdir}: no config.json there; expected the folder of a training run')
    config, record = configs.read(path), workdir / 'environment.json'
    trained = atomic_files.read_json(record).get('config_hash') if record.exists() else None
    if trained not in (None, configs.digest(path)):
        cli.say(f'warning: {path}: changed since the training, by its sha256 in {record.name}')
    return config


@contextlib.contextmanager
def weights(config: Mapping[str, Any], workdir: pathlib.Path,
            from_step: int | None = None) -> Iterator[tuple[Checkpoints, int]]:
    """A run's checkpoints, and the step to evaluate: the best by validation where one was measured, else the last.

    Args:
      config: of the run.
      workdir: of the run.
      from_step: a step to evaluate in place of that one.

    Raises:
      InputError: the folder has no checkpoint, or none of that step; the best is damaged, or cannot be determined.
    """
    if not (workdir / 'checkpoints').is_dir():
        raise InputError(f'{workdir}: no checkpoints there; expected the folder of a training run')
    best = (config.get('checkpoint') or {}).get('best', '')
    metric = of_config(config).metrics.find(best)
    checkpoints = Checkpoints(workdir / 'checkpoints', best=best, rank=metric.rank if metric else float,
                              say=distributed.only_first(cli.say))
    steps = checkpoints.steps()
    if not steps:
        raise InputError(f'{workdir}: no complete checkpoint there; train first')
    known = ', '.join(map(str, steps))
    if from_step not in (None, *steps):
        raise InputError(f'--from_step={from_step}: no checkpoint of this step in {workdir}; expected one of: {known}')
    try:
        yield checkpoints, from_step or checkpoints.best_step() or steps[-1]
    except DamagedCheckpointError as error:
        raise InputError(f'{error}; expected what was saved; train again, or evaluate another step by --from_step; '
                         f'checkpoints: {known}') from error


def restore(workdir: pathlib.Path, **options: Any) -> Trained:
    """The predictor and the weights of a run, without reading its training data.

    Args:
      workdir: of the run, or of an ensemble.
      **options: for the predictor, over those of config.evaluate.

    Raises:
      InputError: the folder holds no trained run.
    """
    if (workdir / ENSEMBLE).is_file():
        return _ensemble(workdir, **options)
    config = build.plain(load(workdir))
    with weights(config, workdir) as (checkpoints, step):
        statistics = checkpoints.statistics(step)
        reader = CheckedReader(build.reader(config['data']), statistics.get('ranges') or {})
        previous = config['data'].get('previous')
        read = _after_first_stage(reader, pathlib.Path(previous)) if previous else reader
        predictor, task, abstract = _layout(config, workdir, statistics, read, **options)
        variables = checkpoints.restore(step, Jit().abstract_state(abstract)).variables()
    inputs = build.inputs(config['data'])
    if not inputs.suffixes:
        inputs = inputs._replace(suffixes=tuple(predictor.suffixes))
    return Trained(predictor, variables, step, task, statistics, inputs, config, notes=reader.notes)


def write_ensemble(folder: pathlib.Path, chosen: Mapping[str, Any]) -> None:
    """Writes `ensemble.json` into a folder, with the paths of the runs relative to it."""
    content = dict(chosen)
    content['runs'] = [os.path.relpath(path, folder) for path in chosen['runs']]
    content['candidates'] = [{**one, 'runs': [os.path.relpath(path, folder) for path in one['runs']]}
                             for one in chosen.get('candidates', ())]
    atomic_files.write_json(folder / ENSEMBLE, content)


def read_ensemble(folder: pathlib.Path) -> dict[str, Any]:
    """Reads `ensemble.json` of a folder.

    Raises:
      InputError: it is damaged, or names no folder of a run.
    """
    path = folder / ENSEMBLE
    content = atomic_files.read_json(path, 'an ensemble as evaluate writes it')
    runs = content.get('runs')
    if not isinstance(runs, list) or not runs or not all(isinstance(run, str) for run in runs):
        raise InputError(f'{path}: runs: {runs!r}; expected a list of folders')

    def found(run: str) -> str:
        return os.path.normpath(folder / run)

    content['runs'] = [found(run) for run in runs]
    content['candidates'] = [{**one, 'runs': list(map(found, one['runs']))} for one in content.get('candidates', ())]
    for run in content['runs']:
        if not pathlib.Path(run, 'config.json').is_file():
            raise InputError(f'{path}: runs: {run}: no run there; expected the folders of the runs beside this one, as '
                             'when the ensemble was evaluated')
    return content


def _ensemble(workdir: pathlib.Path, **options: Any) -> Trained:
    """The predictor of an ensemble; its `variables` are a list, those of each run."""
    if options:
        raise InputError(f'{", ".join(f"--{name}" for name in options)}: {workdir} is an ensemble, whose '
                         f'post-processing is in its {ENSEMBLE}; expected none of them')
    content = read_ensemble(workdir)
    members = [restore(pathlib.Path(run)) for run in content['runs']]
    first = members[0]
    predictor = of_config(first.config).function('ensemble', 'predictor')([one.predictor for one in members], content)

    def refuse(*_: Any) -> Any:
        raise InputError(f'{workdir}: an ensemble; expected a single run')

    return dataclasses.replace(first, predictor=predictor, variables=[one.variables for one in members],
                               task=Task(refuse, refuse, refuse, refuse),
                               origin=f'the mean of {len(members)} runs, by {workdir / ENSEMBLE}')


def _after_first_stage(read: Callable[..., Any], folder: pathlib.Path) -> Callable[..., Any]:
    """A reader of images that have the labels of a first stage as their last channel, for the second one."""
    first = restore(folder)

    def read_both(path: str | pathlib.Path) -> Any:
        image = read(path)
        return first_stage.append(image, first.predictor.labels(first.variables, image))

    return read_both


def _layout(config: Mapping[str, Any], workdir: pathlib.Path, statistics: Mapping[str, Any],
            reader: Callable[..., Any], **options: Any) -> tuple[Any, Task, state.TrainState]:
    """The predictor, its task, and the shapes of the state that its weights are restored from."""
    module = build.network(config['model'], config.get('precision', 'float32'))
    task = build.task_of(config['task'], module, statistics)
    of = of_config(config)
    of.check('predict')
    make = of.function('evaluator', 'predictor')
    settings = {key: value for key, value in config['evaluate'].items() if key not in ('name', 'every')}
    # Predictors that need more than weights read it from the run's folder.
    taken = inspect.signature(make).parameters
    more = {'folder': workdir} if 'folder' in taken else {}
    if 'encode' in taken:
        more['encode'] = build.label_encoder(config['data'])
    if 'output_name' in taken:
        more['output_name'] = build.inputs(config['data']).output_name
    predictor = bind(make, {**settings, **options}, 'config.evaluate', task=task, statistics=statistics,
                     data={key: value for key, value in config['data'].items() if key not in ('name', 'source')},
                     read=reader, **more)
    update, _ = build.optimiser(config['optim'], FOREVER, module)
    abstract = jax.eval_shape(lambda: state.create_state(task, update, jax.random.key(0), predictor.example()))
    return predictor, task, abstract


def write_report(workdir: pathlib.Path) -> pathlib.Path:
    """Draws the report of a run from the files in its folder; what the folder has no file for is left out.

    Args:
      workdir: needs `config.json` at least.

    Returns:
      The path of `report.html`, which is written atomically; `checklist.csv` beside it has its checklists as a table.

    Raises:
      InputError: the folder holds no run, one of its files is damaged, or the report cannot be written.
    """
    run = run_files.read(workdir)
    of = of_config(run.config)
    page, checklists = draw(run, of.function('chapter', 'chapter'), of.reporting, of.metrics)
    path = workdir / 'report.html'
    atomic_files.write_text(path, page)
    rows = [dataclasses.asdict(row) for checklist in checklists for row in checklist.rows]
    if rows:
        atomic_files.write_table(workdir / 'checklist.csv', rows)
    return path
