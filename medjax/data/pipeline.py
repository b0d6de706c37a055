"""From a data set's items to batches: the data's position is a function of the step."""

from collections.abc import Iterator
from typing import Any, Protocol

import grain
import jax
import numpy as np

from medjax.errors import InputError


class Items(Protocol):
    """What a data set offers for training."""

    def __len__(self) -> int:
        """Items of one epoch."""

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """Item `number` as arrays without batch axis and an `id`; random choices come from `rng` alone."""


def batches(items: Items, *, seed: int, batch: int, hosts: int | None = None,
            host: int | None = None) -> grain.MapDataset:
    """All batches of a run, indexable by the step: `batches(…)[step]` is the same whenever it is asked.

    Every epoch is shuffled anew. Each example carries `index`, its number in the run as uint32, `mask` 1, and its
    `id`. The random maps stand before the cut into hosts, so that any number of hosts sees the same global batches.

    Args:
      items: the training items.
      seed: of order and random choices.
      batch: the global number of examples.
      hosts: number of processes that share a batch; jax's by default.
      host: the number of this process.

    Returns:
      An endless dataset of dicts of arrays, `batch / hosts` examples each.

    Raises:
      InputError: where the batch does not divide over the hosts, or a seed is none that generators take.
    """
    hosts = jax.process_count() if hosts is None else hosts
    host = jax.process_index() if host is None else host
    if batch % hosts:
        raise InputError(f'config.batch: {batch} is no multiple of {hosts} hosts')
    if not 0 <= seed < 2**32:
        raise InputError(f'config.seed: {seed}; expected 0..{2**32 - 1}')

    def example(number: int, item: int) -> dict[str, Any]:
        # Keyed by the example's number in the run and nothing else: an epoch's second look at an item differs.
        rng = np.random.default_rng((seed, number))
        return {**items.item(int(item), rng), 'index': np.uint32(number), 'mask': np.float32(1)}

    order = grain.MapDataset.range(len(items)).shuffle(seed=seed).repeat()
    return order.map_with_index(example)[host::hosts].batch(batch // hosts)


def stream(dataset: grain.MapDataset, start: int, stop: int) -> Iterator[dict[str, Any]]:
    """The batches of steps `start` to `stop`, read ahead by threads, in order."""
    # Two threads: reading is index maths on mapped memory, and the step wants the cores.
    options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
    return iter(dataset[start:stop].to_iter_dataset(options))
