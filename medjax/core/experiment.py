"""An experiment as objects, and the program that one step of it becomes."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np
import optax

from medjax.core import contracts, cost, state
from medjax.core.checkpoint import Checkpoints
from medjax.core.cost import GIB
from medjax.core.sharding import Jit, Pmap
from medjax.core.step import Augment, Step, make_step, stream
from medjax.core.task import Task
from medjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that a config names, as objects; `medjax.build` creates it.

    Attributes:
      task: the task, which includes the network.
      data: the data set.
      batches: the run's batches as arrays on the host.
      augment: the augmentation, part of the compiled step; None for none.
      optimiser: the gradient transformation.
      schedule: the learning rate as a function of the step.
      plan: how the step runs on the devices.
      evaluator: per-case predictions and metrics of a split.
      seed: seed of all random numbers of the run.
      steps: number of training steps.
      accumulate: number of micro-batches of a batch.
      skip_nonfinite: whether a step whose loss or gradients are not finite is skipped; else it ends the run.
      log_every: steps between two logged lines.
      log_also: names of further trackers of the metrics, see `core.trackers`.
      eval_every: steps between two validations; 0 for none.
      save_every: steps between two checkpoints; 0 saves only at validations and at the end.
      keep: number of latest checkpoints that are kept.
      best: the validation metric whose best checkpoint is kept as well; '' for none.
      rank: `(value of best) -> number` that is higher for better values.
      placed: the batches of training data that is kept in device memory; None where it is not.
      init: `(shapes of the variables) -> {path: array}`, weights from elsewhere that replace initial ones; None for
        none.
    """

    task: Task
    data: contracts.Dataset
    batches: contracts.Batches
    augment: Augment | None
    optimiser: optax.GradientTransformation
    schedule: Callable[[int], float]
    plan: Jit | Pmap
    evaluator: contracts.Evaluator
    seed: int
    steps: int
    accumulate: int = 1
    skip_nonfinite: bool = False
    log_every: int = 10
    log_also: Sequence[str] = ()
    eval_every: int = 0
    save_every: int = 0
    keep: int = 2
    best: str = ''
    rank: Callable[[float], float] = float
    placed: contracts.PlacedBatches | None = None
    init: Callable[[Any], Mapping[str, np.ndarray]] | None = None

    def abstract_state(self) -> state.TrainState:
        """The shapes of the state, without an allocation; traced once."""
        return self._abstract_state

    def create_state(self, pretrained: Mapping[str, jax.Array] | None = None) -> state.TrainState:
        """The state at step 0; traceable.

        Args:
          pretrained: arrays that replace initial weights, by path.
        """
        example: Any = {k: np.zeros((1, *v.shape[1:]), v.dtype) for k, v in self._first_batch.items()}
        key = stream(jax.random.key(self.seed), 'init')
        return state.create_state(self.task, self.optimiser, key, example, pretrained)

    @functools.cached_property
    def pretrained(self) -> Mapping[str, np.ndarray]:
        """The weights from elsewhere with which the run starts, by path; see `state.create_state`."""
        if self.init is None:
            return {}
        abstract = self.abstract_state()
        return self.init({'params': abstract.params, **abstract.collections})

    def checkpoints(self, workdir: pathlib.Path, say: Callable[[str], None] = print) -> Checkpoints:
        """The checkpoints of the run in a folder; `say` receives lines about damaged ones."""
        return Checkpoints(workdir / 'checkpoints', keep=self.keep, best=self.best, rank=self.rank,
                           statistics=self.data.statistics, say=say)

    def global_batch_size(self) -> int:
        """The number of examples in a global batch.

        Raises:
          InputError: it is not a multiple of the devices and micro-batches, or a count of the config is below 1.
        """
        size = len(self._first_batch['index'])
        for name, value in (('optim.accumulate', self.accumulate), ('log.every', self.log_every)):
            if value < 1:
                raise InputError(f'config.{name}: {value}; expected at least 1')
        if self.task.joint and (self.accumulate > 1 or self.plan.axis_name):
            parallel = 'pmap' if self.plan.axis_name else 'jit'
            raise InputError(f'config.optim.accumulate: {self.accumulate}, config.parallel: {parallel!r}; expected 1 '
                             "and 'jit': the loss of this task is defined on a whole batch")
        if size % (self.plan.batch_multiple * self.accumulate):
            raise InputError(f'config.batch: {size}; expected a multiple of {self.plan.batch_multiple} devices × '
                             f'{self.accumulate} micro-batches (config.optim.accumulate)')
        return size

    def step(self, abstract: state.TrainState) -> Step:
        """The training step, compiled at its first call; its state is donated.

        Args:
          abstract: the shapes of the state.
        """
        augment = self.placed.taking(self.augment) if self.placed else self.augment
        step = make_step(self.task, self.optimiser, augment=augment, accumulate=self.accumulate,
                         skip_nonfinite=self.skip_nonfinite, axis_name=self.plan.axis_name)
        return self.plan.compile(step, abstract)

    def stream(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The batches of steps `start` to `stop` as the step takes them, on the devices."""
        if self.placed:
            for batch in self.placed.stream(start, stop):
                yield {**self.plan.place_batch(batch), 'arrays': self._resident_arrays}
        else:
            for batch in self.batches.stream(start, stop):
                yield self.plan.place_batch({name: value for name, value in batch.items() if name != 'id'})

    def flops(self) -> float:
        """Number of multiplications and additions of a step, by the definition of its network."""
        # Without micro-batches: of a loop over them only one iteration would be counted.
        step = make_step(self.task, self.optimiser, augment=self.augment)
        return cost.flops(step, self.abstract_state(), self._first_batch, jax.random.key(0))

    def release(self) -> None:
        """Frees the training data in device memory."""
        self.__dict__.pop('_resident_arrays', None)

    def check_memory(self, step: Any, abstract: state.TrainState) -> str:
        """Compiles the step and compares the memory that it needs with that of the device.

        Args:
          step: the step, not called yet.
          abstract: the shapes of the state.

        Returns:
          A line for the log: the compile time and the memory.

        Raises:
          InputError: the step does not fit into the device's memory; the message proposes changes.
        """
        began = time.monotonic()
        shapes = self.plan.step_shapes(abstract), next(self.stream(0, 1)), jax.random.key(0)
        needed = cost.program_memory(step.lower(*shapes).compile())
        available = cost.device_memory(jax.local_devices()[0])
        resident = self.placed.resident.size if self.placed else 0
        if needed > available:
            # Gradients are as large as the weights; neither depends on the batch.
            fixed = cost.bytes_per_device(shapes[0]) + cost.bytes_per_device(shapes[0].params) + int(resident)
            batch = self.global_batch_size() // self.plan.batch_multiple
            advice = cost.memory_advice(needed, fixed, available, batch, self.accumulate)
            if int(resident):
                advice = f'config.keep_on_device=False, which reads the training data ahead; {advice}'
            raise InputError(f'config.batch: a step takes {needed / GIB:.2f} GiB, and a device has '
                             f'{available / GIB:.2f}; {advice}')
        use = 'memory use is not reported by this backend'
        if needed:
            each = ' of each device' if jax.device_count() > 1 else ''
            use = f'a step takes {needed / GIB:.2f} GiB of the {available / GIB:.1f} GiB{each}'
        if self.placed and needed:
            use += f', {resident / GIB:.2f} GiB of them for the training data, which stays in device memory'
        return f'compiled in {time.monotonic() - began:.1f} s; {use}'

    @functools.cached_property
    def _abstract_state(self) -> state.TrainState:
        return jax.eval_shape(self.create_state)

    @functools.cached_property
    def _resident_arrays(self) -> dict[str, Any]:
        """The training data in device memory."""
        assert self.placed is not None
        return self.plan.replicate(self.placed.resident.load())

    @functools.cached_property
    def _first_batch(self) -> dict[str, np.ndarray]:
        with jax.ensure_compile_time_eval():  # a data set may compute its items, even while a state is traced
            return {name: value for name, value in self.batches[0].items() if name != 'id'}
