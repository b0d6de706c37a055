"""The trainings of a sweep as an array of jobs of a scheduler, by submitit; see `launch/submit.py`."""

import argparse
import contextlib
import functools
import os
import pathlib
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax

from medjax import atomic_files, cli
from medjax.core import lock
from medjax.core.signals import STOPPED
from medjax.errors import InputError
from medjax.sweep import command, settings, table

JOBS = 'jobs.json'  # the job of each run, by its folder
REQUEUES = 1000  # times that a job which reaches its time limit is queued again
POLL = 2.0  # seconds between looks at the queue
COLLECT = 'when they have ended, the same command makes the table of all runs'


class Training:
    """One training as a job: it saves its state at a signal, and is queued again.

    Args:
      arguments: of `python -m medjax.train`.
      folder: its work folder.
      command: what the arguments follow.
    """

    def __init__(self, arguments: Sequence[str], folder: str,
                 command: Sequence[str] = (sys.executable, '-m', 'medjax.train')):
        self._arguments, self._folder, self._command = list(arguments), folder, list(command)
        self._number: int | None = None  # of the process

    def __call__(self) -> int:
        """Trains; returns 0, or 75 where another task of the job queues it again.

        Raises:
          RuntimeError: the training failed.
        """
        import submitit

        preempted = submitit.JobEnvironment()._usr_sig()
        with pathlib.Path(self._folder, 'log.txt').open('a') as log:
            # Slurm sends that signal to all processes of a job; the training is stopped by `checkpoint`.
            process = subprocess.Popen([*self._command, *self._arguments, f'--workdir={self._folder}'], stdout=log,
                                       stderr=subprocess.STDOUT,
                                       preexec_fn=functools.partial(signal.signal, preempted, signal.SIG_IGN))
        self._number = process.pid
        code = process.wait()
        if code == STOPPED:  # the scheduler has sent SIGTERM to the training too
            signal.raise_signal(preempted)
        elif code:
            raise RuntimeError(f'{self._folder}: exit code {code}; see log.txt there')
        return code

    def checkpoint(self) -> Any:
        """Stops the training, and waits until it has saved; returns what is queued in place of this job."""
        import submitit

        with contextlib.suppress(ChildProcessError, ProcessLookupError):  # it has ended
            if self._number is not None:
                os.kill(self._number, signal.SIGTERM)
                # Not by Popen, which the signal may have interrupted while it waits.
                os.waitid(os.P_PID, self._number, os.WEXITED | os.WNOWAIT)
        return submitit.helpers.DelayedSubmission(Training(self._arguments, self._folder, self._command))


def main(arguments: Sequence[str], description: str) -> int:
    """Submits the runs of a sweep that are not finished; returns the exit code."""
    made = command.parser(description)
    made.add_argument('--executor', choices=('slurm', 'local'), default='slurm', help='where the jobs run')
    made.add_argument('--hours', type=float, default=24.0, help='time limit of a job')
    made.add_argument('--sbatch', default='', help='further options of sbatch, as --partition=NAME')
    made.add_argument('--wait', action='store_true', help='wait for the end of all jobs')
    made.add_argument('--metrics', default='', help='metrics of the table, by commas')
    given = command.parse(made, arguments)
    jax.config.update('jax_platforms', 'cpu')  # the devices are for the trainings
    workdir = pathlib.Path(given.workdir).resolve()
    wanted = settings.runs(given, workdir)
    settings.check(wanted)
    atomic_files.make_folder(workdir)
    with lock.locked(workdir, cli.say):
        command.keep_arguments(given, workdir)
        left = [run for run in wanted if not run.finished]
        ended = _submit(given, left, workdir) if left else {}
        if given.wait:
            _wait(left, ended)
            left = [run for run in left if not run.finished]
            for run in left:
                cli.say(f'{run.folder}: not finished; look at log.txt there, and at {workdir / "submitit"}')
        if not left:
            names = [name for name in given.metrics.split(',') if name]
            command.write(table.summarise(wanted, workdir, given.folds, names), workdir)
        elif not given.wait:
            cli.say(COLLECT)
    return 1 if left and given.wait else 0


def _submit(given: argparse.Namespace, left: Sequence[settings.Run],
            workdir: pathlib.Path) -> dict[str, Callable[[], bool]]:
    """Submits the runs that are not in the queue already as one array.

    Returns:
      By the folder of each run, a function that says whether its job has ended.
    """
    executor = _executor(given, workdir)
    known = atomic_files.read_json(workdir / JOBS) if (workdir / JOBS).exists() else {}
    waiting = {run for run in left if lock.is_held(run.folder)
               or (given.executor == 'slurm' and not _left_queue(known.get(str(run.folder))))}
    todo = [run for run in left if run not in waiting]
    several = ['--distributed=auto'] if given.executor == 'slurm' else []
    submitted = []
    with executor.batch() if todo else contextlib.nullcontext():
        for run in todo:
            run.folder.mkdir(parents=True, exist_ok=True)
            submitted.append(executor.submit(Training([*run.arguments, *several], str(run.folder))))
    jobs = dict(zip((str(run.folder) for run in todo), submitted))
    atomic_files.write_json(workdir / JOBS, {**known, **{folder: job.job_id for folder, job in jobs.items()}})
    numbers = f': {submitted[0].job_id} to {submitted[-1].job_id}' if submitted else ''
    cli.say(f'{len(todo)} jobs submitted{numbers}   {len(waiting)} are in the queue already')
    # Those of Slurm by its queue: the result of a job that was queued again is not there, nor any accounting perhaps.
    slurm = {folder: functools.partial(_left_queue, getattr(job, 'job_id', job))
             for folder, job in {**{str(run.folder): known.get(str(run.folder)) for run in waiting}, **jobs}.items()}
    local = {str(run.folder): (lambda: True) for run in waiting} | {folder: job.done for folder, job in jobs.items()}
    return slurm if given.executor == 'slurm' else local


def _executor(given: argparse.Namespace, workdir: pathlib.Path) -> Any:
    """The executor of submitit.

    Raises:
      InputError: submitit, or Slurm, is not installed; an option that is not `--NAME=VALUE`.
    """
    try:
        import submitit
    except ImportError as error:
        raise InputError("launch/submit.py needs submitit; install it: pip install submitit, or medjax with its extra: "
                         "pip install --editable '.[launch]'") from error
    try:
        executor = submitit.AutoExecutor(workdir / 'submitit', cluster=given.executor,
                                         **{f'{given.executor}_max_num_timeout': REQUEUES})
    except RuntimeError as error:
        raise InputError(f'--executor={given.executor}: {error}') from error
    more = {}
    for option in settings.words(given.sbatch, '--sbatch'):
        name, equals, value = option.removeprefix('--').partition('=')
        if not equals or not option.startswith('--'):
            raise InputError(f'--sbatch: {option}; expected options of the form --NAME=VALUE')
        more[name.replace('-', '_')] = value
    executor.update_parameters(timeout_min=max(1, round(60 * given.hours)), name='medjax')
    if given.executor == 'slurm':
        executor.update_parameters(slurm_array_parallelism=given.jobs if given.jobs > 1 else 256,
                                   slurm_additional_parameters=more, slurm_signal_delay_s=120)
    return executor


def _left_queue(job: str | None) -> bool:
    """Whether a job of Slurm is neither waiting nor running."""
    if job is None:
        return True
    found = subprocess.run(['squeue', '-h', '-j', job], capture_output=True, text=True, check=False)
    return found.returncode != 0 or not found.stdout.strip()


def _wait(left: Sequence[settings.Run], ended: Mapping[str, Callable[[], bool]]) -> None:
    """Waits until the jobs of all runs have ended."""
    running = set(left)
    while running:
        time.sleep(POLL)
        running = {run for run in running if lock.is_held(run.folder) or not ended[str(run.folder)]()}
