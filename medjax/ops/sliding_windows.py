"""Whole volumes through a network that sees windows of one shape.

Windows overlap and are blended by Gaussian weights (Isensee 2021: sigma an eighth of the window's extent). The network
is compiled for one window shape and one number of windows at a time, whatever the volumes' sizes. Probabilities are
kept for as many planes as a window spans and turned into labels as soon as no window can add to them, so that memory
grows with classes × slab and not with classes × volume.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding, PartitionSpec

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


def _spread(variables: Any) -> NamedSharding | None:
    """How windows are dealt out to the devices that a process holds the weights on; None for a single one."""
    leaf = next(iter(jax.tree.leaves(variables)), None)
    sharding = leaf.sharding if isinstance(leaf, jax.Array) else None
    if not isinstance(sharding, NamedSharding) or sharding.num_devices == 1 or jax.process_count() > 1:
        return None
    return NamedSharding(sharding.mesh, PartitionSpec(sharding.mesh.axis_names))


class Sliding:
    """Sliding-window inference.

    Args:
      forward: `(variables, image [n, *window, C]) -> probabilities [n, *window, K]`, traceable. Axes along which the
        window is 1 voxel are left out of its argument: a 2D network sees `[n, X, Y, C]`.
      window: extents along x, y, z.
      overlap: share of a window that it has in common with the next, from 0 to below 1.
      flips: axes of x, y, z that test-time augmentation mirrors; predictions of all combinations are averaged.
      batch: windows at a time; where the weights lie on several devices, a multiple of their number.
    """

    def __init__(self, forward: Callable[[Any, jax.Array], jax.Array], *, window: Sequence[int], overlap: float = 0.5,
                 flips: Sequence[int] = (), batch: int = 1):
        if not 0 <= overlap < 1:
            raise InputError(f'config.evaluate.overlap: {overlap}; expected 0 to below 1')
        self.window, self.overlap, self.batch = tuple(window), overlap, batch
        thin = tuple(axis for axis, extent in enumerate(self.window) if extent == 1)
        if set(flips) - ({0, 1, 2} - {*thin}):
            raise InputError(f'config.evaluate.flips: {tuple(flips)}; expected axes of 0 to 2 along which the window '
                             f'{self.window} is thicker than a voxel')
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

    def _planes(self, variables: Any, image: np.ndarray, axis: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Goes through a volume `[X, Y, Z, C]` that is no smaller than the window, along a main axis.

        Yields:
          Of each plane across the main axis, in order, the summed probabilities `[A, B, K]` and weights `[A, B]`, A and
          B the other axes; as soon as no further window adds to them, so that never more are kept than a window spans.
          They are valid until the next.
        """
        image, weights = np.moveaxis(image, axis, 0), np.moveaxis(self._weights, axis, 0)
        window, across = weights.shape, image.shape[1:3]
        places = list(itertools.product(*(starts(s, w, self.overlap) for s, w in zip(image.shape, window))))
        first, slab = 0, None  # the plane that is given next; those from it on, each in a place that is used again
        spread = _spread(variables)
        batch = self.batch if spread is None else -(-self.batch // spread.num_devices) * spread.num_devices
        for number in range(0, len(places), batch):
            part = places[number:number + batch]
            tiles = np.zeros((batch, *window, image.shape[-1]), np.float32)
            for tile, (a, b, c) in zip(tiles, part):
                tile[:] = image[a:a + window[0], b:b + window[1], c:c + window[2]]
            tiles = np.moveaxis(tiles, 1, axis + 1)
            tiles = tiles if spread is None else jax.device_put(tiles, spread)
            out = np.moveaxis(np.asarray(self._run(variables, tiles)), axis + 1, 1)
            if slab is None:
                slab, seen = np.zeros((window[0], *across, out.shape[-1]), np.float32), np.zeros(
                    (window[0], *across), np.float32)
            for row, (a, b, c) in enumerate(part):
                while first < a:  # places are in order of the main axis: none reaches back to these
                    at = first % window[0]
                    yield slab[at], seen[at]
                    slab[at], seen[at], first = 0, 0, first + 1
                here = (slice(b, b + window[1]), slice(c, c + window[2]))
                for plane in range(window[0]):
                    at = (a + plane) % window[0]
                    slab[at][here] += out[row, plane]
                    seen[at][here] += weights[plane]
            del out  # or it would be there beside the next one
        for plane in range(first, first + window[0]):
            yield slab[plane % window[0]], seen[plane % window[0]]

    def _run_through(self, variables: Any, image: np.ndarray, fill: np.ndarray | None,
                     take: Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """What `take` makes of each plane's sums and weights, put together to volumes of the image's size."""
        image = np.asarray(image, np.float32)
        pad = [max(w - s, 0) for s, w in zip(image.shape, self.window)]
        inner = tuple(slice(p // 2, p // 2 + s) for s, p in zip(image.shape, pad))
        if any(pad):
            if fill is None:
                image = np.pad(image, [*((p // 2, p - p // 2) for p in pad), (0, 0)], mode='edge')
            else:
                whole = np.tile(np.asarray(fill, np.float32), (*(n + p for n, p in zip(image.shape, pad)), 1))
                whole[inner] = image
                image = whole
        # The axis along which a window is the least share of the volume: what is kept is smallest then.
        axis = min(range(3), key=lambda a: self.window[a] / image.shape[a])
        out: list[np.ndarray] = []
        for plane, (total, seen) in enumerate(self._planes(variables, image, axis)):
            for n, part in enumerate(take(total, seen)):
                if not plane:
                    out.append(np.empty((image.shape[axis], *part.shape), part.dtype))
                out[n][plane] = part
        return [np.ascontiguousarray(np.moveaxis(o, 0, axis)[inner]) for o in out]

    def __call__(self, variables: Any, image: np.ndarray,
                 fill: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Labels a volume.

        Args:
          variables: for `forward`.
          image: `[X, Y, Z, C]` float32, of any size.
          fill: `[C]`, what is beyond an image that is smaller than the window; None continues its border.

        Returns:
          The most probable class `[X, Y, Z]` (uint8; uint16 above 256 classes) and its probability, float32.
        """
        def take(total: np.ndarray, seen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            label = total.argmax(-1).astype(np.uint8 if total.shape[-1] <= 256 else np.uint16)
            return label, total.max(-1) / seen
        label, confidence = self._run_through(variables, image, fill, take)
        return label, confidence

    def probabilities(self, variables: Any, image: np.ndarray) -> np.ndarray:
        """All blended probabilities `[X, Y, Z, K]` float32; as large as classes times volume."""
        return self._run_through(variables, image, None, lambda total, seen: (total / seen[..., None],))[0]
