"""Boxes that an image may have objects in: connected parts that are brighter, or darker, than each of many thresholds.

Objects that touch each other are one part. So each threshold's mask is eroded as well, by one radius after the other,
until what held them together is gone; a part of what is left is an object's core, and is given the radius back.
"""

import pathlib
from concurrent import futures

import edt
import numpy as np
from scipy import ndimage
from tqdm import tqdm

from medjax import atomic_files
from medjax.data.sources.boxes_from_masks import component_boxes
from medjax.machine import cores

VERSION = 1  # of what is kept; a higher one proposes anew

LEVELS = 8  # thresholds at even quantiles of the image's intensities, and as many at even steps
RADII = (0.01, 0.02, 0.03, 0.045, 0.06)  # of erosion, as shares of the shortest extent; what is below a voxel is none
SMALLEST, LARGEST = 2, 0.9  # voxels along each axis, and the share of some axis' extent, that a box has
APART = 0.7  # boxes whose intersection over union with one before is more are that one


def propose(image: np.ndarray, count: int) -> np.ndarray:
    """Proposes boxes.

    Over many thresholds an object that stands out stays about what it is, and noise does not (Matas 2002): the boxes
    that were found most often come first.

    Args:
      image: `[*S, C]`, two or three axes of space.
      count: of boxes, at most.

    Returns:
      `[N, 2D]` float32, half-open.
    """
    grey = ndimage.gaussian_filter(image.astype(np.float32).mean(-1), 1.0)
    dims, extent = grey.ndim, np.array(grey.shape, np.float32)
    radii = [share * min(grey.shape) for share in RADII if share * min(grey.shape) >= 1]
    levels = np.unique([*np.quantile(grey, (np.arange(LEVELS) + 0.5) / LEVELS),
                        *np.linspace(grey.min(), grey.max(), LEVELS + 2)[1:-1]])
    found = [np.zeros((0, 2 * dims), np.float32)]
    for mask in (mask for level in levels for mask in (grey > level, grey < level)):
        inside = edt.edt(mask)
        found.append(component_boxes(mask))
        found += [component_boxes(inside > radius) + np.float32([-radius] * dims + [radius] * dims) for radius in radii]
    boxes = np.clip(np.concatenate(found), 0, np.tile(extent, 2))
    sides = boxes[:, dims:] - boxes[:, :dims]
    boxes = boxes[(sides >= SMALLEST).all(-1) & (sides <= LARGEST * extent).any(-1)]
    return _merged(boxes)[:count].astype(np.float32)


def kept(arrays: np.memmap, count: int) -> list[np.ndarray]:
    """The proposals of each of many images `[N, *S, C]`, which lie beside their file and are found again."""
    path = pathlib.Path(arrays.filename).with_name(f'proposals{VERSION}_{count}.npz')
    if not path.is_file():
        with futures.ThreadPoolExecutor(cores()) as threads:
            found = list(tqdm(threads.map(lambda image: propose(np.asarray(image), count), arrays), total=len(arrays),
                              desc='proposing boxes', unit='', leave=False, delay=2))
        ends = np.cumsum([len(boxes) for boxes in found])
        atomic_files.write_arrays(path, boxes=np.concatenate(found), ends=ends)
    with np.load(path) as content:
        return np.split(content['boxes'], content['ends'][:-1])


def _merged(boxes: np.ndarray) -> np.ndarray:
    """Boxes `[N, 2D]` without doubles, those first that there were most of."""
    dims = boxes.shape[1] // 2
    size = (boxes[:, dims:] - boxes[:, :dims]).prod(-1)
    kept, times, free = [], [], np.ones(len(boxes), bool)
    for number in np.argsort(-size, kind='stable'):
        if free[number]:
            box = boxes[number]
            common = np.minimum(boxes[:, dims:], box[dims:]) - np.maximum(boxes[:, :dims], box[:dims])
            common = np.maximum(common, 0).prod(-1)
            same = free & (common > APART * (size + size[number] - common))
            free &= ~same
            kept.append(boxes[same].mean(0))
            times.append(int(same.sum()))
    order = np.argsort(-np.array(times, int), kind='stable')
    return np.reshape(kept, (-1, 2 * dims))[order]
