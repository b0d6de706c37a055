"""Experiment trackers beside TensorBoard: MLflow, and Weights & Biases offline; one tracked run for a run's folder."""

import contextlib
import math
import os
import pathlib
import shutil
import time
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib.util import find_spec
from typing import Any, Protocol

from medjax import atomic_files
from medjax.errors import InputError

NAME = 'trackers.json'  # the identifier of the tracked run, by tracker, and the lines that a resumed run repeats
LOGGED = 'logged'
PROJECT = 'medjax'
PACKAGES = {'mlflow': 'mlflow-skinny', 'wandb': 'wandb'}
BATCH = 100  # parameters that MLflow takes at once
LONGEST = 500  # characters of a parameter


class Tracker(Protocol):
    """A tracked run."""

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the metrics of a step."""

    def keep(self, path: pathlib.Path) -> None:
        """Stores a file with the run."""

    def close(self, status: str) -> None:
        """Ends the tracked run: 'finished', 'stopped' or 'failed'."""


class MLflow:
    """A run of MLflow: on the server that MLFLOW_TRACKING_URI names, or in the folder `mlruns` beside the run's.

    Args:
      workdir: the run's folder, whose name is that of the tracked run.
      config: of the run, which becomes its parameters.
      known: the identifier of a run that is continued; '' for a new one.
    """

    def __init__(self, workdir: pathlib.Path, config: Mapping[str, Any], known: str):
        os.environ.setdefault('MLFLOW_TRACKING_URI', (workdir.parent / 'mlruns').as_uri())
        if os.environ['MLFLOW_TRACKING_URI'].startswith('file:'):
            os.environ.setdefault('MLFLOW_ALLOW_FILE_STORE', 'true')
        import mlflow  # pyright: ignore[reportMissingImports]
        from mlflow.entities import Metric, Param  # pyright: ignore[reportMissingImports]

        self._client, self._metric = mlflow.MlflowClient(), Metric
        self.id = known or self._create(config, workdir.name, Param)
        self._client.update_run(self.id, status='RUNNING')

    def _create(self, config: Mapping[str, Any], name: str, param: Any) -> str:
        """A new run with the config as parameters; its identifier."""
        project = os.environ.get('MLFLOW_EXPERIMENT_NAME', PROJECT)
        found = self._client.get_experiment_by_name(project)
        experiment = found.experiment_id if found else self._client.create_experiment(project)
        number = self._client.create_run(experiment, run_name=name).info.run_id
        parameters = [param(key, str(value)[:LONGEST]) for key, value in flat(config).items()]
        for first in range(0, len(parameters), BATCH):
            self._client.log_batch(number, params=parameters[first:first + BATCH])
        return number

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the metrics of a step."""
        now = int(1000 * time.time())
        self._client.log_batch(self.id, metrics=[self._metric(key, value, now, step) for key, value in values.items()])

    def keep(self, path: pathlib.Path) -> None:
        """Stores a file with the run."""
        self._client.log_artifact(self.id, str(path))

    def close(self, status: str) -> None:
        """Ends the tracked run."""
        self._client.set_terminated(self.id, {'finished': 'FINISHED', 'stopped': 'KILLED'}.get(status, 'FAILED'))


class WandB:
    """A run of Weights & Biases in the folder `wandb` of the run, offline unless WANDB_MODE says otherwise.

    A resumed training writes a further part with the same identifier; `wandb sync` joins the parts.

    Args:
      workdir: see `MLflow`, as for config and known.
      config: …
      known: …
    """

    def __init__(self, workdir: pathlib.Path, config: Mapping[str, Any], known: str):
        import wandb  # pyright: ignore[reportMissingImports]

        self.id = known or uuid.uuid4().hex[:12]
        self._run = wandb.init(
            project=os.environ.get('WANDB_PROJECT', PROJECT), name=workdir.name, id=self.id, resume='allow',
            mode=os.environ.get('WANDB_MODE', 'offline'), dir=str(workdir), config=dict(config),
            settings=wandb.Settings(silent=True, console='off', disable_git=True))

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the metrics of a step."""
        self._run.log(dict(values), step=step)

    def keep(self, path: pathlib.Path) -> None:
        """Stores a file with the run."""
        copy = shutil.copy(path, self._run.dir)  # else it would be a link
        self._run.save(copy, base_path=self._run.dir, policy='now')

    def close(self, status: str) -> None:
        """Ends the tracked run."""
        self._run.finish(exit_code=0 if status == 'finished' else 1)


KINDS: Mapping[str, Callable[[pathlib.Path, Mapping[str, Any], str], Any]] = {'mlflow': MLflow, 'wandb': WandB}


def check(names: Sequence[str]) -> None:
    """Checks that trackers are known and installed.

    Raises:
      InputError: one is not.
    """
    for name in names:
        if name not in KINDS:
            raise InputError(f'config.log.also: {name!r} is not known; expected some of: {", ".join(KINDS)}')
        if find_spec(name) is None:
            raise InputError(f'config.log.also: {name!r} needs the package {PACKAGES[name]}; install it: pip install '
                             f"{PACKAGES[name]}, or medjax with its extra: pip install --editable '.[{name}]'")


class Trackers:
    """Several trackers; one that fails is left out with a warning, and does not stop the training.

    Args:
      names: of the trackers.
      workdir: the run's folder.
      config: of the run.
      say: receives warnings.
    """

    def __init__(self, names: Sequence[str], workdir: pathlib.Path, config: Mapping[str, Any],
                 say: Callable[[str], None]):
        self._say, self._workdir = say, workdir
        self._open: dict[str, Tracker] = {}
        self.status = 'failed'  # until the run is stopped or finished
        if not names:
            return
        self._known = atomic_files.read_json(workdir / NAME) if (workdir / NAME).exists() else {}
        self._logged = {tuple(line) for line in self._known.pop(LOGGED, [])}
        for name in names:
            self._call(name, lambda name=name: self._open.update(
                {name: KINDS[name](workdir, config, self._known.get(name, ''))}))
        self._known |= {name: getattr(tracker, 'id', '') for name, tracker in self._open.items()}
        self.remember([])

    def remember(self, lines: Iterable[Mapping[str, Any]]) -> None:
        """Notes lines that were logged before the run was stopped: steps that run again are not logged again.

        Args:
          lines: each with `step` and the metrics.
        """
        self._logged |= {_names(line['step'], line) for line in lines}
        atomic_files.write_json(self._workdir / NAME, {**self._known, LOGGED: sorted(map(list, self._logged))})

    def write(self, step: int, values: Mapping[str, float]) -> None:
        """Logs the finite metrics of a step."""
        if _names(step, values) in self._logged:
            return
        finite = {key: float(value) for key, value in values.items() if math.isfinite(value)}
        for name, tracker in list(self._open.items()):
            self._call(name, lambda tracker=tracker: tracker.write(step, finite))

    def keep(self, *names: str) -> None:
        """Stores files of the run's folder, those that are there."""
        for name, tracker in list(self._open.items()):
            for path in (self._workdir / file for file in names):
                if path.exists():
                    self._call(name, lambda tracker=tracker, path=path: tracker.keep(path))

    def close(self) -> None:
        """Ends the tracked runs."""
        for name, tracker in list(self._open.items()):
            self._call(name, lambda tracker=tracker: tracker.close(self.status))

    def __bool__(self) -> bool:
        return bool(self._open)

    def _call(self, name: str, function: Callable[[], None]) -> None:
        try:
            function()
        except Exception as error:  # whatever a client raises: a server may be away
            self._open.pop(name, None)
            line = (str(error).strip().splitlines() or [''])[0]
            self._say(f'warning: config.log.also: {name} is left out: {type(error).__name__}: {line}')


@contextlib.contextmanager
def opened(names: Sequence[str], workdir: pathlib.Path, config: Mapping[str, Any],
           say: Callable[[str], None]) -> Iterator[Trackers]:
    """Trackers that are closed at the end; see `Trackers`."""
    trackers = Trackers(names, workdir, config, say)
    try:
        yield trackers
    finally:
        trackers.close()


def _names(step: int, values: Mapping[str, Any]) -> tuple[Any, ...]:
    """A step and the names of its metrics, by which a line is recognised."""
    return (step, *sorted(set(values) - {'step'}))


def flat(config: Mapping[str, Any], path: str = '') -> dict[str, Any]:
    """The values of a config by their paths, such as 'optim.lr'."""
    out: dict[str, Any] = {}
    for key, value in config.items():
        out |= flat(value, f'{path}{key}.') if isinstance(value, Mapping) else {f'{path}{key}': value}
    return out
