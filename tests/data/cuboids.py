"""Images with one bright cuboid, and the box of what is bright."""

import numpy as np


def bright(shape, box):
    """An array of a file with one bright cuboid."""
    array = np.zeros(shape, np.uint8)
    low, high = np.split(np.asarray(box), 2)
    array[tuple(slice(a, b) for a, b in zip(low, high))] = 255
    return array


def extents(array):
    """The box about what is bright."""
    there = np.argwhere(array > 0.5)
    return [*there.min(0), *(there.max(0) + 1)]
