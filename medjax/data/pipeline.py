"""Batches of a data set's items, as a pure function of the step.

A data set that fits into device memory is kept there, and for each step the host only computes which items to pick, and
where; any other data set is read ahead by threads. Both give the same batches.
"""

import functools
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Protocol

import grain
import jax
import jax.numpy as jnp
import numpy as np

from medjax.data.datasets.resident import Resident
from medjax.errors import InputError


class Items(Protocol):
    """The part of `core.contracts.Dataset` that batches need."""

    def __len__(self) -> int:
        """The number of items in an epoch."""
        ...

    def item(self, number: int, rng: np.random.Generator) -> Mapping[str, Any]:
        """Item `number`, with `id`; all randomness is drawn from `rng`."""
        ...


class _Order:
    """The item of each example of a run; every epoch has its own random order.

    Args:
      count: items of an epoch.
      seed: of the order and of random choices.
      batch: the global number of examples of a step.
      hosts: number of processes that share a batch; by default JAX's.
      host: the number of this process, which has every `hosts`th example.
    """

    def __init__(self, count: int, *, seed: int, batch: int, hosts: int | None = None, host: int | None = None):
        self.hosts = jax.process_count() if hosts is None else hosts
        self.host = jax.process_index() if host is None else host
        if batch % self.hosts:
            raise InputError(f'config.batch: {batch} is not a multiple of {self.hosts} hosts')
        if not 0 <= seed < 2**32:
            raise InputError(f'config.seed: {seed}; expected 0..{2**32 - 1}')
        self._count, self._seed, self.batch = count, seed, batch

        @functools.lru_cache(2)
        def permutation(epoch: int) -> np.ndarray:
            return np.random.default_rng((seed, epoch, 1)).permutation(count)

        self._permutation = permutation

    def item(self, number: int) -> int:
        """The item of example `number` of the run."""
        return int(self._permutation(number // self._count)[number % self._count])

    def rng(self, number: int) -> np.random.Generator:
        """The generator of example `number`, keyed by the seed and this number only: an item differs between epochs."""
        return np.random.default_rng((self._seed, number))


class Streamed:
    """All batches of a run: `batches[step]` does not depend on earlier steps or on the number of hosts.

    Each example has its item's arrays and `id`, `index`, its number in the run as uint32, and `mask` 1.

    Args:
      items: the training items.
      **options: seed, batch, hosts and host; see `_Order`.

    Raises:
      InputError: the batch is not a multiple of the number of hosts, or the seed is out of range.
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
        """The batches of steps `start` to `stop`, in order, read ahead by threads."""
        # Two threads: reading is indexing of mapped memory, and the train step needs the cores.
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        return iter(self._dataset[start:stop].to_iter_dataset(options))


class Placed:
    """Batches of items in device memory: for each step `place [B, K]` int32 and `index`.

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
        """The places of steps `start` to `stop`."""
        return (self[step] for step in range(start, stop))

    def taking(self, augment: Callable[..., Any] | None) -> Callable[..., Any]:
        """The augmentation, preceded by picking the items at their places.

        Args:
          augment: `(batch, key) -> batch`; None for no augmentation.

        Returns:
          `(batch, key) -> batch`, traceable. Its input has `place`, `index` and `arrays`, the result of
          `resident.load`.
        """
        def take(batch: dict[str, Any], key: jax.Array) -> dict[str, jax.Array]:
            examples = jax.vmap(functools.partial(self.resident.pick, batch['arrays']))(batch['place'])
            index = batch['index']
            examples = {**examples, 'index': index, 'mask': jnp.ones(index.shape, jnp.float32)}
            return augment(examples, key) if augment else examples

        return take
