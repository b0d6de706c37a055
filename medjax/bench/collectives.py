"""Bytes that the devices of a train step exchange: `python -m medjax.bench.collectives [MODEL …] [--json=FILE]`.

The step that training compiles is compiled for 8, 64 and 512 simulated devices, and not run. Its program names every
collective operation with the shapes that it sends and the devices among which it does. The file keeps the points that
it has, so that an interrupted measurement goes on. `docs/results/scaling` predicts the efficiency from it.
"""

import dataclasses
import itertools
import math
import os
import pathlib
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from absl import flags

from medjax import atomic_files, cli
from medjax.bench import runner
from medjax.errors import InputError

DEVICES = (8, 64, 512)
SPACE = 8  # devices among which a volume is divided; the others divide the batch
MESHES = ('data', 'fsdp', 'space')
KINDS = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
BITS = {'pred': 8, 's4': 4, 'u4': 4, 's8': 8, 'u8': 8, 's16': 16, 'u16': 16, 'f16': 16, 'bf16': 16, 's32': 32,
        'u32': 32, 'f32': 32, 's64': 64, 'u64': 64, 'f64': 64, 'c64': 64}
OPERATION = re.compile(rf'^\s*(?:ROOT )?%?[\w.-]+ = (.*?) ({"|".join(KINDS)})(-start)?\((.*)$', re.MULTILINE)
ARRAY = re.compile(r'\b([a-z]+\d*)\[([\d,]*)\]')
LISTED = re.compile(r'replica_groups=\{\{([\d,]+)\}')
ORDER = r'\[([\d,]+)\](?:T\(([\d,]+)\))?'  # all numbers, as an array of this shape with its axes in this order
IOTA = re.compile(rf'replica_groups=\[(\d+),(\d+)\]<={ORDER}')
MESH = re.compile(rf'replica_groups=mesh\[([^\]]*)\](?:, device_ids=\({ORDER}\))? {{([^}}]*)}}')
PAIRS = re.compile(r'source_target_pairs=\{\{(\d+),(\d+)\}')


@dataclasses.dataclass(frozen=True)
class Collective:
    """A collective operation of a compiled program.

    Attributes:
      kind: one of KINDS.
      devices: the numbers of the first group of devices; of a permutation, the first sender and receiver.
      bytes: the size of the array that the group reduces, gathers or scatters, or that each sends to another.
    """

    kind: str
    devices: tuple[int, ...]
    bytes: int


def collectives(text: str, count: int) -> list[Collective]:
    """The collective operations of a compiled program.

    Args:
      text: of the program, `compiled.as_text()`.
      count: number of devices.

    Raises:
      ValueError: a group of devices is written in an unknown way.
    """
    found = []
    for shape, kind, started, rest in OPERATION.findall(text):
        sizes = [math.prod(map(int, filter(None, dims.split(',')))) * BITS[dtype] // 8
                 for dtype, dims in ARRAY.findall(re.sub(r'\{[^}]*\}', '', shape))]
        if started and kind in ('all-gather', 'collective-permute'):
            sizes = sizes[1:2]  # of (inputs, outputs, …)
        devices, size = _first_group(rest, count), sum(sizes)
        found.append(Collective(kind, devices, size * len(devices) if kind == 'reduce-scatter' else size))
    return found


def _first_group(text: str, count: int) -> tuple[int, ...]:
    """The numbers of the first group of devices of an operation, from its attributes."""
    if pair := PAIRS.search(text):
        return int(pair[1]), int(pair[2])
    if listed := LISTED.search(text):
        return tuple(map(int, listed[1].split(',')))
    if iota := IOTA.search(text):
        return tuple(_numbers(iota[3], iota[4]).reshape(int(iota[1]), int(iota[2]))[0].tolist())
    if mesh := MESH.search(text):
        sizes = {name: int(size) for name, size in re.findall(r"'(\w+)'=(\d+)", mesh[1])}
        numbers = _numbers(mesh[2], mesh[3]) if mesh[2] else np.arange(math.prod(sizes.values()))
        axes, grid = re.findall(r"'(\w+)'", mesh[4]), numbers.reshape([*sizes.values()])
        return tuple(grid[tuple(slice(None) if name in axes else 0 for name in sizes)].ravel().tolist())
    if 'replica_groups={}' in text:
        return tuple(range(count))
    raise ValueError(f'a group of devices that is written in an unknown way: {text[:200]}')


def _numbers(shape: str, order: str | None) -> np.ndarray:
    """The numbers of all devices in the order of an array of this shape, with its axes transposed."""
    sizes = [int(size) for size in shape.split(',')]
    numbers = np.arange(math.prod(sizes)).reshape(sizes)
    return numbers.transpose([int(axis) for axis in order.split(',')] if order else None).ravel()


def summary(found: Sequence[Collective]) -> list[dict[str, Any]]:
    """The operations by kind and group of devices: their number and the sum of their bytes.

    A group is described by its number of devices and the distance between two of them; neighbours have 1.
    """
    rows: dict[tuple[str, int, int], dict[str, Any]] = {}
    for one in found:
        distance = abs(one.devices[1] - one.devices[0]) if len(one.devices) > 1 else 0
        row = rows.setdefault((one.kind, len(one.devices), distance), {
            'kind': one.kind, 'devices': len(one.devices), 'distance': distance, 'number': 0, 'bytes': 0})
        row['number'] += 1
        row['bytes'] += one.bytes
    return sorted(rows.values(), key=lambda row: -row['bytes'])


def resnet50() -> tuple[Any, dict[str, tuple[tuple[int, ...], Any]], int]:
    """ResNet-50 for 1000 classes at 224 × 224: the task, shapes of an example, and examples of a device."""
    from medjax import build
    from medjax.tasks.classification import task
    network = build.network(dict(name='resnet', variant='50', dims=2, classes=1000), 'bfloat16')
    made = task.task(network, statistics=dict(classes=tuple(map(str, range(1000)))))
    return made, {'image': ((224, 224, 3), np.float32), 'label': ((), np.int32)}, 64


def unet3d() -> tuple[Any, dict[str, tuple[tuple[int, ...], Any]], int]:
    """nnU-Net's 3D U-Net (32 features, 6 levels) on patches of 128³: as for `resnet50`."""
    from medjax.bench.train import CLASSES, unet_network
    from medjax.tasks.segmentation import task
    made = task.task(unet_network(3, CLASSES, 32, 6, 'bfloat16'), statistics=dict(
        classes=tuple(map(str, range(CLASSES)))), loss=dict(cross_entropy=1.0, soft_dice=1.0))
    return made, {'image': ((128, 128, 128, 1), np.float32), 'label': ((128, 128, 128), np.int32)}, 2


MODELS = {'resnet50': resnet50, 'unet3d': unet3d}


def measure(model: str, mesh: str, devices: int) -> dict[str, Any]:
    """Compiles a step with AdamW for some of the devices of this process.

    Returns:
      `batch`, the examples of a step; `parameters`; `flops` of an example; `collectives`, see `summary`; `in_loops`,
      the number of collectives that a loop repeats, which are counted once.
    """
    import jax

    from medjax import build
    from medjax.core import cost, state
    from medjax.core.sharding import Jit
    from medjax.core.step import make_step
    from medjax.ops.by_platform import tracing_for_accelerators
    task, example, each = MODELS[model]()
    optimiser, _ = build.optimiser(dict(name='adamw', lr=1e-3, weight_decay=1e-2), 1000)
    plan = Jit(fsdp=devices if mesh == 'fsdp' else 1, space=SPACE if mesh == 'space' else 1,
               devices=jax.devices()[:devices])

    def batch(size: int) -> dict[str, jax.ShapeDtypeStruct]:
        shapes = {**example, 'mask': ((), np.float32), 'index': ((), np.uint32)}
        return {name: jax.ShapeDtypeStruct((size, *shape), dtype) for name, (shape, dtype) in shapes.items()}

    with tracing_for_accelerators():
        one = {name: np.zeros(leaf.shape, leaf.dtype) for name, leaf in batch(1).items()}
        abstract = jax.eval_shape(lambda: state.create_state(task, optimiser, jax.random.key(0), one))
        size, step, key = plan.batch_multiple * each, make_step(task, optimiser), jax.random.key(0)
        text = plan.compile(step, abstract).lower(
            plan.abstract_state(abstract), plan.abstract_batch(batch(size)), key).compile().as_text()
        flops = cost.flops(step, abstract, batch(1), key)
    bodies = set(re.findall(r'body=%?([\w.-]+)', text))
    parts = re.split(r'\n(?=(?:ENTRY )?%?[\w.-]+ \([^\n]*\{\n)', text)
    loops = [part for part in parts if re.match(r'%?([\w.-]+)', part.strip())[1] in bodies]
    return {'batch': size, 'parameters': sum(leaf.size for leaf in jax.tree.leaves(abstract.params)), 'flops': flops,
            'collectives': summary(collectives(text, devices)),
            'in_loops': sum(len(OPERATION.findall(part)) for part in loops)}


def main(arguments: Sequence[str]) -> None:
    """Measures the points that the file does not have yet."""
    for name in arguments[1:]:
        if name not in MODELS:
            raise InputError(f'{name}: unknown network; expected some of: {", ".join(MODELS)}')
    # A program is the same whether optimised for speed or not, as far as the exchange is concerned.
    os.environ.update(JAX_PLATFORMS='cpu', XLA_FLAGS=f'--xla_force_host_platform_device_count={max(DEVICES)} '
                      '--xla_backend_optimization_level=0')
    path = pathlib.Path(JSON.value) if JSON.value else None
    results: dict[str, Any] = {'machine': runner.machine(), 'points': {}}
    if path and path.exists():
        results = atomic_files.read_json(path)
    for devices in DEVICES:
        for model, mesh in itertools.product(arguments[1:] or MODELS, MESHES):
            name = f'{model}:{mesh}:{devices}'
            if name not in results['points']:
                results['points'][name] = measure(model, mesh, devices)
                if path:
                    atomic_files.write_json(path, results)
            for row in results['points'][name]['collectives'][:3]:
                print(f'{name:20} {row["kind"]:18} among {row["devices"]:4}: {row["number"]:4} of '
                      f'{row["bytes"] / 1e6:9.2f} MB', flush=True)


if __name__ == '__main__':
    JSON = flags.DEFINE_string('json', '', 'File of the results.')
    cli.run(main, unnamed=True)
