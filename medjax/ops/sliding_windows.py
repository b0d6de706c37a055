"""Sliding-window inference: predictions for whole volumes from a network with a fixed input shape.

Windows overlap and are blended with Gaussian weights (Isensee 2021: sigma is an eighth of the window's extent). The
network is compiled once, for one window shape and one batch size, whatever the sizes of the volumes. Probabilities are
only stored for as many planes as a window spans and are converted to labels as soon as no further window contributes
to them. Memory is therefore proportional to classes × slab, not to classes × volume.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from jax.sharding import NamedSharding, PartitionSpec

from medjax.errors import InputError
from medjax.ops.labels import last_region


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Start positions of windows along an axis: evenly spaced over the axis, with at least the given overlap."""
    if size <= window:
        return [0]
    count = int(np.ceil((size - window) / max(int(window * (1 - overlap)), 1))) + 1
    return [round(i * (size - window) / (count - 1)) for i in range(count)]


def gaussian_weights(window: Sequence[int]) -> np.ndarray:
    """Blending weights `[*window]` float32: 1 at the centre, down to 1e-10 at the corners.

    They have no lower bound. A bound of 1e-3 would give the inaccurate borders of windows as much weight as the centre
    of another one wherever both are close to a face of the volume.
    """
    axes = [np.exp(-0.5 * ((np.arange(n) - (n - 1) / 2) / (n / 8)) ** 2) if n > 1 else np.ones(1) for n in window]
    weights = axes[0]
    for axis in axes[1:]:
        weights = np.multiply.outer(weights, axis)
    return (weights / weights.max()).astype(np.float32)


def _window_sharding(variables: Any) -> NamedSharding | None:
    """The sharding of windows over the devices that hold the weights; None for a single device."""
    leaf = next(iter(jax.tree.leaves(variables)), None)
    sharding = leaf.sharding if isinstance(leaf, jax.Array) else None
    if not isinstance(sharding, NamedSharding) or sharding.num_devices == 1:
        return None
    return NamedSharding(sharding.mesh, PartitionSpec(sharding.mesh.axis_names))


class SlidingWindowInference:
    """Sliding-window inference.

    Args:
      forward: `(variables, image [n, *window, C]) -> probabilities [n, *window, K]`, traceable. Axes along which the
        window is 1 voxel are squeezed: a 2D network receives `[n, X, Y, C]`.
      window: extents along x, y, z.
      overlap: fraction of a window that it shares with the next, in [0, 1).
      flips: axes of x, y, z that are flipped for test-time augmentation; the predictions of all combinations are
        averaged.
      batch: number of windows per forward pass; rounded up to a multiple of the number of devices.
      regions: whether the K outputs are those of regions, see `labels.last_region`, and not of classes.
      starts: where windows start along an axis, see `window_starts`.
      weights: of a window's voxels, see `gaussian_weights`.

    Raises:
      InputError: overlap or batch is out of range, an axis to flip is twice there or not one of the window's.
    """

    def __init__(self, forward: Callable[[Any, jax.Array], jax.Array], *, window: Sequence[int], overlap: float = 0.5,
                 flips: Sequence[int] = (), batch: int = 1, regions: bool = False,
                 starts: Callable[[int, int, float], list[int]] = window_starts,
                 weights: Callable[[Sequence[int]], np.ndarray] = gaussian_weights):
        if not isinstance(overlap, int | float) or not 0 <= overlap < 1:
            raise InputError(f'config.evaluate.overlap: {overlap!r}; expected a number from 0 to below 1')
        if not isinstance(batch, int) or batch < 1:
            raise InputError(f'config.evaluate.batch: {batch!r}; expected a number of windows of at least 1')
        self.window, self.overlap, self.batch, self.regions = tuple(window), overlap, batch, regions
        thin = tuple(axis for axis, extent in enumerate(self.window) if extent == 1)
        axes = [axis for axis in range(3) if axis not in thin]
        if not isinstance(flips, Sequence) or any(type(axis) is not int for axis in flips) or (
                len(set(flips)) < len(flips) or not set(flips) <= set(axes)):
            raise InputError(f'config.evaluate.flips: {flips!r}; expected different axes of {axes}, those along which '
                             f'the window {self.window} is thicker than a voxel')
        self._starts, self._weights = starts, weights(self.window)
        combinations = [c for n in range(len(flips) + 1) for c in itertools.combinations(flips, n)]

        def run(variables: Any, image: jax.Array) -> jax.Array:
            total = 0.0
            for axes in combinations:
                axes = tuple(a + 1 for a in axes)
                flipped = jnp.flip(image, axes).squeeze(tuple(a + 1 for a in thin))
                out = jnp.expand_dims(forward(variables, flipped), tuple(a + 1 for a in thin))
                total += jnp.flip(out, axes)
            return total * (jnp.asarray(self._weights)[..., None] / len(combinations))

        self._run = jax.jit(run)

    def _planes(self, variables: Any, image: np.ndarray, axis: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Iterates over the planes of a volume `[X, Y, Z, C]`, which is at least as large as the window.

        Yields:
          For each plane perpendicular to `axis`, in order, the weighted sum of probabilities `[A, B, K]` and the sum
          of weights `[A, B]`, with the other axes A and B. A plane is yielded as soon as no further window contributes
          to it, so that only as many planes as a window spans are stored. The arrays are reused for the next plane.
        """
        image, weights = np.moveaxis(image, axis, 0), np.moveaxis(self._weights, axis, 0)
        window, across = weights.shape, image.shape[1:3]
        places = list(itertools.product(*(
            self._starts(s, w, self.overlap) for s, w in zip(image.shape, window))))
        first, slab = 0, None  # the next plane to yield, and a ring buffer of the planes from there on
        sharding = _window_sharding(variables)
        batch = self.batch if sharding is None else -(-self.batch // sharding.num_devices) * sharding.num_devices
        steps = tqdm.tqdm(range(0, len(places), batch), 'windows', unit='', leave=False, delay=5)
        for number in steps:
            part = places[number:number + batch]
            tiles = np.zeros((batch, *window, image.shape[-1]), np.float32)
            for tile, (a, b, c) in zip(tiles, part):
                tile[:] = image[a:a + window[0], b:b + window[1], c:c + window[2]]
            tiles = np.moveaxis(tiles, 1, axis + 1)
            tiles = tiles if sharding is None else jax.device_put(tiles, sharding)
            out = np.moveaxis(np.asarray(self._run(variables, tiles)), axis + 1, 1)
            if slab is None:
                slab = np.zeros((window[0], *across, out.shape[-1]), np.float32)
                weight_sum = np.zeros((window[0], *across), np.float32)
            for row, (a, b, c) in enumerate(part):
                while first < a:  # windows are ordered along the axis: no later one contributes to these planes
                    at = first % window[0]
                    yield slab[at], weight_sum[at]
                    slab[at], weight_sum[at], first = 0, 0, first + 1
                here = (slice(b, b + window[1]), slice(c, c + window[2]))
                for plane in range(window[0]):
                    at = (a + plane) % window[0]
                    slab[at][here] += out[row, plane]
                    weight_sum[at][here] += weights[plane]
            del out  # free the memory before the next forward pass
        for plane in range(first, first + window[0]):
            yield slab[plane % window[0]], weight_sum[plane % window[0]]

    def _map_planes(self, variables: Any, image: np.ndarray, fill: np.ndarray | None,
                    reduce: Callable[[np.ndarray, np.ndarray], Sequence[np.ndarray]]) -> list[np.ndarray]:
        """Applies `reduce` to the sums and weights of each plane, and stacks the results to volumes."""
        image, inner, axis = self._padded(image, fill)
        out: list[np.ndarray] = []
        for plane, (total, weight_sum) in enumerate(self._planes(variables, image, axis)):
            for n, part in enumerate(reduce(total, weight_sum)):
                if not plane:
                    out.append(np.empty((image.shape[axis], *part.shape), part.dtype))
                out[n][plane] = part
        return [np.ascontiguousarray(np.moveaxis(o, 0, axis)[inner]) for o in out]

    def _padded(self, image: np.ndarray, fill: np.ndarray | None) -> tuple[np.ndarray, tuple[slice, ...], int]:
        """An image that fills a window, where the image is in it, and the axis across the planes."""
        image = np.asarray(image, np.float32)
        pad = [max(w - s, 0) for s, w in zip(image.shape, self.window)]
        inner = tuple(slice(p // 2, p // 2 + s) for s, p in zip(image.shape, pad))
        if any(pad):
            if fill is None:
                image = np.pad(image, [*((p // 2, p - p // 2) for p in pad), (0, 0)], mode='edge')
            else:
                padded = np.tile(np.asarray(fill, np.float32), (*(n + p for n, p in zip(image.shape, pad)), 1))
                padded[inner] = image
                image = padded
        # Along the axis where the window is the smallest fraction of the volume, the slab is smallest.
        return image, inner, min(range(3), key=lambda a: self.window[a] / image.shape[a])

    def planes(self, variables: Any, image: np.ndarray,
               fill: np.ndarray | None = None) -> tuple[int, Iterator[np.ndarray]]:
        """Blended outputs plane by plane, so that memory is needed for classes × slab.

        Args:
          variables: the variables of `forward`.
          image: `[X, Y, Z, C]` float32, of any size.
          fill: see `__call__`.

        Returns:
          The axis across the planes, and the planes in order, `[A, B, K]` float32, A and B the other axes.
        """
        padded, inner, axis = self._padded(image, fill)
        across = tuple(part for number, part in enumerate(inner) if number != axis)
        found = itertools.islice(self._planes(variables, padded, axis), inner[axis].start, inner[axis].stop)
        return axis, (total[across] / weight_sum[across][..., None] for total, weight_sum in found)

    def __call__(self, variables: Any, image: np.ndarray,
                 fill: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
        """Segments a volume.

        Args:
          variables: the variables of `forward`.
          image: `[X, Y, Z, C]` float32, of any size.
          fill: `[C]`, padding value for an image that is smaller than the window; None repeats its border.

        Returns:
          The most probable class `[X, Y, Z]` (uint8; uint16 above 256 classes) and its probability, float32. Of
          regions the last one with a probability above .5, and the probability of that; 0 and that of none outside.
        """
        def label_and_confidence(total: np.ndarray, weight_sum: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
            if self.regions:
                probs = total / weight_sum[..., None]
                label = last_region(probs).astype(np.uint8)
                inside = np.take_along_axis(probs, np.maximum(label, 1)[..., None].astype(int) - 1, -1)[..., 0]
                return label, np.where(label > 0, inside, 1 - probs.max(-1))
            label = total.argmax(-1).astype(np.uint8 if total.shape[-1] <= 256 else np.uint16)
            return label, total.max(-1) / weight_sum
        label, confidence = self._map_planes(variables, image, fill, label_and_confidence)
        return label, confidence

    def probabilities(self, variables: Any, image: np.ndarray, fill: np.ndarray | None = None) -> np.ndarray:
        """Blended outputs `[X, Y, Z, K]` float32; needs memory for classes × volume.

        Args:
          variables: the variables of `forward`.
          image: `[X, Y, Z, C]` float32, of any size.
          fill: see `__call__`.
        """
        return self._map_planes(variables, image, fill,
                                lambda total, weight_sum: (total / weight_sum[..., None],))[0]
