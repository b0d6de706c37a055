"""What test_distributed.py runs in each of two processes; its results are in `OUTPUT/PROCESS.json`."""

import contextlib
import json
import os
import pathlib
import shutil
import signal
import sys

import jax
import numpy as np

from medjax.core import distributed, lock, loop
from medjax.core.sharding import Jit
from medjax.data.pipeline import Streamed
from medjax.errors import InputError
from tests.core import toy

BATCH, STEPS, LONG = 8, 6, 60
WIDTH = 128  # large enough for fsdp to shard the weights


class Items:
    """Twelve items, each of random numbers."""

    def __len__(self):
        return 12

    def item(self, number, rng):
        image = np.random.default_rng(number).normal(size=8).astype(np.float32) + np.float32(rng.normal() / 10)
        return {'image': image, 'label': np.sin(image.sum()), 'id': f'item{number}'}


def experiment(plan, **changes):
    """The toy on these items."""
    batches = Streamed(Items(), seed=3, batch=BATCH, rows=plan.rows(BATCH))
    return toy.experiment(**{'task': toy.task(width=WIDTH), 'plan': plan, 'batches': batches, 'steps': STEPS,
                             'log_every': 1, 'eval_every': 3, 'best': 'size', **changes})


def message(call):
    """The message of the InputError of a call; None where there is none."""
    try:
        call()
    except InputError as error:
        return str(error)
    return None


def exchanges(output):
    """Each kind of exchange between processes."""
    own = jax.process_index()

    def fail_in(number):
        if own == number:
            raise InputError(f'of {number}')
        return own

    def computed(item):
        return item, own, np.full(item, own)  # of different sizes

    with distributed.splitting():
        split = distributed.mapped(computed, range(5))
    (output / f'folder{own}').mkdir()
    with lock.locked(output / 'folder0', print) if own == 0 else contextlib.nullcontext():
        lock.SHARED_WITHIN = 0.3
        shared = [message(lambda name=name: lock.check_shared(output / name)) for name in ('folder0', f'folder{own}')]
    return {
        'gathered': distributed.gathered(own), 'first': distributed.on_first(lambda: f'from {own}'),
        'failed': [message(lambda: distributed.agreed(lambda: fail_in(1))),
                   message(lambda: distributed.on_first(lambda: fail_in(0)))],
        'agreed': distributed.agreed(lambda: own),
        'split': [[item, by, array.tolist()] for item, by, array in split],
        'alone': [by for _, by, _ in distributed.mapped(computed, range(2))], 'shared': shared,
        'equal': message(lambda: distributed.check_equal({'same': 1, 'devices': 2 + own})),
        'lacking': message(lambda: distributed.check_equal({'same': 1, **({'more': 2} if own == 0 else {})})),
        'equal again': message(lambda: distributed.check_equal({'same': 1}))}


def placed():
    """The rows that this process reads on several meshes, and whether each device has its part of the whole batch."""
    found, whole = {}, np.arange(8 * 4 * 3, dtype=np.float32).reshape(8, 4, 3)
    for name, axes in (('data', {}), ('fsdp', {'fsdp': 4}), ('space', {'space': 4}), ('half', {'space': 2})):
        plan = Jit(**axes)
        rows = plan.rows(8)
        array = plan.place_batch({'image': whole[rows.start:rows.stop]})['image']
        right = array.shape == whole.shape and all(
            np.array_equal(shard.data, whole[shard.index]) for shard in array.addressable_shards)
        copy = plan.local(array)
        right = right and copy.is_fully_addressable and np.array_equal(copy, whole)
        found[name] = [rows.start, rows.stop, right, [shard.data.shape[:2] for shard in array.addressable_shards]]
    return found


def damaged_copy(folder, target):
    """Copies a run, with the largest file of its last checkpoint overwritten."""
    shutil.copytree(folder, target)
    largest = max((path for path in (target / 'checkpoints' / str(STEPS) / 'state').rglob('*') if path.is_file()),
                  key=lambda path: path.stat().st_size)
    largest.write_bytes(bytes(largest.stat().st_size))


def main(output, where):
    """Does all of it; process 1 ends with an error of the file system."""
    lines = []
    with distributed.started(where):
        own, plan = jax.process_index(), Jit(data=2, fsdp=2)
        found = {**exchanges(output), 'placed': placed()}
        loop.train(experiment(plan), output / 'straight', say=lambda line: None)
        distributed.on_first(lambda: damaged_copy(output / 'straight', output / 'damaged'))
        found['damaged'] = []
        loop.train(experiment(plan), output / 'damaged', say=found['damaged'].append)

        def stop_after_two(line):
            lines.append(line)
            if own == 1 and line.startswith('step 2/'):
                os.kill(os.getpid(), signal.SIGTERM)

        stopped = experiment(plan, steps=LONG)
        found['finished'] = loop.train(stopped, output / 'stopped', say=stop_after_two)
        found['at'] = stopped.checkpoints(output / 'stopped').latest()
        (output / f'{own}.json').write_text(json.dumps({**found, 'lines': lines}))
        if own == 1:
            (output / 'gone').read_text()
        distributed.gathered(None)


if __name__ == '__main__':
    main(pathlib.Path(sys.argv[1]), sys.argv[2].removeprefix('--distributed='))
