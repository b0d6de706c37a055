"""An experiment as objects, and the program that one step of it becomes."""

import dataclasses
import functools
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import jax
import numpy as np
import optax

from medjax.core import cost, state
from medjax.core.checkpoint import Checkpoints
from medjax.core.cost import GIB
from medjax.core.sharding import Jit, Pmap
from medjax.core.step import Augment, Step, make_step, stream
from medjax.core.task import Task
from medjax.errors import InputError

Rows = list[dict[str, Any]]


class Batches(Protocol):
    """The batches of a run: a pure function of the step."""

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        """The batch of one step."""

    def stream(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """The batches of steps `start` to `stop`, read ahead."""


class Placed(Protocol):
    """The same batches of data that lie on the device."""

    resident: Any

    def stream(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """Where the examples of steps `start` to `stop` lie."""

    def taking(self, augment: Augment | None) -> Augment:
        """An augmentation that takes the examples from there first."""


class Evaluator(Protocol):
    """What a model is worth on the cases of a split."""

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> Rows:
        """A row per case: id, patient, split and metrics; `quick` for validation while training."""

    def validated(self, rows: Rows) -> dict[str, float]:
        """What rows of validation cases are worth, by metric; NaN for what they do not tell."""


@dataclasses.dataclass(frozen=True)
class Experiment:
    """All that a config names, as objects; `medjax.build` makes it.

    Attributes:
      batches: the run's batches as arrays on the host.
      placed: the same where the data lies on the device; None where it doesn't.
      init: gives, for the shapes of the variables at step 0, those that come from elsewhere; None where none do.
    """

    task: Task
    data: Any
    batches: Batches
    augment: Augment | None
    optimiser: optax.GradientTransformation
    schedule: Callable[[int], float]
    plan: Jit | Pmap
    evaluator: Evaluator
    seed: int
    steps: int
    accumulate: int = 1
    skip_nonfinite: bool = False
    log_every: int = 10
    eval_every: int = 0
    save_every: int = 0
    keep: int = 2
    best: str = ''
    mode: str = 'max'
    placed: Placed | None = None
    init: Callable[[Any], Mapping[str, np.ndarray]] | None = None

    def abstract(self) -> state.TrainState:
        """The state's shapes, without allocating anything; traced once."""
        return self._abstract

    def create(self, given: Mapping[str, jax.Array] | None = None) -> state.TrainState:
        """The state at step 0, with what is given in place of initial weights; traceable."""
        first = {k: np.zeros((1, *v.shape[1:]), v.dtype) for k, v in self._first.items()}
        return state.create(self.task, self.optimiser, stream(jax.random.key(self.seed), 'init'), first, given)

    @functools.cached_property
    def given(self) -> Mapping[str, np.ndarray]:
        """The weights that the run begins with and that are not drawn: by path, as `state.create` takes them."""
        abstract = self.abstract()
        return self.init({'params': abstract.params, **abstract.collections}) if self.init else {}

    def checkpoints(self, workdir: pathlib.Path) -> Checkpoints:
        """The run's checkpoints."""
        return Checkpoints(workdir / 'checkpoints', keep=self.keep, best=self.best, mode=self.mode,
                           statistics=self.data.statistics)

    def check(self) -> int:
        """Gives the number of examples in a global batch.

        Raises:
          InputError: where it cannot be dealt out to the devices and micro-batches.
        """
        size = len(self._first['index']) * jax.process_count()
        for name, value in (('optim.accumulate', self.accumulate), ('log.every', self.log_every)):
            if value < 1:
                raise InputError(f'config.{name}: {value}; expected at least 1')
        if self.task.joint and (self.accumulate > 1 or self.plan.axis_name):
            raise InputError(f'config.optim.accumulate: {self.accumulate}, config.parallel: '
                             f"{'pmap' if self.plan.axis_name else 'jit'!r}; expected 1 and 'jit': this loss is of a "
                             'whole batch')
        if size % (self.plan.examples * self.accumulate):
            raise InputError(f'config.batch: {size} is no multiple of {self.plan.examples} devices × {self.accumulate} '
                             'micro-batches (config.optim.accumulate)')
        return size

    def step(self, abstract: state.TrainState) -> Step:
        """The train step, compiled when it is first called; its state is donated."""
        return self.plan.compile(make_step(
            self.task, self.optimiser, augment=self.placed.taking(self.augment) if self.placed else self.augment,
            accumulate=self.accumulate, skip_nonfinite=self.skip_nonfinite, axis_name=self.plan.axis_name), abstract)

    def stream(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The batches of steps `start` to `stop` as the step takes them, on the devices."""
        if self.placed:
            for batch in self.placed.stream(start, stop):
                yield {**self.plan.place_batch(batch), 'arrays': self._kept}
        else:
            for batch in self.batches.stream(start, stop):
                yield self.plan.place_batch({name: value for name, value in batch.items() if name != 'id'})

    def flops(self) -> float:
        """Multiplications and additions of a step, as the definition of its network has them."""
        # Of the batch as one: of a loop over micro-batches only one round would be counted.
        step = make_step(self.task, self.optimiser, augment=self.augment)
        return cost.flops(step, self.abstract(), self._first, jax.random.key(0))

    def release(self) -> None:
        """Lets go of the training data on the devices."""
        self.__dict__.pop('_kept', None)

    def fit(self, step_fn: Step, abstract: state.TrainState) -> str:
        """Compiles the step and asks what it takes, before any of it is run.

        Returns:
          A line about it.

        Raises:
          InputError: where the step does not fit the device, with a proposal.
        """
        began = time.monotonic()
        shapes = self.plan.shapes(abstract), next(self.stream(0, 1)), jax.random.key(0)
        need, have = cost.memory(step_fn.lower(*shapes).compile()), cost.room(jax.local_devices()[0])
        if need > have:
            # Gradients are as large as the weights; neither depends on the batch.
            kept = int(self.placed.resident.size) if self.placed else 0
            fixed = cost.held(shapes[0]) + cost.held(shapes[0].params) + kept
            reads = 'config.resident=False, which reads the training data ahead; ' if kept else ''
            raise InputError(f'config.batch: a step takes {need / GIB:.2f} GiB, and a device has {have / GIB:.2f}; '
                             + reads + cost.proposal(need, fixed, have, self.check() // self.plan.examples,
                                                     self.accumulate))
        each = ' of each device' if jax.device_count() > 1 else ''
        told = f'a step takes {need / GIB:.2f} GiB of the {have / GIB:.1f} GiB{each}' if need else 'memory is not told'
        if self.placed and need:
            told += f', of it {self.placed.resident.size / GIB:.2f} GiB the training data, which stays on the device'
        return f'compiled in {time.monotonic() - began:.1f} s; {told}'

    @functools.cached_property
    def _abstract(self) -> state.TrainState:
        return jax.eval_shape(self.create)

    @functools.cached_property
    def _kept(self) -> dict[str, Any]:
        """The training data on the devices."""
        return self.plan.keep(self.placed.resident.load())

    @functools.cached_property
    def _first(self) -> dict[str, np.ndarray]:
        with jax.ensure_compile_time_eval():  # a data set may compute what its items have, also while a state is traced
            return {name: value for name, value in self.batches[0].items() if name != 'id'}
