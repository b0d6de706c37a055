"""Distances between the surfaces of two masks, each surface element counted by its area; on the host.

An element ("surfel") is what marching cubes (Lorensen 1987) draws between the eight voxels around a voxel corner. That
is the definition of DeepMind's surface-distance (Nikolov 2021), whose figures these functions give. `metrics.surface_distance` has
the same functions for surfaces made of voxels, MONAI's definition. They differ by fractions of a voxel.
"""

import functools
import itertools
from collections.abc import Iterator, Sequence

import numpy as np

from medjax.metrics.surface_distance import bounding_box, distance_map, within_tolerance

Elements = tuple[np.ndarray, np.ndarray]  # distances in mm, areas in mm² (lengths in mm in a single slice)
CORNERS = tuple(itertools.product((0, 1), repeat=3))


def distances(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> tuple[Elements, Elements]:
    """Distances from each surface element of one mask to the nearest of the other, both ways, with their areas.

    Args:
      a: `[X, Y, Z]` bool, not empty. With one slice along an axis, its elements are the pieces of its outline.
      b: the same shape, not empty.
      spacing: mm along each axis.

    Returns:
      For a's surface and for b's: distances in mm and areas.
    """
    flat = tuple(n == 1 for n in a.shape)
    part, table = bounding_box(a, b), _areas(tuple(map(float, spacing)), flat)
    a, b = _codes(a[part], flat), _codes(b[part], flat)
    on_a, on_b = ((codes > 0) & (codes < 255) for codes in (a, b))
    return (distance_map(on_b, spacing)[on_a], table[a[on_a]]), (distance_map(on_a, spacing)[on_b], table[b[on_b]])


def hausdorff(there: Elements, back: Elements, percentile: float = 95) -> float:
    """The larger of both directions' distances that `percentile` of the area does not exceed, in mm."""
    def one(elements: Elements) -> float:
        order = np.argsort(elements[0], kind='stable')
        share = np.cumsum(elements[1][order]) / elements[1].sum()
        return elements[0][order][min(np.searchsorted(share, percentile / 100), order.size - 1)]
    return float(max(one(there), one(back)))


def mean_distance(there: Elements, back: Elements) -> float:
    """Average symmetric surface distance, in mm: the mean over both surfaces' area."""
    distance, area = map(np.concatenate, zip(there, back, strict=True))
    return float(np.average(distance.astype(np.float64), weights=area))


def surface_dice(there: Elements, back: Elements, tolerance: float) -> float:
    """Normalised surface distance (Nikolov 2021): the share of both surfaces' area within `tolerance` mm."""
    distance, area = map(np.concatenate, zip(there, back, strict=True))
    return float(area[within_tolerance(distance, tolerance)].sum() / area.sum())


def _codes(mask: np.ndarray, flat: Sequence[bool]) -> np.ndarray:
    """Which of the eight voxels around each voxel corner are in the mask, as the bits of `[X + 1, Y + 1, Z + 1]`.

    Along a flat axis the one slice is taken to go on unchanged, so that it has an outline but no faces.
    """
    mask = np.pad(mask, [(0, 0) if f else (1, 1) for f in flat])
    mask = np.pad(mask, [(0, int(f)) for f in flat], mode='edge')
    codes = np.zeros([n - 1 for n in mask.shape], np.uint8)
    for bit, corner in enumerate(CORNERS):
        codes |= mask[tuple(slice(c, c + n) for c, n in zip(corner, codes.shape, strict=True))].astype(np.uint8) << bit
    return codes


@functools.cache
def _areas(spacing: tuple[float, float, float], flat: tuple[bool, bool, bool]) -> np.ndarray:
    """`[256]` the area of the surface between eight voxels, for each code; a length where an axis is flat."""
    scale = np.where(flat, 1.0, spacing)
    return np.array([sum(_area(triangle * scale) for triangle in _triangles(code)) for code in range(256)])


def _area(triangle: np.ndarray) -> float:
    return 0.5 * float(np.linalg.norm(np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])))


@functools.cache
def _triangles(code: int) -> tuple[np.ndarray, ...]:
    """The surface's triangles, `[3, 3]` in a cube of extent 1.

    The fewer voxels, in or out of the mask, are what the surface encloses; those that share a face are enclosed
    together. Each such group's outline runs through the middles of the cube's edges that leave the group. An outline
    need not be flat; of its triangulations the one of largest area is taken, as surface-distance's table has it.
    """
    inside = {corner for bit, corner in enumerate(CORNERS) if code >> bit & 1}
    if len(inside) > 4:
        inside = set(CORNERS) - inside
    out = []
    while inside:
        group = {inside.pop()}
        while more := {corner for corner in inside if any(_beside(corner, other) for other in group)}:
            group, inside = group | more, inside - more
        outline = _outline(group)
        out += max(([outline[list(t)] for t in ts] for ts in _triangulations(tuple(range(len(outline))))),
                   key=lambda triangles: round(sum(map(_area, triangles)), 9))
    return tuple(out)


def _beside(a: Sequence[int], b: Sequence[int]) -> bool:
    return sum(i != j for i, j in zip(a, b, strict=True)) == 1


def _outline(group: set[tuple[int, ...]]) -> np.ndarray:
    """The middles of the cube's edges that leave a group, `[N, 3]`, in the order in which a line runs through them."""
    points = [np.add(a, b) / 2 for a in sorted(group) for b in CORNERS if b not in group and _beside(a, b)]
    line = [points.pop()]
    while points:  # two points are neighbours on the line where they lie on one face of the cube
        k = next(k for k, point in enumerate(points) if ((point == line[-1]) & (point != 0.5)).any())
        line.append(points.pop(k))
    return np.array(line)


def _triangulations(polygon: tuple[int, ...]) -> Iterator[list[tuple[int, int, int]]]:
    """All ways to cut a polygon into triangles of its corners."""
    if len(polygon) < 3:
        yield []
    for k in range(1, len(polygon) - 1):
        for left, right in itertools.product(_triangulations(polygon[:k + 1]), _triangulations(polygon[k:])):
            yield [(polygon[0], polygon[k], polygon[-1]), *left, *right]
