"""From a data set's items to batches: the data's position is a function of the step.

A data set that fits the device lies there, and the host says for each step which items, and where in them, it takes;
one that doesn't is read ahead by threads. Both give the same batches.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import grain
import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError


class Items(Protocol):
    """What a data set offers for training."""

    def __len__(self) -> int:
        """Items of one epoch."""

    def item(self, number: int, rng: np.random.Generator) -> dict[str, Any]:
        """Item `number` as arrays without batch axis and an `id`; random choices come from `rng` alone."""


class Resident(Protocol):
    """A data set's items as they lie on the device."""

    size: float

    def load(self) -> Mapping[str, np.ndarray]:
        """The arrays that are put there, of `size` bytes."""

    def place(self, number: int, rng: Callable[[], np.random.Generator]) -> tuple[int, ...]:
        """Which part of the arrays item `number` is; as many numbers for each item. Making `rng` takes time."""

    def pick(self, arrays: Mapping[str, jax.Array], place: jax.Array) -> dict[str, jax.Array]:
        """The item at a place, as `Items.item` gives it without its id; traceable."""


class _Order:
    """Which item each example of a run is; every epoch is shuffled anew.

    Args:
      count: items of an epoch.
      seed: of order and random choices.
      batch: the global number of examples of a step.
      hosts: number of processes that share a batch; jax's by default.
      host: the number of this process, which has every `hosts`th example.
    """

    def __init__(self, count: int, *, seed: int, batch: int, hosts: int | None = None, host: int | None = None):
        self.hosts = jax.process_count() if hosts is None else hosts
        self.host = jax.process_index() if host is None else host
        if batch % self.hosts:
            raise InputError(f'config.batch: {batch} is no multiple of {self.hosts} hosts')
        if not 0 <= seed < 2**32:
            raise InputError(f'config.seed: {seed}; expected 0..{2**32 - 1}')
        self._count, self._seed, self.batch = count, seed, batch
        self._epoch = functools.lru_cache(2)(lambda epoch: np.random.default_rng((seed, epoch, 1)).permutation(count))

    def item(self, number: int) -> int:
        """The item of example `number` of the run."""
        return int(self._epoch(number // self._count)[number % self._count])

    def rng(self, number: int) -> np.random.Generator:
        """Keyed by the example's number in the run and nothing else: an epoch's second look at an item differs."""
        return np.random.default_rng((self._seed, number))


class Streamed:
    """All batches of a run: `batches[step]` is the same whenever it is asked, and for any number of hosts.

    Each example carries `index`, its number in the run as uint32, `mask` 1, and its `id`.

    Args:
      items: the training items.
      **options: seed, batch, hosts and host, as `_Order` says.

    Raises:
      InputError: where the batch does not divide over the hosts, or a seed is none that generators take.
    """

    def __init__(self, items: Items, **options: Any):
        order = _Order(len(items), **options)

        def example(number: int) -> dict[str, Any]:
            return {**items.item(order.item(number), order.rng(number)), 'index': np.uint32(number),
                    'mask': np.float32(1)}

        self._dataset = grain.MapDataset.range(2**62).map(example)[order.host::order.hosts].batch(
            order.batch // order.hosts)

    def __getitem__(self, step: int) -> dict[str, Any]:
        return self._dataset[step]

    def stream(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The batches of steps `start` to `stop`, read ahead by threads, in order."""
        # Two threads: reading is index maths on mapped memory, and the step wants the cores.
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        return iter(self._dataset[start:stop].to_iter_dataset(options))


class Placed:
    """The same batches of items that lie on the device: for each step `place [B, K]` int32 and `index`.

    Args:
      resident: the items.
      count: items of an epoch.
      **options: see `Streamed`.
    """

    def __init__(self, resident: Resident, count: int, **options: Any):
        self.resident, self._order = resident, _Order(count, **options)

    def __getitem__(self, step: int) -> dict[str, np.ndarray]:
        order = self._order
        numbers = range(step * order.batch + order.host, (step + 1) * order.batch, order.hosts)
        places = [self.resident.place(order.item(number), functools.partial(order.rng, number)) for number in numbers]
        return {'place': np.array(places, np.int32), 'index': np.array(numbers, np.uint32)}

    def stream(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """Those of steps `start` to `stop`."""
        return (self[step] for step in range(start, stop))

    def taking(self, augment: Callable[..., Any] | None) -> Callable[..., Any]:
        """Makes an augmentation that cuts the items before it augments them.

        Returns:
          `(batch, key) -> batch`, where the batch that comes in has `place`, `index` and `arrays`, what
          `resident.load` gave; traceable.
        """
        def take(batch: dict[str, Any], key: jax.Array) -> dict[str, jax.Array]:
            examples = jax.vmap(functools.partial(self.resident.pick, batch['arrays']))(batch['place'])
            index = batch['index']
            examples = {**examples, 'index': index, 'mask': jnp.ones(index.shape, jnp.float32)}
            return augment(examples, key) if augment else examples

        return take
