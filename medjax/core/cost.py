"""What a step takes before it is run: arithmetic, from its definition, and memory, from its compiled program."""

import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

GIB = 2**30


def flops(function: Callable[..., Any], *args: Any) -> float:
    """Multiplications and additions of a traceable function of arrays or shapes, as its definition has them.

    Counted in the program for a TPU, whose convolutions are convolutions, on any machine: what a backend does in their
    place is its own affair, and a ratio of times must not gain by it.
    """
    lowered = jax.jit(function).trace(*args).lower(lowering_platforms=('tpu',))
    return float((lowered.cost_analysis() or {}).get('flops', 0.0))


def memory(compiled: Any) -> int:
    """Bytes that a compiled program holds on a device while it runs, arguments included; 0 where it is not told."""
    stats = compiled.memory_analysis()
    if stats is None:
        return 0
    return (stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
            + stats.temp_size_in_bytes + stats.generated_code_size_in_bytes)


def room(device: Any) -> int:
    """Bytes that a device has; for a CPU what the machine, or the container that this process runs in, has.

    Simulated devices share one machine's memory, and each is given its part.
    """
    told = (device.memory_stats() or {}).get('bytes_limit')
    if told:
        return int(told)
    most = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    limit = pathlib.Path('/sys/fs/cgroup/memory.max')
    if limit.exists() and (text := limit.read_text().strip()).isdigit():
        most = min(most, int(text))
    return most // jax.local_device_count()


def held(shapes: Any) -> int:
    """Bytes of arrays, given as shapes with shardings, on each device."""
    def size(leaf: Any) -> int:
        return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    return sum(map(size, jax.tree.leaves(shapes)))


def proposal(need: int, fixed: int, have: int, batch: int, accumulate: int) -> str:
    """How to make a step fit, by what is likely to do it: all but weights grows with the batch and the patch.

    Args:
      need: bytes of the step on a device.
      fixed: those of them, weights, their gradients and the optimiser's state, that no smaller batch or patch saves.
      have: bytes of a device.
      batch: examples of a step on each device.
      accumulate: micro-batches that they are cut into.
    """
    if fixed >= have:
        return 'the weights alone do not fit; try a smaller network, or more devices by config.mesh.fsdp'
    times = (need - fixed) / (have - fixed)
    parts = next((n for n in range(accumulate + 1, batch + 1) if batch % n == 0 and n >= times * accumulate), 0)
    ways = [f'config.optim.accumulate={parts}'] if parts else []
    ways += [f'patches of {100 / times:.0f} % of the voxels (config.data.patch)', "config.precision='bfloat16'",
             'config.model.remat=True where the network has it', 'more devices to a volume (config.mesh.space)']
    return 'try ' + ', or '.join(ways)
