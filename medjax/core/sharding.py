"""Plans that run one step function on many devices: jit over a named mesh, or pmap."""

import functools
import math
from collections.abc import Callable, Mapping
from typing import Annotated, Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from medjax.core.step import Step
from medjax.errors import InputError
from medjax.options import Count, Range

SMALL = 1024  # leaves with fewer elements are replicated: to shard them costs more than it saves


class Jit:
    """A plan that compiles the step by jit over a mesh with the axes `data`, `fsdp` and `space`.

    Batches are logically global: `data` and `fsdp` split the examples, `fsdp` also the weights and the optimiser's
    state, and `space` the first spatial axis of each volume. Losses, batch statistics and metrics are those of the
    whole batch, for every mesh.

    Args:
      data: number of devices along `data`; -1 for all that the other axes leave.
      fsdp: number of devices along `fsdp`.
      space: number of devices along `space`.
      devices: the devices to use; all of them by default.

    Raises:
      InputError: the product of the axes is not the number of devices; or a process would have a part of the devices
        among which `space` splits a volume, and others.
    """

    axis_name = None

    def __init__(self, *, data: Annotated[int, Range(low=-1)] = -1, fsdp: Count = 1, space: Count = 1,
                 devices: list[Any] | None = None):
        # A process' devices are neighbours, so that its examples are contiguous rows of a batch.
        devices = devices or sorted(jax.devices(), key=lambda device: device.process_index)
        rest = len(devices) // max(fsdp * space, 1)
        data = rest if data == -1 else data
        if min(fsdp, space) < 1 or data * fsdp * space != len(devices) or not data:
            raise InputError(f'config.mesh: data={data} × fsdp={fsdp} × space={space}; expected a product equal to the '
                             f'number of devices, {len(devices)}')
        self.mesh = Mesh(np.array(devices).reshape(data, fsdp, space), ('data', 'fsdp', 'space'),
                         axis_types=(AxisType.Auto,) * 3)
        self.batch_multiple = data * fsdp  # the batch size must be a multiple of this
        self.supports_resident = space == 1  # whether training data may be kept in device memory, a copy on each device
        local, processes = jax.local_device_count(), jax.process_count()
        if processes > 1 and local % space and space % local:
            raise InputError(f'config.mesh.space: {space}, with {local} devices in each of {processes} processes; '
                             'expected one that is a multiple of the other')
        # Processes among which `space` splits a volume all read it.
        self._parts = min(processes, self.batch_multiple)  # into which the processes split a batch
        self._part = jax.process_index() * self._parts // processes

    def rows(self, batch: int) -> range:
        """The rows of a global batch that this process reads."""
        size = batch // self._parts
        return range(self._part * size, (self._part + 1) * size)

    def _state_sharding(self, leaf: Any) -> NamedSharding:
        size, spec = self.mesh.shape['fsdp'], [None] * leaf.ndim
        divisible = [d for d in range(leaf.ndim) if leaf.shape[d] % size == 0]
        if size > 1 and divisible and math.prod(leaf.shape) >= SMALL:
            spec[max(divisible, key=lambda d: leaf.shape[d])] = 'fsdp'
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def _batch_sharding(self, leaf: Any) -> NamedSharding:
        space = 'space' if leaf.ndim > 2 and leaf.shape[1] % self.mesh.shape['space'] == 0 else None
        return NamedSharding(self.mesh, PartitionSpec(('data', 'fsdp'), *([space] if leaf.ndim > 1 else [])))

    def compile(self, step: Step, state: Any) -> Step:
        """The step, compiled at its first call; its input state is donated.

        Args:
          step: the step.
          state: the shapes of the state.
        """
        # The output state has the layout of the input state; otherwise the second step would compile again.
        layout = jax.tree.map(self._state_sharding, state), NamedSharding(self.mesh, PartitionSpec())
        return jax.jit(self._evenly_sharded(step), donate_argnums=0, out_shardings=layout)

    def _evenly_sharded(self, step: Step) -> Step:
        """The step, in which arrays whose first spatial axis `space` does not divide are replicated along that axis.

        The inputs and outputs of every module are constrained. The partitioner pads an axis that it cannot divide (2
        voxels of a coarse level over 4 devices), and then computes wrong gradients of convolutions without an error
        (jax 0.10 to 0.12). Coarse levels are small, so that their replication costs little.
        """
        size, free = self.mesh.shape['space'], PartitionSpec.UNCONSTRAINED
        if size == 1:
            return step

        def replicated(x: Any) -> Any:
            if not isinstance(x, jax.Array) or x.ndim < 4 or x.shape[1] % size == 0:
                return x
            spec = PartitionSpec(free, None, *[free] * (x.ndim - 2))
            return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))

        def intercept(call: Callable[..., Any], args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
            if context.method_name.startswith('_') and context.method_name != '__call__':
                return call(*args, **kwargs)  # a private method is no border, and may change the containers it is given
            args, kwargs = jax.tree.map(replicated, (args, kwargs))
            return jax.tree.map(replicated, call(*args, **kwargs))

        @functools.wraps(step)
        def evenly_sharded(*args: Any) -> Any:
            with nn.intercept_methods(intercept):
                return step(*args)

        return evenly_sharded

    def init_state(self, create: Callable[..., Any], state: Any, *args: Any) -> Any:
        """The initial state, created in its sharded layout; under `fsdp` no device ever stores all of it.

        Args:
          create: `(*args) -> state`.
          state: the shapes of the state.
          *args: arguments of `create`.
        """
        return jax.jit(create, out_shardings=jax.tree.map(self._state_sharding, state),
                       compiler_options=_fast_compile_options(self.mesh.devices.flat[0]))(*args)

    def place_state(self, restored: Any) -> Any:
        """A state that was restored to the layout of `abstract_state`, as the step takes it."""
        return restored

    def abstract_state(self, state: Any) -> Any:
        """Shapes with shardings, to restore a checkpoint onto this mesh.

        Args:
          state: the shapes of the state.
        """
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._state_sharding(x)), state)

    step_shapes = abstract_state  # shapes of the state as the step takes it

    def place_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """The global batch on the devices, from the rows that this process reads."""
        return self._put(batch, {k: self._batch_sharding(v) for k, v in batch.items()}, self._parts, self._part)

    def abstract_batch(self, batch: Mapping[str, Any]) -> dict[str, jax.ShapeDtypeStruct]:
        """Shapes with shardings of a global batch, to compile a step without data."""
        return {name: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=self._batch_sharding(leaf))
                for name, leaf in batch.items()}

    def replicate(self, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """A copy of the arrays on every device."""
        return self._put(arrays, dict.fromkeys(arrays, NamedSharding(self.mesh, PartitionSpec())))

    def _put(self, arrays: Mapping[str, np.ndarray], layout: dict[str, NamedSharding], parts: int = 1,
             part: int = 0) -> dict[str, jax.Array]:
        """Arrays on the devices: all of them, or from one of several parts of equally many rows."""
        if jax.process_count() == 1:
            return jax.device_put(dict(arrays), layout)  # a third of the time of the call below

        def placed(array: np.ndarray, sharding: NamedSharding) -> jax.Array:
            if parts == 1:
                return jax.make_array_from_callback(array.shape, sharding, lambda index: array[index])
            count = parts * len(array)

            def shard(index: Any) -> np.ndarray:
                first, last, _ = index[0].indices(count)
                return array[(slice(first - part * len(array), last - part * len(array)), *index[1:])]

            return jax.make_array_from_callback((count, *array.shape[1:]), sharding, shard)

        return {k: placed(np.asarray(v), layout[k]) for k, v in arrays.items()}

    def logical_state(self, state: Any) -> Any:
        """The state as one logical tree, for checkpoints."""
        return state

    def local(self, tree: Any) -> Any:
        """Arrays for evaluators: with several processes a copy on each device of this process, of which it disposes."""
        if jax.process_count() == 1:
            return tree
        here = Mesh(np.array(jax.local_devices()), ('data',), axis_types=(AxisType.Auto,))

        def copied(array: jax.Array) -> jax.Array:
            copies = {shard.device: shard.data for shard in array.addressable_shards}
            return jax.make_array_from_single_device_arrays(
                array.shape, NamedSharding(here, PartitionSpec()), [copies[device] for device in jax.local_devices()])

        return jax.tree.map(copied, self._replicated(tree))

    @functools.cached_property
    def _replicated(self) -> Callable[[Any], Any]:
        return jax.jit(lambda tree: tree, out_shardings=NamedSharding(self.mesh, PartitionSpec()))


class Pmap:
    """A plan that runs the same step by `jax.pmap`: replicated weights, split examples, averaged gradients.

    Losses and statistics are computed on each device and then averaged. For a loss that is a mean over examples this
    equals the loss of the whole batch. Batch normalisation uses the examples of its own device only.

    Args:
      devices: the devices to use; all local ones by default.
    """

    axis_name = 'data'
    supports_resident = False

    def __init__(self, *, devices: list[Any] | None = None):
        if jax.process_count() > 1:
            raise InputError(f"config.parallel: 'pmap', in {jax.process_count()} processes; expected 'jit', which runs "
                             'over all of them')
        self.devices = devices or jax.local_devices()
        self.batch_multiple = len(self.devices)  # the batch size must be a multiple of this

    def compile(self, step: Step, state: Any) -> Step:
        """The step, compiled at its first call; its input state is donated.

        Args:
          step: the step.
          state: the shapes of the state.
        """
        return jax.pmap(step, axis_name=self.axis_name, in_axes=(0, 0, None), out_axes=(0, None), donate_argnums=0,
                        devices=self.devices)

    def init_state(self, create: Callable[..., Any], state: Any, *args: Any) -> Any:
        """The initial state, created on one device and copied to all.

        Args:
          create: `(*args) -> state`.
          state: the shapes of the state.
          *args: arguments of `create`.
        """
        return self.place_state(jax.jit(create, compiler_options=_fast_compile_options(self.devices[0]))(*args))

    def place_state(self, restored: Any) -> Any:
        """A state with a copy on every device, as the step takes it."""
        return jax.tree.map(
            lambda x: jax.device_put(np.stack([np.asarray(x)] * self.batch_multiple), self._per_device()), restored)

    def step_shapes(self, state: Any) -> Any:
        """Shapes of the state as the step takes it, with a leading axis over devices."""
        def shape(x: Any) -> jax.ShapeDtypeStruct:
            return jax.ShapeDtypeStruct((self.batch_multiple, *x.shape), x.dtype, sharding=self._per_device())
        return jax.tree.map(shape, state)

    def _per_device(self) -> NamedSharding:
        mesh = Mesh(np.array(self.devices), (self.axis_name,), axis_types=(AxisType.Auto,))
        return NamedSharding(mesh, PartitionSpec(self.axis_name))

    def abstract_state(self, state: Any) -> Any:
        """Shapes, to restore a checkpoint onto one device."""
        sharding = jax.sharding.SingleDeviceSharding(self.devices[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)

    def place_batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """A batch with a leading axis over devices, `[devices, B / devices, …]`."""
        return {k: v.reshape(self.batch_multiple, -1, *v.shape[1:]) for k, v in batch.items()}

    def replicate(self, arrays: Mapping[str, np.ndarray]) -> dict[str, jax.Array]:
        """Not supported: this plan keeps no training data in device memory."""
        raise NotImplementedError('pmap keeps no training data in device memory')

    def rows(self, batch: int) -> range:
        """The rows of a batch that this process reads: all."""
        return range(batch)

    def logical_state(self, state: Any) -> Any:
        """The first device's copy of the state, for checkpoints and evaluators."""
        return jax.tree.map(lambda x: x[0], state)

    def local(self, tree: Any) -> Any:
        """Arrays for evaluators: the same."""
        return tree


def _fast_compile_options(device: Any) -> dict[str, bool | str | int | float]:
    """Compiler options for a program that runs once.

    On a CPU, XLA's default optimisation takes seconds for the random draws of each weight. The program for the initial
    weights of a small U-Net compiles in 2 s instead of 20 s, and its results are the same bit for bit.
    """
    return {'xla_backend_optimization_level': 1} if device.platform == 'cpu' else {}
