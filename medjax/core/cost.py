"""The cost of a training step before it runs: arithmetic from its definition, memory from its compiled program."""

import math
import os
import pathlib
from collections.abc import Callable
from typing import Any

import jax

GIB = 2**30


def flops(function: Callable[..., Any], *args: Any) -> float:
    """Number of multiplications and additions of a traceable function, by its definition.

    They are counted in the program for a TPU on every machine, because a TPU program keeps convolutions as they are
    defined. A backend may replace an operation by another one; a comparison of times must not gain by that.

    Args:
      function: traceable function.
      *args: its arguments, arrays or shapes.
    """
    lowered = jax.jit(function).trace(*args).lower(lowering_platforms=('tpu',))
    return float((lowered.cost_analysis() or {}).get('flops', 0.0))


def program_memory(compiled: Any) -> int:
    """Bytes that a compiled program uses on a device, arguments included; 0 where the backend does not report it."""
    stats = compiled.memory_analysis()
    if stats is None:
        return 0
    return (stats.argument_size_in_bytes + stats.output_size_in_bytes - stats.alias_size_in_bytes
            + stats.temp_size_in_bytes + stats.generated_code_size_in_bytes)


def device_memory(device: Any) -> int:
    """Bytes of memory of a device.

    For a CPU this is the memory of the machine, or of the container that this process runs in. Simulated devices share
    it: each has an equal part.
    """
    limit = (device.memory_stats() or {}).get('bytes_limit')
    if limit:
        return int(limit)
    available = os.sysconf('SC_PHYS_PAGES') * os.sysconf('SC_PAGE_SIZE')
    path = pathlib.Path('/sys/fs/cgroup/memory.max')
    if path.exists() and (text := path.read_text().strip()).isdigit():
        available = min(available, int(text))
    return available // jax.local_device_count()


def bytes_per_device(shapes: Any) -> int:
    """Bytes of a tree of arrays on each device, from their shapes with shardings."""
    def size(leaf: Any) -> int:
        return math.prod(leaf.sharding.shard_shape(leaf.shape)) * leaf.dtype.itemsize
    return sum(map(size, jax.tree.leaves(shapes)))


def memory_advice(needed: int, fixed: int, available: int, batch: int, accumulate: int) -> str:
    """Changes of the config by which a step would fit into memory, for an error message.

    All memory but that of the weights is taken to grow with the batch and with the patch.

    Args:
      needed: bytes of the step on a device.
      fixed: the part of them that neither a smaller batch nor a smaller patch saves: weights, gradients, the
        optimiser's state, and resident training data.
      available: bytes of memory of a device.
      batch: number of examples of a step on each device.
      accumulate: number of micro-batches that they are split into.
    """
    if fixed >= available:
        return 'the weights alone do not fit; try a smaller network, or more devices by config.mesh.fsdp'
    excess = (needed - fixed) / (available - fixed)
    counts = range(accumulate + 1, batch + 1)
    micro = next((n for n in counts if batch % n == 0 and n >= excess * accumulate), 0)
    ways = [f'patches of {100 / excess:.0f} % of the voxels (config.data.patch)', "config.precision='bfloat16'",
            'config.model.remat=True where the network has it', 'more devices per volume (config.mesh.space)']
    if micro:
        ways.insert(0, f'config.optim.accumulate={micro}')
    return 'try ' + ', or '.join(ways)
