"""The train loop, shared by all tasks: it handles steps, batches and checkpoints, and knows nothing of the problem."""

import dataclasses
import math
import pathlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from medjax.core import distributed, metrics, signals, state
from medjax.core.checkpoint import Checkpoints
from medjax.core.experiment import Experiment
from medjax.core.log import NoWriter, Writer, progress_line
from medjax.core.step import Step, checked_tensors
from medjax.core.trackers import Trackers
from medjax.errors import InputError

Say = Callable[[str], None]


def train(experiment: Experiment, workdir: pathlib.Path, say: Say = print, from_step: int | None = None,
          trackers: Trackers | None = None) -> bool:
    """Trains to the last step, from the newest whole checkpoint in `workdir` or from scratch.

    Args:
      experiment: the experiment.
      workdir: the folder of checkpoints and metrics.
      say: receives lines of progress.
      from_step: the step of the checkpoint to go on from, in place of the newest.
      trackers: further writers of the metrics.

    Returns:
      True at the last step. False after SIGTERM, SIGINT or SIGHUP: the step was finished and saved.

    Raises:
      InputError: at the first step whose loss or gradients are not finite, unless the config skips such steps.
    """
    size, abstract = experiment.global_batch_size(), experiment.abstract_state()
    plan, checkpoints = experiment.plan, experiment.checkpoints(workdir, say)
    start, restored = checkpoints.resume(plan.abstract_state(abstract), from_step)
    current, step_fn = None, None
    if restored is not None:
        current = plan.place_state(restored)
        say(f'resuming from step {start} of {experiment.steps}')
    writer = Writer(workdir, start, say, trackers) if distributed.is_first() else NoWriter()
    run = _Run(experiment, workdir, checkpoints, writer, _StepLog(experiment, abstract, size, start, writer, say), say)
    try:
        with signals.noted() as stop_signals:
            if start < experiment.steps:
                step_fn = experiment.step(abstract)
                say(experiment.check_memory(step_fn, abstract))
            if current is None:
                current = plan.init_state(experiment.create_state, abstract, experiment.pretrained)
            return step_fn is None or _run_steps(run, step_fn, current, start, stop_signals)
    finally:
        writer.close()
        checkpoints.close()
        experiment.release()


@dataclasses.dataclass(frozen=True)
class _Run:
    """A run under way: the experiment, and where its results go."""

    experiment: Experiment
    workdir: pathlib.Path
    checkpoints: Checkpoints
    writer: Writer | NoWriter
    log: '_StepLog'
    say: Say


def _run_steps(run: _Run, step_fn: Step, current: Any, start: int, stop_signals: list[str]) -> bool:
    """Runs the steps from `start` on; returns False if a signal stopped them, at the last one too.

    Args:
      run: the run.
      step_fn: the compiled step.
      current: the state at step `start`; it is donated.
      start: number of steps so far.
      stop_signals: the name of a signal to stop; empty without one.
    """
    experiment, plan, steps = run.experiment, run.experiment.plan, run.experiment.steps
    if stop_signals and not distributed.several():  # came while the step was compiled
        run.say(f'{stop_signals[0]}: stopped at step {start} of {steps}; rerun the same command to resume')
        return False
    key = jax.random.key(experiment.seed)
    distributed.gathered(None)  # not all processes have compiled equally fast
    run.log.restart_clock()
    for step, batch in enumerate(experiment.stream(start, steps), start + 1):
        current, measured = step_fn(current, batch, key)
        run.log.add(measured)
        last = step == steps
        stop = distributed.reached_stop(step, stop_signals)  # read once: a later signal stops the next step
        # Also before a stop: a validation that is left out would not be repeated, and could change the best checkpoint.
        validate = experiment.eval_every > 0 and (last or step % experiment.eval_every == 0)
        save = last or stop or validate or (experiment.save_every > 0 and step % experiment.save_every == 0)
        if save or step % experiment.log_every == 0:
            run.log.flush(step)
        means = _validate(run, step, plan.logical_state(current)) if validate else None
        if save:
            run.checkpoints.save(step, plan.logical_state(current), means)
            run.log.restart_clock()
        if stop:
            run.checkpoints.wait()
            run.say(f'{stop_signals[0]}: saved step {step} of {steps} in {run.workdir}; rerun the same command to '
                    'resume')
            return False
    return True


def _validate(run: _Run, step: int, logical: state.TrainState) -> dict[str, float]:
    """The evaluator's metrics on the validation cases, also written to the log.

    Raises:
      InputError: the metric of the best checkpoint is not among them.
    """
    evaluator, best = run.experiment.evaluator, run.experiment.best
    variables = run.experiment.plan.local(logical.variables())
    with distributed.splitting():
        rows = evaluator(variables, 'val', quick=True)
    means = evaluator.validation_metrics(rows)
    if best and best not in means:
        raise InputError(f'config.checkpoint.best: {best!r} is not measured; expected one of: {", ".join(means)}')
    if best and math.isnan(means[best]):
        run.say(f'warning: {best} is not defined on these validation cases (perhaps they have one class only): no '
                "checkpoint is the best one; evaluating the last step's weights")
    shown = {k: v for k, v in means.items() if k.startswith(best.split('_')[0] or k)}
    run.say('validation  ' + '  '.join(f'{k} {v:.4f}' for k, v in (shown or means).items()))
    run.writer.write(step, {f'val/{k}': v for k, v in means.items()})
    if distributed.is_first():
        evaluator.snapshot_training(variables, run.workdir, step)
    return means


class _StepLog:
    """The metrics of the steps, which stay on the device until they are logged.

    Args:
      experiment: the experiment.
      abstract: the shapes of the state.
      size: number of examples of a global batch.
      start: the step from which the run continues.
      writer: writes the metrics.
      say: receives lines of progress.
    """

    def __init__(self, experiment: Experiment, abstract: state.TrainState, size: int, start: int,
                 writer: Writer | NoWriter, say: Say):
        self._experiment, self._abstract, self._size, self._writer, self._say = experiment, abstract, size, writer, say
        self._pending: list[Mapping[str, Any]] = []
        self._logged, self._skipped, self._began = start, 0, 0.0

    def restart_clock(self) -> None:
        """Starts the time measurement of the next logged line."""
        self._began = time.monotonic()

    def add(self, measured: Mapping[str, Any]) -> None:
        """Adds a step's metrics; waits for the device where the host is more than two steps ahead of it."""
        self._pending.append(measured)
        if len(self._pending) > 2:
            jax.block_until_ready(self._pending[-3])

    def flush(self, step: int) -> None:
        """Logs the metrics of all steps up to `step`: the only transfer from the device in the loop.

        Raises:
          InputError: at the first step that is not finite, unless the config skips such steps.
        """
        if not self._pending:
            return
        experiment, host = self._experiment, jax.device_get(self._pending)
        self._pending.clear()
        tensors = [(number, int(m['nonfinite'])) for number, m in enumerate(host, self._logged)]
        nonfinite = [(number, position) for number, position in tensors if position >= 0]
        if nonfinite and not experiment.skip_nonfinite:
            raise InputError(_nonfinite_message(experiment, self._abstract, *nonfinite[0]))
        self._skipped += len(nonfinite)
        values = {f'train/{k}': v for k, v in metrics.compute(metrics.merge(m['states'] for m in host)).items()}
        values['train/grad_norm'] = float(host[-1]['grad_norm'])
        values['lr'] = float(experiment.schedule(step - 1))
        seconds = time.monotonic() - self._began
        values['images_per_s'] = self._size * len(host) / max(seconds, 1e-9)
        if self._skipped:
            values['skipped_steps'] = self._skipped
        self._writer.write(step, values)
        left = seconds / len(host) * (experiment.steps - step)
        self._say(progress_line(step, experiment.steps, values, left))
        self._logged = step
        self.restart_clock()


def _nonfinite_message(experiment: Experiment, abstract: state.TrainState, number: int, position: int) -> str:
    """The message about a step that is not finite: the step, the first such tensor, and the cases of the batch."""
    batch = experiment.batches[number]
    checked: Any = {k: v for k, v in batch.items() if k != 'id'}
    if experiment.augment is not None:  # the step checks the augmented batch, whose names and dtypes may differ
        checked = jax.eval_shape(experiment.augment, checked, jax.random.key(0))
    name = checked_tensors(checked, jnp.zeros(()), abstract.params)[position][0]
    return (f'step {number + 1}: {name} is not finite; cases of the batch: {", ".join(map(str, batch["id"]))}. '
            'A smaller config.optim.lr or .clip may help; config.debug.skip_nonfinite=True skips such steps')
