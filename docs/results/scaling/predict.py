"""Predicts from `collectives.json` how the speed of a train step grows with the number of devices.

    python -m medjax.bench.collectives --json=docs/results/scaling/collectives.json     measures the exchange
    python docs/results/scaling/predict.py                                              prints the tables

Nothing here is measured on an accelerator: the assumptions are on the page `docs/explanation/scaling.md`.
"""

import dataclasses
import json
import pathlib
from collections.abc import Mapping
from typing import Any

PATH = pathlib.Path(__file__).with_name('collectives.json')
BYTES_AT_BATCH = {'data': False, 'fsdp': False, 'space': True}  # whether what is exchanged grows with the batch


@dataclasses.dataclass(frozen=True)
class Machine:
    """Published speeds of a device and its connections.

    Attributes:
      name: of the device.
      peak: operations a second in bfloat16, dense.
      used: the assumed share of the peak that a step reaches on one device.
      group: number of devices with fast links among them: a slice, or a node.
      link: bytes a second that a device sends over those links.
      net: bytes a second that a device sends beyond them.
      near, far: assumed seconds that each operation takes besides, within a group and beyond.
    """

    name: str
    peak: float
    used: float
    group: int
    link: float
    net: float
    near: float = 10e-6
    far: float = 40e-6


MACHINES = (
    # Cloud TPU v5e: 197 TFLOP/s; 400 GB/s both ways between chips; pods of 256 chips with 6.4 Tbit/s to other pods.
    Machine('TPU v5e', 197e12, 0.4, 256, 200e9, 6.4e12 / 8 / 256),
    # DGX H100: 989 TFLOP/s; NVLink 900 GB/s both ways; a 400 Gbit/s adapter for each of 8 GPUs.
    Machine('H100', 989e12, 0.4, 8, 450e9, 50e9))


def seconds(row: Mapping[str, Any], machine: Machine) -> float:
    """The time of some collective operations of one kind and group, one after another, without computation beside them.

    Rings within the groups of fast links, then among the groups, in which each device has an equal part.
    """
    count, size = row['devices'], row['bytes']
    if row['kind'] == 'collective-permute':
        far = row['distance'] >= machine.group
        speed, each = (machine.net, machine.far) if far else (machine.link, machine.near)
        return size / speed + row['number'] * each
    inside = max(min(count, machine.group // max(row['distance'], 1)), 1)
    outside = count / inside
    once = (inside - 1) / inside * size / machine.link + (outside - 1) / outside * size / inside / machine.net
    passes = 2 if row['kind'] == 'all-reduce' else 1  # a reduction is scattered, then gathered
    return passes * once + row['number'] * (machine.far if outside > 1 else machine.near)


def efficiency(points: Mapping[str, Any], name: str, machine: Machine,
               strong: bool = False) -> tuple[float, float] | None:
    """The speed of a device among many, relative to one alone.

    Args:
      points: of the result file.
      name: of a point.
      machine: the devices.
      strong: with the global batch that 8 devices have in the measurement; else each device keeps its batch.

    Returns:
      Without any overlap of exchange and computation, and with a full one; None where there are too few examples.
    """
    point, (model, mesh, devices) = points[name], name.split(':')
    count = int(devices)
    batch = points[f'{model}:{mesh}:8']['batch'] if strong else point['batch']
    if strong and batch * (8 if mesh == 'space' else 1) < count:
        return None
    work = point['flops'] * batch / count / (machine.peak * machine.used)
    share = batch / point['batch'] if BYTES_AT_BATCH[mesh] else 1.0
    exchange = 0.0
    for row in point['collectives']:
        # Gradients do not shrink with the batch: they are reduced over all devices, activations within a volume's.
        grows = share if row['devices'] < count or row['kind'] == 'collective-permute' else 1.0
        exchange += seconds({**row, 'bytes': row['bytes'] * grows}, machine)
    return work / (work + exchange), work / max(work, exchange)


def read(name: str = 'collectives') -> Mapping[str, Any]:
    """The content of a result file."""
    return json.loads(PATH.with_stem(name).read_text(encoding='utf-8'))


def _cell(found: tuple[float, float] | None) -> str:
    return '–' if found is None else f'{found[0]:.0%} – {found[1]:.0%}'


def bytes_table(found: Mapping[str, Any] | None = None) -> str:
    """What a device exchanges in a step: megabytes and number of operations by kind."""
    points = (found or read())['points']
    kinds = ('all-reduce', 'all-gather', 'reduce-scatter', 'all-to-all', 'collective-permute')
    lines = ['| Network, mesh | Devices | Examples of a step | ' + ' | '.join(kinds) + ' |',
             '|---|---|---|' + '---|' * len(kinds)]
    for name, point in points.items():
        model, mesh, devices = name.split(':')
        sums = {kind: [sum(row[key] for row in point['collectives'] if row['kind'] == kind and row['devices'] > 1)
                       for key in ('bytes', 'number')] for kind in kinds}
        cells = [f'{size / 1e6:,.1f} MB in {number}' if number else '' for size, number in sums.values()]
        lines.append(f'| {model}, `{mesh}` | {devices} | {point["batch"]} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def efficiency_table(found: Mapping[str, Any] | None = None) -> str:
    """Predicted efficiencies: without and with full overlap."""
    points = (found or read())['points']
    lines = ['| Network, mesh | Devices | ' + ' | '.join(f'{machine.name}, {kind}' for machine in MACHINES for kind in (
        'weak', 'strong')) + ' |', '|---|---|' + '---|' * 2 * len(MACHINES)]
    for name in points:
        model, mesh, devices = name.split(':')
        cells = [_cell(efficiency(points, name, machine, strong)) for machine in MACHINES for strong in (False, True)]
        lines.append(f'| {model}, `{mesh}` | {devices} | ' + ' | '.join(cells) + ' |')
    return '\n'.join(lines)


def order_table(found: Mapping[str, Any] | None = None) -> str:
    """Start, resumption and memory for many cases."""
    lines = ['| Cases | First batch | First batch of a resumed run | A batch of 64 | Memory |', '|---|---|---|---|---|']
    for count, row in (found or read('order'))['order'].items():
        lines.append(f'| {int(count):,} | {row["s to first batch"]:.2f} s | {row["s to resume"]:.2f} s | '
                     f'{row["ms per step"]:.1f} ms | {row["MB"]:.1f} MB |')
    return '\n'.join(lines)


if __name__ == '__main__':
    print(f'{bytes_table()}\n\n{efficiency_table()}')
