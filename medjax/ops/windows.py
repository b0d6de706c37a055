"""Whole volumes through a network that sees windows of one shape.

Windows overlap and are blended by Gaussian weights (Isensee 2021: sigma an eighth of the window's extent). The network
is compiled for one window shape and one number of windows at a time, whatever the volumes' sizes. Probabilities are
kept for a slab of the volume only and turned into labels as soon as no window can add to them, so that memory grows
with classes × slab and not with classes × volume.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError


def starts(size: int, window: int, overlap: float) -> list[int]:
    """Where windows start along an axis: evenly spread, from the first voxel to the last, at least `overlap` shared."""
    if size <= window:
        return [0]
    count = int(np.ceil((size - window) / max(int(window * (1 - overlap)), 1))) + 1
    return [round(i * (size - window) / (count - 1)) for i in range(count)]


def gaussian(window: Sequence[int]) -> np.ndarray:
    """Blending weights `[*window]` float32, 1 at the centre and, at the corners, down to 1e-10.

    No floor is put under them: one at 1e-3 makes windows' faulty edges count as much as another's middle wherever both
    are near a face of the volume.
    """
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) if n > 1 else np.ones(1) for n in window]
    weights = axes[0]
    for axis in axes[1:]:
        weights = np.multiply.outer(weights, axis)
    return (weights / weights.max()).astype(np.float32)


class Sliding:
    """Sliding-window inference.

    Args:
      forward: `(variables, image [n, *window, C]) -> probabilities [n, *window, K]`, traceable. Axes along which the
        window is 1 voxel are left out of its argument: a 2D network sees `[n, X, Y, C]`.
      window: extents along x, y, z.
      overlap: share of a window that it has in common with the next, from 0 to below 1.
      flips: axes of x, y, z that test-time augmentation mirrors; predictions of all combinations are averaged.
      batch: windows at a time.
    """

    def __init__(self, forward: Callable[[Any, jax.Array], jax.Array], *, window: Sequence[int], overlap: float = 0.5,
                 flips: Sequence[int] = (), batch: int = 1):
        if not 0 <= overlap < 1:
            raise InputError(f'config.evaluate.overlap: {overlap}; expected 0 to below 1')
        self.window, self.overlap, self.batch = tuple(window), overlap, batch
        thin = tuple(axis for axis, extent in enumerate(self.window) if extent == 1)
        if set(flips) - ({0, 1, 2} - {*thin}):
            raise InputError(f'config.evaluate.flips: {tuple(flips)}; expected axes 0 to 2 along which windows are thicker '
                             'than a voxel')
        self._weights = gaussian(self.window)
        combinations = [c for n in range(len(flips) + 1) for c in itertools.combinations(flips, n)]

        def run(variables: Any, image: jax.Array) -> jax.Array:
            total = 0.0
            for axes in combinations:
                axes = tuple(a + 1 for a in axes)
                seen = jnp.flip(image, axes).squeeze(tuple(a + 1 for a in thin))
                out = jnp.expand_dims(forward(variables, seen), tuple(a + 1 for a in thin))
                total += jnp.flip(out, axes)
            return total * (jnp.asarray(self._weights)[..., None] / len(combinations))

        self._run = jax.jit(run)

    def _slabs(self, variables: Any, image: np.ndarray) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
        """Goes through a volume `[A, Y, Z, C]` that is no smaller than the window, main axis first.

        Yields:
          The first of some planes that no further window adds to, their summed probabilities `[n, Y, Z, K]` and
          weights `[n, Y, Z]`; in order, until every plane was given.
        """
        axis, shape = self._axis, image.shape[:3]
        window = _front(self.window, axis)
        grid = [starts(s, w, self.overlap) for s, w in zip(shape, window)]
        places = list(itertools.product(*grid))
        weights = np.moveaxis(self._weights, axis, 0)
        total = seen = None
        base = 0  # the plane that the sums begin with
        for first in range(0, len(places), self.batch):
            part = places[first:first + self.batch]
            boxes = [tuple(slice(s, s + w) for s, w in zip(place, window)) for place in part]
            tiles = np.stack([image[box] for box in boxes] + [np.zeros((*window, image.shape[-1]), np.float32)]
                             * (self.batch - len(part)))
            out = np.moveaxis(np.asarray(self._run(variables, np.moveaxis(tiles, 1, axis + 1))), axis + 1, 1)
            end = part[-1][0] + window[0]
            if total is None:
                total, seen = np.zeros((0, *shape[1:], out.shape[-1]), np.float32), np.zeros((0, *shape[1:]), np.float32)
            more = end - base - len(total)
            if more > 0:
                total = np.concatenate([total, np.zeros((more, *total.shape[1:]), np.float32)])
                seen = np.concatenate([seen, np.zeros((more, *seen.shape[1:]), np.float32)])
            for (planes, *rest), tile in zip(boxes, out):
                here = (slice(planes.start - base, planes.stop - base), *rest)
                total[here] += tile
                seen[here] += weights
            done = (places[first + self.batch][0] if first + self.batch < len(places) else shape[0]) - base
            if done:
                yield base, total[:done], seen[:done]
                total, seen, base = total[done:], seen[done:], base + done

    @property
    def _axis(self) -> int:
        """The main axis: that of the slices for a 2D network, else the first."""
        return self.window.index(1) if 1 in self.window else 0

    def _run_through(self, variables: Any, image: np.ndarray, take: Callable[..., None]) -> tuple[slice, ...]:
        image = np.asarray(image, np.float32)
        pad = [max(w - s, 0) for s, w in zip(image.shape, self.window)]
        inner = tuple(slice(p // 2, p // 2 + s) for s, p in zip(image.shape, pad))
        if any(pad):
            image = np.pad(image, [*((p // 2, p - p // 2) for p in pad), (0, 0)], mode='edge')
        for base, total, seen in self._slabs(variables, np.moveaxis(image, self._axis, 0)):
            take(base, total, seen, _front(image.shape[:3], self._axis))
        return inner

    def __call__(self, variables: Any, image: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels a volume.

        Args:
          variables: for `forward`.
          image: `[X, Y, Z, C]` float32, of any size; one smaller than the window is continued by its border.

        Returns:
          The most probable class `[X, Y, Z]` (uint8; uint16 above 256 classes) and its probability, float32.
        """
        out: dict[str, np.ndarray] = {}

        def take(base: int, total: np.ndarray, seen: np.ndarray, shape: tuple[int, ...]) -> None:
            if not out:
                out['label'] = np.zeros(shape, np.uint8 if total.shape[-1] <= 256 else np.uint16)
                out['confidence'] = np.zeros(shape, np.float32)
            planes = slice(base, base + len(total))
            out['label'][planes] = total.argmax(-1)
            out['confidence'][planes] = total.max(-1) / seen
        inner = self._run_through(variables, image, take)
        return tuple(np.ascontiguousarray(np.moveaxis(out[k], 0, self._axis)[inner]) for k in ('label', 'confidence'))

    def probabilities(self, variables: Any, image: np.ndarray) -> np.ndarray:
        """All blended probabilities `[X, Y, Z, K]` float32; as large as classes times volume."""
        out: list[np.ndarray] = []
        inner = self._run_through(variables, image, lambda base, total, seen, shape: out.append(total / seen[..., None]))
        return np.moveaxis(np.concatenate(out), 0, self._axis)[inner]


def _front(values: Sequence[int], axis: int) -> tuple[int, ...]:
    """The values with that of an axis moved to the front, as `np.moveaxis` moves axes."""
    return (values[axis], *(v for a, v in enumerate(values) if a != axis))
