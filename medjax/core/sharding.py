"""How one step function runs on many devices: jit over a named mesh, or pmap."""

import functools
import math
from collections.abc import Callable
from typing import Any

import flax.linen as nn
import jax
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding, PartitionSpec

from medjax.core.step import Step
from medjax.errors import InputError

SMALL = 1024  # leaves with fewer numbers than this are replicated: sharding them costs more than it saves


class Jit:
    """Compiles a step over a mesh with the axes `data`, `fsdp` and `space`.

    Batches are logically global: `data` and `fsdp` split the examples, `fsdp` also the weights and the optimiser's
    state, and `space` the first spatial axis of each volume. Losses, batch statistics and metrics are those of the
    whole batch, whatever the mesh.

    Args:
      data: devices along `data`; -1 takes what the other axes leave.
      fsdp: devices along `fsdp`.
      space: devices along `space`.
      devices: the devices to use; all of them when None.
    """

    axis_name = None

    def __init__(self, *, data: int = -1, fsdp: int = 1, space: int = 1, devices: list[Any] | None = None):
        devices = devices or jax.devices()
        rest = len(devices) // max(fsdp * space, 1)
        data = rest if data == -1 else data
        if min(fsdp, space) < 1 or data * fsdp * space != len(devices) or not data:
            raise InputError(f'config.mesh: data={data} × fsdp={fsdp} × space={space} is not the number of devices, '
                             f'{len(devices)}')
        self.mesh = Mesh(np.array(devices).reshape(data, fsdp, space), ('data', 'fsdp', 'space'),
                         axis_types=(AxisType.Auto,) * 3)
        self.examples = data * fsdp  # the batch must be a multiple of this
        self.keeps = space == 1  # whether data may lie on the devices, whole on each of them

    def _shard(self, leaf: Any) -> NamedSharding:
        size, spec = self.mesh.shape['fsdp'], [None] * leaf.ndim
        divisible = [d for d in range(leaf.ndim) if leaf.shape[d] % size == 0]
        if size > 1 and divisible and math.prod(leaf.shape) >= SMALL:
            spec[max(divisible, key=lambda d: leaf.shape[d])] = 'fsdp'
        return NamedSharding(self.mesh, PartitionSpec(*spec))

    def _batch(self, leaf: Any) -> NamedSharding:
        space = 'space' if leaf.ndim > 2 and leaf.shape[1] % self.mesh.shape['space'] == 0 else None
        return NamedSharding(self.mesh, PartitionSpec(('data', 'fsdp'), *([space] if leaf.ndim > 1 else [])))

    def compile(self, step: Step, state: Any) -> Step:
        """Compiles the step for states shaped as `state`; the state that goes in is donated."""
        # The state leaves as it came: else its second step would meet another layout and compile again.
        layout = jax.tree.map(self._shard, state), NamedSharding(self.mesh, PartitionSpec())
        return jax.jit(self._even(step), donate_argnums=0, out_shardings=layout)

    def _even(self, step: Step) -> Step:
        """Keeps volumes that `space` does not divide whole along it, at every module's border.

        The partitioner pads such an axis (2 voxels of a coarse level over 4 devices), and then gives convolutions
        wrong gradients without an error (jax 0.10 to 0.12). Coarse levels are small, so that whole costs little.
        """
        size, free = self.mesh.shape['space'], PartitionSpec.UNCONSTRAINED
        if size == 1:
            return step

        def whole(x: Any) -> Any:
            if not isinstance(x, jax.Array) or x.ndim < 4 or x.shape[1] % size == 0:
                return x
            spec = PartitionSpec(free, None, *[free] * (x.ndim - 2))
            return jax.lax.with_sharding_constraint(x, NamedSharding(self.mesh, spec))

        def intercept(call: Callable[..., Any], args: Any, kwargs: Any, _: Any) -> Any:
            args, kwargs = jax.tree.map(whole, (args, kwargs))
            return jax.tree.map(whole, call(*args, **kwargs))

        @functools.wraps(step)
        def even(*args: Any) -> Any:
            with nn.intercept_methods(intercept):
                return step(*args)

        return even

    def initial(self, create: Callable[..., Any], state: Any, *given: Any) -> Any:
        """Makes the state of what is given where it belongs: no device ever holds all of it under `fsdp`."""
        return jax.jit(create, out_shardings=jax.tree.map(self._shard, state),
                       compiler_options=_once(self.mesh.devices.flat[0]))(*given)

    def adopt(self, restored: Any) -> Any:
        """Takes a state restored to the layout of `abstract`."""
        return restored

    def abstract(self, state: Any) -> Any:
        """Shapes with shardings, for a checkpoint to be restored onto this mesh."""
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=self._shard(x)), state)

    shapes = abstract  # of the state as the step takes it

    def place_batch(self, batch: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Puts this host's part of a batch on the devices, as part of the global batch."""
        return self._put(batch, {k: self._batch(v) for k, v in batch.items()})

    def keep(self, arrays: dict[str, np.ndarray]) -> dict[str, jax.Array]:
        """Puts the same arrays on every device."""
        return self._put(arrays, dict.fromkeys(arrays, NamedSharding(self.mesh, PartitionSpec())))

    def _put(self, arrays: dict[str, np.ndarray], layout: dict[str, NamedSharding]) -> dict[str, jax.Array]:
        if jax.process_count() == 1:
            return jax.device_put(arrays, layout)  # in a third of the time
        return {k: jax.make_array_from_process_local_data(layout[k], v) for k, v in arrays.items()}

    def whole(self, state: Any) -> Any:
        """The state as one logical tree, as checkpoints and evaluators take it."""
        return state


class Pmap:
    """Runs the same step by `jax.pmap`: weights on every device, examples split, gradients averaged.

    Statistics and losses are per device and then averaged, which equals the whole batch's for every loss that is a
    mean over examples; batch normalisation sees its device's examples only.
    """

    axis_name = 'data'
    keeps = False

    def __init__(self, *, devices: list[Any] | None = None):
        self.devices = devices or jax.local_devices()
        self.examples = len(self.devices)

    def compile(self, step: Step, state: Any) -> Step:
        """Compiles the step for states shaped as `state`; the state that goes in is donated."""
        return jax.pmap(step, axis_name=self.axis_name, in_axes=(0, 0, None), out_axes=(0, None), donate_argnums=0,
                        devices=self.devices)

    def initial(self, create: Callable[..., Any], state: Any, *given: Any) -> Any:
        """Makes the state of what is given on one device and copies it to every other."""
        return self.adopt(jax.jit(create, compiler_options=_once(self.devices[0]))(*given))

    def adopt(self, restored: Any) -> Any:
        """Puts a copy of a state on every device."""
        return jax.tree.map(
            lambda x: jax.device_put(np.stack([np.asarray(x)] * self.examples), self._copied()), restored)

    def shapes(self, state: Any) -> Any:
        """Of the state as the step takes it: a copy for every device."""
        return jax.tree.map(
            lambda x: jax.ShapeDtypeStruct((self.examples, *x.shape), x.dtype, sharding=self._copied()), state)

    def _copied(self) -> NamedSharding:
        mesh = Mesh(np.array(self.devices), (self.axis_name,), axis_types=(AxisType.Auto,))
        return NamedSharding(mesh, PartitionSpec(self.axis_name))

    def abstract(self, state: Any) -> Any:
        """Shapes, for a checkpoint to be restored to one device."""
        sharding = jax.sharding.SingleDeviceSharding(self.devices[0])
        return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype, sharding=sharding), state)

    def place_batch(self, batch: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
        """Cuts a batch into one part for each device."""
        return {k: v.reshape(self.examples, -1, *v.shape[1:]) for k, v in batch.items()}

    def whole(self, state: Any) -> Any:
        """The first device's copy of the state."""
        return jax.tree.map(lambda x: x[0], state)


def _once(device: Any) -> dict[str, int]:
    """Options for a program that runs once: the CPU's optimiser takes seconds over the draws of each weight.

    A small U-Net's initial weights took 20 s to compile and 2 s like this; they are the same, bit for bit.
    """
    return {'xla_backend_optimization_level': 1} if device.platform == 'cpu' else {}
