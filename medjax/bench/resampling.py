"""Measures the memory of nnU-Net's last step: logits of many classes, resampled to the labels of a large volume.

    python -m medjax.bench.resampling --shape=512,512,800 --classes=100 --output=FILE.json

The logits come plane by plane from a grid of a coarser spacing, as the sliding windows give them, and are noise. The
figure is the largest resident memory of this process, with Python and all libraries.
"""

import pathlib
import resource
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from absl import flags

from medjax import atomic_files, cli
from medjax.data.transforms.nnunet_grid import Grid, NnunetPreprocess
from medjax.machine import processor


def noise(planes: int, shape: Sequence[int], classes: int) -> Iterator[np.ndarray]:
    """Logits of each plane, `[A, B, classes]` float32: one plane of noise that is rolled on."""
    plane = np.random.default_rng(0).normal(size=(*shape, classes)).astype(np.float32)
    for number in range(planes):
        yield np.roll(plane, number, 0)


def measure(shape: Sequence[int], classes: int, factor: float) -> dict[str, Any]:
    """The memory and the time of resampling.

    Args:
      shape: of the volume, x, y, z.
      classes: of the logits.
      factor: the spacing of the network's grid over that of the volume.

    Returns:
      `shape`, `network_shape`, `classes`, `seconds`, `peak_gb` and `logits_gb`, the size of all logits on the volume's
      grid.
    """
    outer = tuple(reversed(shape))  # nnU-Net's order of axes: z, y, x
    inner = tuple(round(size / factor) for size in outer)
    grid = Grid(outer, tuple(slice(0, size) for size in outer), (1.0,) * 3, (factor,) * 3)
    preprocess = NnunetPreprocess((0, 1, 2), (factor,) * 3, ('NoNormalization',), (False,), ({},))
    began = time.perf_counter()
    label = preprocess.labels(0, noise(inner[0], inner[1:], classes), inner[0], grid, regions=False)
    seconds, peak = time.perf_counter() - began, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {'shape': list(label.shape), 'network_shape': list(reversed(inner)), 'classes': classes,
            'seconds': round(seconds, 1), 'peak_gb': round(peak * 1024 / 1e9, 2),
            'logits_gb': round(float(np.prod(outer)) * classes * 4 / 1e9, 1)}


def main(_: Sequence[str]) -> None:
    """Reads the flags and measures."""
    found = measure(list(map(int, SHAPE.value)), CLASSES.value, FACTOR.value)
    command = (f'python -m medjax.bench.resampling --shape={",".join(SHAPE.value)} --classes={CLASSES.value} '
               f'--factor={FACTOR.value:g}')
    atomic_files.write_json(pathlib.Path(OUTPUT.value), {'command': command, 'hardware': processor(), **found})
    cli.say(f'{found["peak_gb"]} GB at most, {found["seconds"]} s; all logits would take {found["logits_gb"]} GB')


if __name__ == '__main__':
    SHAPE = flags.DEFINE_list('shape', ['512', '512', '800'], 'The shape of the volume.')
    CLASSES = flags.DEFINE_integer('classes', 100, 'The number of classes.', 1)
    FACTOR = flags.DEFINE_float('factor', 2.0, "The spacing of the network's grid over that of the volume.")
    OUTPUT = flags.DEFINE_string('output', None, 'The JSON file.')
    flags.mark_flags_as_required(['output'])
    cli.run(main)
