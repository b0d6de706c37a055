"""The train loop, the only one: it knows steps, batches and checkpoints, and nothing of the problem."""

import math
import pathlib
import signal
import time
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from medjax.core import metrics, state
from medjax.core.experiment import Experiment
from medjax.core.log import Writer, progress
from medjax.core.step import watched
from medjax.errors import InputError


def train(experiment: Experiment, workdir: pathlib.Path, say: Callable[[str], None] = print) -> bool:
    """Trains from the newest checkpoint in `workdir`, or from scratch, to the last step.

    Args:
      experiment: what to train.
      workdir: where checkpoints and metrics go.
      say: takes the lines for the person who waits.

    Returns:
      True at the last step; False where SIGTERM came before: the step was finished and saved.

    Raises:
      InputError: at the first step whose loss or gradients are not finite, unless the config skips such steps.
    """
    plan, steps, size, abstract = experiment.plan, experiment.steps, experiment.check(), experiment.abstract()
    checkpoints = experiment.checkpoints(workdir)
    start = checkpoints.latest() or 0
    if start:
        train_state = plan.adopt(checkpoints.restore(start, plan.abstract(abstract)))
        say(f'resuming from step {start} of {steps}')
    key = jax.random.key(experiment.seed)
    writer = Writer(workdir, start)
    pending: list[Mapping[str, Any]] = []
    began, skipped, done = 0.0, 0, start
    stopping, previous = _listen(signal.SIGTERM)

    def flush(step: int) -> None:
        """Brings the pending steps' metrics to the host: the only place where it waits for the device."""
        nonlocal began, skipped, done
        if not pending:
            return
        host = jax.device_get(pending)
        pending.clear()
        bad = [(number, int(m['nonfinite'])) for number, m in enumerate(host, done) if m['nonfinite'] >= 0]
        if bad and not experiment.skip_nonfinite:
            raise InputError(_diagnosis(experiment, abstract, *bad[0]))
        skipped += len(bad)
        values = {f'train/{k}': v for k, v in metrics.compute(metrics.merge(m['states'] for m in host)).items()}
        values['train/grad_norm'] = float(host[-1]['grad_norm'])
        values['lr'] = float(experiment.schedule(step - 1))
        seconds = time.monotonic() - began
        values['images_per_s'] = size * len(host) / max(seconds, 1e-9)
        if skipped:
            values['skipped_steps'] = skipped
        writer.write(step, values)
        say(progress(step, steps, values, left=seconds / len(host) * (steps - step)))
        began, done = time.monotonic(), step

    try:
        if start < steps:
            step_fn = experiment.step(abstract)
            say(experiment.fit(step_fn, abstract))
        if not start:
            train_state = plan.initial(experiment.create, abstract, experiment.given)
        began = time.monotonic()
        for number, batch in enumerate(experiment.stream(start, steps), start):
            train_state, measured = step_fn(train_state, batch, key)
            pending.append(measured)
            if len(pending) > 2:  # let the host run ahead of the device by two steps, not by all of them
                jax.block_until_ready(pending[-3])
            step, last = number + 1, number + 1 == steps
            stop = bool(stopping)  # asked once: a signal that comes later in this round is the next round's
            if last or stop or step % experiment.log_every == 0:
                flush(step)
            # Even when told to stop: a validation left out would never be made up, and the best would be another.
            validate = experiment.eval_every and (last or step % experiment.eval_every == 0)
            if validate:
                flush(step)
                means = _validate(experiment, plan.whole(train_state), say)
                writer.write(step, {f'val/{k}': v for k, v in means.items()})
                if hasattr(experiment.evaluator, 'along'):  # keeps what shows the course of training
                    experiment.evaluator.along(plan.whole(train_state).variables(), workdir, step)
            if last or stop or validate or (experiment.save_every and step % experiment.save_every == 0):
                flush(step)
                checkpoints.save(step, plan.whole(train_state), means if validate else None)
                began = time.monotonic()
            if stop and not last:
                checkpoints.wait()
                say(f'SIGTERM: saved step {step} of {steps} in {workdir}; the same command goes on from there')
                return False
        return True
    finally:
        signal.signal(signal.SIGTERM, previous or signal.SIG_DFL)  # None: a handler that was not set from Python
        writer.close()
        checkpoints.close()
        experiment.release()


def _validate(experiment: Experiment, whole: state.TrainState, say: Callable[[str], None]) -> dict[str, float]:
    """What the evaluator measures on the validation cases."""
    means = experiment.evaluator.validated(experiment.evaluator(whole.variables(), 'val', quick=True))
    if experiment.best and experiment.best not in means:
        raise InputError(f'config.checkpoint.best: {experiment.best!r} is not measured; expected one of: '
                         + ', '.join(means))
    if experiment.best and math.isnan(means[experiment.best]):
        say(f'beware: {experiment.best} is not defined on these validation cases (one class only, perhaps): none is '
            'the best by it, and the weights of the last step will be judged')
    shown = {k: v for k, v in means.items() if k.startswith(experiment.best.split('_')[0] or k)}
    say('validation  ' + '  '.join(f'{k} {v:.4f}' for k, v in (shown or means).items()))
    return means


def _diagnosis(experiment: Experiment, abstract: state.TrainState, number: int, position: int) -> str:
    batch = experiment.batches[number]
    device = {k: v for k, v in batch.items() if k != 'id'}
    if experiment.augment is not None:  # the step watches what comes out of it, which may have other names and types
        device = jax.eval_shape(experiment.augment, device, jax.random.key(0))
    name = watched(device, jnp.zeros(()), abstract.params)[position][0]
    return (f'step {number + 1}: {name} is not finite; cases of the batch: {", ".join(map(str, batch["id"]))}. '
            'A smaller config.optim.lr or .clip may help; config.debug.skip_nonfinite=True skips such steps')


def _listen(number: int) -> tuple[list[int], Any]:
    caught: list[int] = []
    return caught, signal.signal(number, lambda signum, _: caught.append(signum))
