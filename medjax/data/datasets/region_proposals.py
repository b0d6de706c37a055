"""Region proposals: boxes of the connected components above, or below, each of many intensity thresholds.

Objects that touch form one component. Therefore each threshold's mask is also eroded, by several radii, until touching
objects separate; the box of an eroded component is enlarged by the radius.
"""

import functools
import pathlib
from concurrent import futures

import edt
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from medjax.data.datasets import prepared_cache
from medjax.data.transforms.component_boxes import component_boxes
from medjax.machine import cores

VERSION = 1  # of the cached file; a new number proposes again
FILE = 'boxes.npz'

LEVELS = 8  # thresholds at regular quantiles of the image's intensities, and as many at regular steps
RADII = (0.01, 0.02, 0.03, 0.045, 0.06)  # of erosion, as fractions of the shortest extent; at least a voxel
SMALLEST, LARGEST = 2, 0.9  # of a box: voxels along each axis, and the fraction of the extent along at least one axis
DUPLICATE_IOU = 0.7  # boxes with a larger intersection over union count as one


def propose_boxes(image: np.ndarray, count: int) -> np.ndarray:
    """The boxes that are found at most thresholds.

    The component of a distinct object is stable over many thresholds, that of noise is not (Matas 2002): boxes that
    are found more often come first.

    Args:
      image: `[*S, C]`, with two or three spatial axes.
      count: the maximum number of boxes.

    Returns:
      `[N, 2D]` float32, half-open.
    """
    grey = ndimage.gaussian_filter(image.astype(np.float32).mean(-1), 1.0)
    dims, extent = grey.ndim, np.array(grey.shape, np.float32)
    radii = [fraction * min(grey.shape) for fraction in RADII if fraction * min(grey.shape) >= 1]
    levels = np.unique([*np.quantile(grey, (np.arange(LEVELS) + 0.5) / LEVELS),
                        *np.linspace(grey.min(), grey.max(), LEVELS + 2)[1:-1]])
    found = [np.zeros((0, 2 * dims), np.float32)]
    for level in levels:
        for mask in (grey > level, grey < level):
            distance = edt.edt(mask)
            found.append(component_boxes(mask))
            for radius in radii:
                enlarge = np.float32([-radius] * dims + [radius] * dims)
                found.append(component_boxes(distance > radius) + enlarge)
    boxes = np.clip(np.concatenate(found), 0, np.tile(extent, 2))
    sides = boxes[:, dims:] - boxes[:, :dims]
    boxes = boxes[(sides >= SMALLEST).all(-1) & (sides <= LARGEST * extent).any(-1)]
    return _merge(boxes)[:count].astype(np.float32)


def cached_proposals(arrays: np.memmap, count: int) -> list[np.ndarray]:
    """The proposals for each of many images, computed now or read from the cache.

    Args:
      arrays: `[N, *S, C]`, mapped from a file; the proposals are cached beside it.
      count: the maximum number of boxes for each image.

    Returns:
      For each image, `[n, 2D]` float32.
    """
    folder = pathlib.Path(arrays.filename).with_name(f'proposals{VERSION}_{count}')
    if not prepared_cache.found(folder, 'proposals'):
        with futures.ThreadPoolExecutor(cores()) as threads:
            proposed = threads.map(lambda image: propose_boxes(np.asarray(image), count), arrays)
            found = list(tqdm(proposed, total=len(arrays), desc='proposing boxes', unit='', leave=False, delay=2))
        ends = np.cumsum([len(boxes) for boxes in found])
        write = functools.partial(_write, np.concatenate(found), ends)
        prepared_cache.store(folder, write, 'proposals')
    with np.load(folder / FILE) as content:
        return np.split(content['boxes'], content['ends'][:-1])


def _write(boxes: np.ndarray, ends: np.ndarray, folder: pathlib.Path) -> None:
    np.savez_compressed(folder / FILE, boxes=boxes, ends=ends)


def _merge(boxes: np.ndarray) -> np.ndarray:
    """Boxes `[N, 2D]`, duplicates averaged, those with most duplicates first."""
    dims = boxes.shape[1] // 2
    size = (boxes[:, dims:] - boxes[:, :dims]).prod(-1)
    merged, counts, free = [], [], np.ones(len(boxes), bool)
    for number in np.argsort(-size, kind='stable'):
        if free[number]:
            box = boxes[number]
            common = np.minimum(boxes[:, dims:], box[dims:]) - np.maximum(boxes[:, :dims], box[:dims])
            common = np.maximum(common, 0).prod(-1)
            same = free & (common > DUPLICATE_IOU * (size + size[number] - common))
            free &= ~same
            merged.append(boxes[same].mean(0))
            counts.append(int(same.sum()))
    order = np.argsort(-np.array(counts, int), kind='stable')
    return np.reshape(merged, (-1, 2 * dims))[order]
