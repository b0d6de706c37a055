"""Masks that are made larger or smaller to a volume: what a law of growth, which knows no place, says of a mask."""

from collections.abc import Sequence

import numpy as np

from medjax.data.datasets.tumour_growth import distance


def inside(image: np.ndarray) -> np.ndarray:
    """Where `[*S, C]` is not what most of its border is: the head, where an image was cleared about it."""
    first = image[..., 0]
    edge = np.concatenate([np.take(first, place, axis).ravel() for axis in range(first.ndim) for place in (0, -1)])
    values, counts = np.unique(edge, return_counts=True)
    air = values[counts.argmax()]
    return first != air if counts.max() > 0.3 * edge.size else np.ones(first.shape, bool)


def grown(mask: np.ndarray, steps: Sequence[float], count: int, room: np.ndarray) -> np.ndarray:
    """A mask made larger, or smaller, to a number of voxels, by its distance transform.

    Those nearest to the border come first, or go; of equal ones those nearest to the mask's middle stay.

    Args:
      mask: `[*S]`, 0 or 1; where it is empty it stays so.
      steps: mm of a voxel along each axis.
      count: of voxels that it should have; no more than there is room for.
      room: `[*S]` bool, where it may grow.
    """
    out = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return out
    steps = tuple(steps)[:mask.ndim]
    far = distance(mask, steps)
    middle = np.argwhere(mask).mean(0)
    apart = sum(((np.arange(n) - m) * h).reshape([-1 if a == axis else 1 for a in range(mask.ndim)]) ** 2
                for axis, (n, m, h) in enumerate(zip(mask.shape, middle, steps)))
    allowed = np.flatnonzero((room | (mask > 0)).ravel())
    order = allowed[np.lexsort((apart.ravel()[allowed], far.ravel()[allowed]))]
    out.ravel()[order[:max(count, 0)]] = 1
    return out
