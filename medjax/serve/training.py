"""Training on the labels of a data store: `medjax train` in a process of its own, one at a time.

Each training has a folder with a number: `data` has links to the images and labels that it was started with,
`config.py` its config, `log` what it printed, and `run` is its workdir. The run that is served stays as it is.
"""

import collections
import contextlib
import datetime
import fcntl
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from typing import Any

from medjax import atomic_files
from medjax.data.io import image_files
from medjax.errors import InputError
from medjax.serve.datastore import FINAL, Datastore

LOCK = 'train.lock'
DETAILS = 20  # lines of a training that its status has
PATIENCE = 60  # seconds in which a stopped training may save its state
NICE = 10  # priority: after that of the service
STARTS = ('run', 'scratch')  # from the weights of the run that is served, or as the run itself began
CONFIG = '''"""Trains on the labels of a data store; written by `medjax serve`."""

import json
import pathlib

from ml_collections import config_dict


def get_config():
    """The config of the run that is served, with the labels as its data."""
    return config_dict.ConfigDict(json.loads(pathlib.Path(__file__).with_suffix('.json').read_text()))
'''


class BusyError(Exception):
    """Another training is running."""


class Training:
    """Trainings of a run's config on the labels of a data store.

    Args:
      workdir: of the run that is served.
      config: of it.
      values: the value in labels of each class by its name, background first.
      store: the data store.
      folder: gets a folder for each training.
      say: takes a line about the start and the end of each.

    Raises:
      InputError: the folder cannot be made, or is within the run or the data store.
    """

    def __init__(self, workdir: pathlib.Path, config: Mapping[str, Any], values: Mapping[str, int], store: Datastore,
                 folder: pathlib.Path, say: Callable[[str], None]):
        for other in (workdir, store.folder):
            if folder == other or other in folder.parents:
                raise InputError(f'--train_folder={folder}: within {other}; expected another place')
        self._workdir, self._config, self._values = workdir, config, values
        self._store, self._folder, self._say = store, folder, say
        self._tasks: list[dict[str, Any]] = []
        self._process: subprocess.Popen | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        atomic_files.make_folder(folder)

    @property
    def steps(self) -> int:
        """The steps of a training, where none are asked for."""
        return int(self._config['steps'])

    def start(self, start: str = STARTS[0], steps: int | None = None) -> dict[str, Any]:
        """Starts a training; returns its status.

        Args:
          start: one of STARTS.
          steps: of the optimiser; those of the run by default.

        Raises:
          BusyError: another one is running, also one that an earlier service started.
          InputError: options that are not valid, or no labels.
        """
        if start not in STARTS:
            raise InputError(f'start: {start!r}; expected one of: {", ".join(STARTS)}')
        if steps is not None and (isinstance(steps, bool) or not isinstance(steps, int) or not 0 < steps <= 10**9):
            raise InputError(f'steps: {steps!r}; expected a whole number above 0')
        with self._starting:
            lock = os.open(self._folder / LOCK, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600)
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                place = self._prepare(start, steps or self.steps)
                # The process inherits the lock, and has it until it ends, also where this service is killed.
                with (place / 'log').open('xb') as log:
                    os.chmod(place / 'log', 0o600)
                    process = subprocess.Popen(
                        [sys.executable, '-m', 'medjax.train', f'--config={place / "config.py"}',
                         f'--workdir={place / "run"}'], stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT,
                        pass_fds=(lock,), start_new_session=True)
            except BlockingIOError as error:
                raise BusyError('a training is running; expected its end, or stop it first') from error
            finally:
                os.close(lock)
            with contextlib.suppress(OSError):
                os.setpriority(os.PRIO_PROCESS, process.pid, NICE)
            task = {'id': place.name, 'status': 'RUNNING', 'request': {'start': start, 'steps': steps or self.steps},
                    'start_ts': _now()}
            self._tasks.append(task)
            self._process = process
            self._thread = threading.Thread(target=self._wait, args=(process, task), name='training', daemon=True)
            self._thread.start()
        self._say(f'training {place} started')
        return self.status(task)

    def tasks(self) -> list[dict[str, Any]]:
        """The trainings that this service has started, the latest last."""
        return [self.status(task) for task in self._tasks]

    def running(self) -> dict[str, Any] | None:
        """The training that runs; None for none."""
        return self.status(self._tasks[-1]) if self._tasks and self._tasks[-1]['status'] == 'RUNNING' else None

    def stop(self) -> dict[str, Any] | None:
        """Stops the training that runs, which saves its state first; returns its status, None for none."""
        if self.running() is None or self._process is None or self._thread is None:
            return None
        task = self._tasks[-1]
        task['status'] = 'STOPPED'
        self._process.send_signal(signal.SIGTERM)
        self._thread.join(PATIENCE)
        if self._thread.is_alive():
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            self._thread.join()
        return self.status(task)

    def stats(self) -> dict[str, Any]:
        """How far the latest training is, as MONAI Label's clients show it; empty without one."""
        if not self._tasks:
            return {}
        task, step = self._tasks[-1], 0
        with contextlib.suppress(OSError, ValueError, IndexError, KeyError):
            lines = (self._folder / task['id'] / 'run' / 'metrics.jsonl').read_text().splitlines()
            step = int(json.loads(lines[-1])['step'])
        ended = {'total_time': task['end_ts']} if task['status'] != 'RUNNING' else {}
        return {'epoch': step, 'total_epochs': task['request']['steps'], **ended}

    def status(self, task: Mapping[str, Any]) -> dict[str, Any]:
        """A training with the last lines that it printed; they have no path of this machine."""
        place = self._folder / task['id']
        with (place / 'log').open(errors='replace') as file:
            lines = [line.rstrip().replace(f'{place}/', '').replace(f'{self._folder}/', '')
                     for line in collections.deque(file, DETAILS)]
        if task['status'] == 'DONE':
            lines.append(f'the service still has its earlier weights; start it with --workdir={task["id"]}/run in the '
                         'folder of its trainings for those of this training')
        return {**task, 'details': lines}

    def _prepare(self, start: str, steps: int) -> pathlib.Path:
        """A new folder with the data and the config of a training."""
        labels, images = self._store.labels().get(FINAL, {}), self._store.images()
        pairs = {name: (images[name], path) for name, path in labels.items() if name in images}
        if not pairs:
            raise InputError('no image of the data store has a final label; expected some to train on')
        numbers = [int(path.name) for path in self._folder.iterdir() if path.name.isdigit()]
        place = self._folder / f'{max(numbers, default=0) + 1:04}'
        place.mkdir(0o700)
        try:
            for kind, number in (('images', 0), ('labels', 1)):
                atomic_files.make_folder(place / 'data' / kind)
                for pair in pairs.values():
                    _link(pair[number], place / 'data' / kind / pair[number].name)
            atomic_files.write_json(place / 'config.json', self._training_config(place, start, steps), private=True)
            atomic_files.write_text(place / 'config.py', CONFIG, private=True)
        except BaseException:
            shutil.rmtree(place, ignore_errors=True)
            raise
        return place

    def _training_config(self, place: pathlib.Path, start: str, steps: int) -> dict[str, Any]:
        """The run's config with the labels as its data."""
        source = self._config['data']['source']
        kept = ('channels', 'spacing', 'splitting') if source.get('name') == 'segmentation_folder' else ()
        config = {**self._config, 'steps': steps, 'data': {**self._config['data'], 'source': {
            **{key: source[key] for key in kept if key in source}, 'name': 'segmentation_folder',
            'dir': str(place / 'data'), 'classes': list(self._values)}}}
        if list(self._values.values()) != list(range(len(self._values))):
            config['data']['source']['label_values'] = list(self._values.values())
        if start == STARTS[0]:
            config['init'] = {'name': 'run', 'path': str(self._workdir)}
        return config

    def _wait(self, process: subprocess.Popen, task: dict[str, Any]) -> None:
        """Waits for the end of a training, and says so."""
        code = process.wait()
        if task['status'] == 'RUNNING':
            task['status'] = 'ERROR' if code else 'DONE'
        task['end_ts'] = _now()
        place = self._folder / task['id']
        if task['status'] == 'DONE':
            self._say(f'training {place} done; to serve it: python -m medjax.serve --workdir={place / "run"}')
        else:
            self._say(f'training {place} ended: {task["status"]}, exit code {code}; see {place / "log"}')


def _link(old: pathlib.Path, new: pathlib.Path) -> None:
    """A file, or the files of a DICOM series, under another name: a link, or a copy on another file system.

    Files of a data store are replaced and never changed, so that a link keeps its content.
    """
    if old.is_dir():
        new.mkdir(0o700)
        for path in map(pathlib.Path, image_files.files(old)):
            _link(path, new / path.name)
        return
    try:
        os.link(old, new)
    except OSError:
        shutil.copyfile(old, new)


def _now() -> str:
    return f'{datetime.datetime.now():%Y-%m-%d %H:%M:%S}'
