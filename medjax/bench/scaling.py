"""The cost of work as its size grows: `python -m medjax.bench.scaling [KIND …] [--json=FILE]`.

Each point is measured in a separate process. The last column is the cost per unit of work, relative to that of the
first row: where it stays at 1, the cost is proportional to the work.
"""

import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from absl import flags

from medjax import atomic_files, cli
from medjax.bench import host, runner, train, windows
from medjax.errors import InputError

REPEATS = 5


def _seconds(run: Callable[[], object]) -> float:
    """The median time of a call, after two calls to warm up."""
    run()
    run()
    times = []
    for _ in range(REPEATS):
        began = time.perf_counter()
        run()
        times.append(time.perf_counter() - began)
    return float(np.median(times))


def batch(size: int) -> dict[str, float]:
    """A 2D train step; the work is the number of examples."""
    seconds = _seconds(train.unet_side((size, 128, 128, 1), base=16, levels=5).run)
    return {'work': size, 'ms per step': seconds * 1e3, 'cost': seconds}


def volume(side: int) -> dict[str, float]:
    """A 3D train step of one patch; the work is the number of voxels."""
    seconds = _seconds(train.unet_side((1, side, side, side, 1), base=8, levels=4).run)
    return {'work': side**3, 'ms per step': seconds * 1e3, 'cost': seconds}


def window(side: int) -> dict[str, float]:
    """Sliding window inference of a volume; the work is the number of windows."""
    seconds = _seconds(windows.medjax_side(size=side, window=(32, 32, 32), base=8, levels=3, classes=4, batch=1).run)
    return {'work': max(side // 16 - 1, 1) ** 3, 's per volume': seconds, 'cost': seconds}


def cases(count: int) -> dict[str, float]:
    """A data set: its preparation, its reuse, and the batches of a step, resident on the device or read by threads."""
    from medjax.data import pipeline
    folder = tempfile.mkdtemp()
    times = [time.perf_counter()]
    for _ in range(2):
        data = host.noise_dataset(count, (24, 24, 24), (16, 16, 16), folder)
        times.append(time.perf_counter())
    options = dict(seed=0, batch=4)
    step = _seconds(host.step_runner(pipeline.Placed(data.resident(), len(data), **options), 50)) / 50
    read = _seconds(host.step_runner(pipeline.Streamed(data, **options), 50)) / 50
    return {'work': count, 's to prepare': times[1] - times[0], 's to reuse': times[2] - times[1],
            'ms per step, resident': step * 1e3, 'ms per step, read': read * 1e3, 'cost': times[1] - times[0]}


class _Tiny:
    """Items that cost nothing, of which there are many."""

    def __init__(self, count: int):
        self._count, self._image = count, np.zeros(8, np.float32)

    def __len__(self) -> int:
        return self._count

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """An item."""
        return {'image': self._image, 'id': str(number)}


def order(count: int) -> dict[str, float]:
    """The batches of many cases, without their content: the first one, one in a resumed run, and memory of a host."""
    from medjax.data import pipeline
    options = dict(seed=0, batch=64)
    next(pipeline.Streamed(_Tiny(64), **options).stream(0, 1))  # imports and threads
    before, began = _memory(), time.perf_counter()
    batches = pipeline.Streamed(_Tiny(count), **options)
    next(batches.stream(0, 1))
    first = time.perf_counter()
    steps = 3 * count // 64 + 1  # in the fourth epoch
    resumed = pipeline.Streamed(_Tiny(count), **options).stream(steps, steps + 10**6)
    next(resumed)
    middle = time.perf_counter()
    for _ in range(200):
        next(resumed)
    seconds = time.perf_counter() - middle
    return {'work': 1, 's to first batch': first - began, 's to resume': middle - first, 'ms per step': seconds * 5,
            'MB': _memory() - before, 'cost': seconds / 200}


def _memory() -> float:
    """The memory that this process has at present, in MB."""
    pages = int(pathlib.Path('/proc/self/statm').read_text().split()[1])
    return pages * os.sysconf('SC_PAGE_SIZE') / 1e6


def devices(count: int) -> dict[str, float]:
    """A 2D batch of constant size on simulated devices, which share the cores of this machine."""
    seconds = _seconds(train.unet_side((8, 128, 128, 1), base=16, levels=5).run)
    return {'work': 1, 'ms per step': seconds * 1e3, 'cost': seconds, 'count': count}


KINDS: dict[str, tuple[Callable[[int], dict[str, float]], tuple[int, ...]]] = {
    'batch': (batch, (1, 2, 4, 8, 16)), 'volume': (volume, (32, 48, 64, 80, 96)),
    'window': (window, (64, 96, 128, 160)), 'cases': (cases, (10, 100, 1000, 10_000)),
    'order': (order, (1000, 10_000, 100_000, 1_000_000)),
    'devices': (devices, (1, 2, 4, 8))}


def point(kind: str, value: int) -> dict[str, float]:
    """Measures one point in a separate process."""
    with tempfile.TemporaryDirectory() as folder:
        out = pathlib.Path(folder) / 'out.json'
        environment = {**os.environ, 'JAX_PLATFORMS': 'cpu', 'TMPDIR': folder}
        if kind == 'devices':
            environment['XLA_FLAGS'] = (f'{os.environ.get("XLA_FLAGS", "")} '
                                        f'--xla_force_host_platform_device_count={value}')
        subprocess.run([sys.executable, '-m', 'medjax.bench.scaling', f'--point={kind}:{value}', f'--json={out}'],
                       env=environment, check=True, stdout=subprocess.DEVNULL)
        return json.loads(out.read_text())


def main(arguments: Sequence[str]) -> None:
    """Measures the given kinds, or all of them."""
    if POINT.value:
        kind, value = POINT.value.split(':')
        pathlib.Path(JSON.value).write_text(json.dumps(KINDS[kind][0](int(value))))
        return
    for kind in arguments[1:]:
        if kind not in KINDS:
            raise InputError(f'{kind}: unknown kind of work; expected some of: {", ".join(KINDS)}')
    results: dict[str, Any] = {'machine': runner.machine()}
    for kind in arguments[1:] or KINDS:
        measure, values = KINDS[kind]
        print(f'\n{kind}: {measure.__doc__}', flush=True)
        results[kind] = {}
        for value in values:
            row = results[kind][value] = point(kind, value)
            first = results[kind][values[0]]
            row['relative'] = row['cost'] / row['work'] / (first['cost'] / first['work'])
            shown = '  '.join(f'{name} {number:9.2f}' for name, number in row.items()
                              if name not in ('work', 'cost', 'count', 'relative'))
            print(f'{value:7}  {shown}  ×{row["relative"]:.2f}', flush=True)
            if JSON.value:
                atomic_files.write_json(pathlib.Path(JSON.value), results)


if __name__ == '__main__':
    JSON = flags.DEFINE_string('json', '', 'File of the results.')
    POINT = flags.DEFINE_string('point', '', 'Measure a single point, KIND:VALUE.')
    cli.prepare()
    cli.run(main, unnamed=True)
