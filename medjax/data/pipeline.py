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
      rows: the rows of a batch that this process has in a stream; all by default. They are contiguous, since the
        devices of a process hold contiguous rows.
    """

    def __init__(self, count: int, *, seed: int, batch: int, rows: range | None = None):
        if not 0 <= seed < 2**32:
            raise InputError(f'config.seed: {seed}; expected 0..{2**32 - 1}')
        self._count, self._seed, self.batch, self.rows = count, seed, batch, rows or range(batch)

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
    """All batches of a run: `batches[step]` depends neither on earlier steps nor on the number of processes.

    Each example has its item's arrays and `id`, `index`, its number in the run as uint32, and `mask` 1.

    Args:
      items: the training items.
      **options: seed, batch and rows; see `_Order`.

    Raises:
      InputError: the seed is out of range.
    """

    def __init__(self, items: Items, **options: Any):
        order = _Order(len(items), **options)

        def example(number: int) -> dict[str, Any]:
            return {**items.item(order.item(number), order.rng(number)), 'index': np.uint32(number),
                    'mask': np.float32(1)}

        def example_here(position: int) -> dict[str, Any]:
            step, row = divmod(position, len(order.rows))
            return example(step * order.batch + order.rows[row])

        self._whole = grain.MapDataset.range(2**62).map(example).batch(order.batch)
        self._here = grain.MapDataset.range(2**62).map(example_here).batch(len(order.rows))

    def __getitem__(self, step: int) -> dict[str, Any]:
        return self._whole[step]

    def stream(self, start: int, stop: int) -> Iterator[dict[str, Any]]:
        """The rows that this process reads of the batches of some steps, in order, read ahead by threads."""
        # Two threads: reading is indexing of mapped memory, and the train step needs the cores.
        options = grain.ReadOptions(num_threads=2, prefetch_buffer_size=4)
        return iter(self._here[start:stop].to_iter_dataset(options))


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
        return self._places(step, range(self._order.batch))

    def stream(self, start: int, stop: int) -> Iterator[dict[str, np.ndarray]]:
        """The places of this process' rows of the batches of steps `start` to `stop`."""
        return (self._places(step, self._order.rows) for step in range(start, stop))

    def _places(self, step: int, rows: range) -> dict[str, np.ndarray]:
        order = self._order
        numbers = range(step * order.batch + rows.start, step * order.batch + rows.stop)
        places = [self.resident.place(order.item(number), functools.partial(order.rng, number)) for number in numbers]
        return {'place': np.array(places, np.int32), 'index': np.array(numbers, np.uint32)}

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
