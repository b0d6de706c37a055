"""Growth of a mask to a given volume, for growth laws that predict a volume but no shape."""

from collections.abc import Sequence

import numpy as np

from medjax.data.datasets.tumour_visits import signed_distance


def foreground(image: np.ndarray) -> np.ndarray:
    """The foreground of an image `[*S, C]`, `[*S]` bool: the head where the background was set to a constant.

    The background is the most frequent value of the border, if that is more than 30 % of it. Otherwise all voxels are
    foreground.
    """
    first = image[..., 0]
    border = np.concatenate([np.take(first, place, axis).ravel() for axis in range(first.ndim) for place in (0, -1)])
    values, counts = np.unique(border, return_counts=True)
    background = values[counts.argmax()]
    return first != background if counts.max() > 0.3 * border.size else np.ones(first.shape, bool)


def resize_mask(mask: np.ndarray, spacing: Sequence[float], count: int, allowed: np.ndarray) -> np.ndarray:
    """A mask that has grown, or shrunk, to a number of voxels, by its distance transform.

    Voxels are added or removed in the order of their distance to the border; of equally distant voxels, those nearest
    to the centroid of the mask are preferred.

    Args:
      mask: `[*S]`, 0 or 1; an empty mask stays empty.
      spacing: voxel size in mm along each axis.
      count: number of voxels of the result, at most the number of allowed ones.
      allowed: `[*S]` bool, where the mask may grow.
    """
    out = np.zeros(mask.shape, np.uint8)
    if not mask.any():
        return out
    spacing = tuple(spacing)[:mask.ndim]
    to_border = signed_distance(mask, spacing)
    centroid = np.argwhere(mask).mean(0)
    to_centroid = 0
    for axis, (n, centre, step) in enumerate(zip(mask.shape, centroid, spacing)):
        shape = [-1 if other == axis else 1 for other in range(mask.ndim)]
        to_centroid = to_centroid + ((np.arange(n) - centre) * step).reshape(shape) ** 2
    places = np.flatnonzero((allowed | (mask > 0)).ravel())
    order = places[np.lexsort((to_centroid.ravel()[places], to_border.ravel()[places]))]
    out.ravel()[order[:max(count, 0)]] = 1
    return out
