"""Trainings that run several at a time, each on a device of its own."""

import concurrent.futures
import os
import queue
import re
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, TypeVar

from medjax import cli
from medjax.core import lock
from medjax.core.signals import STOPPED, STOPPING
from medjax.errors import InputError
from medjax.sweep.settings import Run, words

Item = TypeVar('Item')
SHOWN = 60.0  # seconds in which a file that another machine has written is seen here
SAVING = 300.0  # seconds in which a training that was stopped has saved its state


class Pool:
    """Trains several runs at a time; a signal stops all, and after an error no more are started.

    Args:
      jobs: how many at a time.
      command: what the arguments of a training follow; by default the training in this environment.
      devices: numbers of the GPUs, one for each job; empty for none.
    """

    def __init__(self, jobs: int, command: Sequence[str] = (), devices: Sequence[str] = ()):
        if devices and jobs > len(devices):
            raise InputError(f'--jobs={jobs}: this machine has {len(devices)} GPUs; expected at most one job for each')
        # On Linux a training gets SIGTERM when the sweep is killed.
        tied = ['setpriv', '--pdeathsig', 'TERM'] if shutil.which('setpriv') else []
        self._jobs, self._command = jobs, list(command) or [*tied, sys.executable, '-m', 'medjax.train']
        self._local, self._devices = not command, devices
        self._places: queue.Queue[int] = queue.Queue()
        for place in range(jobs):
            self._places.put(place)
        self._running: set[subprocess.Popen[bytes]] = set()
        self._lock = threading.Lock()
        self.code = 0  # of the first run that did not finish

    def stop_at_signals(self) -> None:
        """Passes signals to stop on to all running trainings, which save their state."""
        def stop(number: int, _: Any) -> None:
            self.code = self.code or STOPPED
            for process in list(self._running):
                process.send_signal(signal.SIGTERM)

        for number in STOPPING:
            signal.signal(number, stop)

    def each(self, function: Callable[[Item], None], items: Iterable[Item]) -> None:
        """Calls a function of each item, `jobs` at a time."""
        with concurrent.futures.ThreadPoolExecutor(self._jobs) as threads:
            for one in [threads.submit(function, item) for item in items]:
                one.result()

    def train(self, wanted: Sequence[Run]) -> None:
        """Trains the runs that have no report yet."""
        todo = [run for run in wanted if not run.finished]
        cli.say(f'{len(wanted)} runs, {len(wanted) - len(todo)} of them finished')
        numbers = {run: f'{number}/{len(todo)}' for number, run in enumerate(todo, 1)}
        self.each(lambda run: self._finish(run, numbers[run]), todo)

    def _finish(self, run: Run, number: str) -> None:
        code = self.run(run, number)
        end = time.monotonic() + SHOWN
        while code == 0 and not self._local and not run.finished and time.monotonic() < end:
            time.sleep(0.5)
        if code is not None and not run.finished:
            self.fail(run, code)

    def fail(self, run: Run, code: int) -> None:
        """Notes a run that did not finish, so that no more are started, and prints its last line."""
        with self._lock:
            if not self.code:
                self.code = code or 1
                last = (run.folder / 'log.txt').read_text().splitlines()[-1:] or ['it printed nothing']
                cli.say(f'{run.folder}: exit code {code}: {last[0]}')

    def run(self, run: Run, number: str, more: Sequence[str] = (),
            unwanted: Callable[[], bool] = lambda: False) -> int | None:
        """Runs one training; its output is added to `log.txt` in its folder.

        Args:
          run: the training.
          number: for the line that is printed.
          more: further arguments.
          unwanted: asked every second whether the training is to be stopped.

        Returns:
          Its exit code; None where it was not started, because another run failed or a signal came.
        """
        place = self._places.get()
        try:
            run.folder.mkdir(parents=True, exist_ok=True)
            if self._local:
                self._wait_for_lock(run)
            environment = dict(os.environ)
            if self._devices:
                environment['CUDA_VISIBLE_DEVICES'] = self._devices[place]
            with (run.folder / 'log.txt').open('a') as log, self._lock:
                if self.code:
                    return None
                cli.say(f'{number}  {run.folder}')
                process = subprocess.Popen([*self._command, *run.arguments, *more, f'--workdir={run.folder}'],
                                           env=environment, stdout=log, stderr=subprocess.STDOUT,
                                           start_new_session=True)
                self._running.add(process)
            if self.code:  # a signal came meanwhile
                process.send_signal(signal.SIGTERM)
            return self._wait(process, unwanted)
        finally:
            self._places.put(place)

    def _wait(self, process: subprocess.Popen[bytes], unwanted: Callable[[], bool]) -> int:
        stopped = False
        try:
            while True:
                try:
                    return process.wait(1)
                except subprocess.TimeoutExpired:
                    if not stopped and unwanted():
                        process.send_signal(signal.SIGTERM)
                        stopped = True
        finally:
            self._running.discard(process)

    def _wait_for_lock(self, run: Run) -> None:
        """Waits for a training in the folder that a killed sweep has left, which is saving its state."""
        end, said = time.monotonic() + SAVING, False
        while lock.is_held(run.folder) and time.monotonic() < end and not self.code:
            if not said:
                cli.say(f'{run.folder}: a training is still saving there; waiting for its end')
                said = True
            time.sleep(0.5)


def gpus() -> list[str]:
    """The numbers of the GPUs that this process may use; none without an NVIDIA driver."""
    if os.environ.get('CUDA_VISIBLE_DEVICES'):
        return os.environ['CUDA_VISIBLE_DEVICES'].split(',')
    if not shutil.which('nvidia-smi'):
        return []
    listed = subprocess.run(['nvidia-smi', '-L'], capture_output=True, text=True, check=False).stdout
    return re.findall(r'^GPU (\d+):', listed, re.MULTILINE)


def sbatch(options: str, script: str) -> list[str]:
    """The command that submits a training to Slurm and waits for its end.

    Args:
      options: of sbatch, as in a shell.
      script: the batch script, which takes the arguments of a training.
    """
    return ['sbatch', '--wait', *words(options, '--sbatch'), script]
