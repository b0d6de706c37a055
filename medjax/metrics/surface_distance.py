"""Distances between the surfaces of two masks, on the host, for two definitions of a surface.

`VOXELS` is MONAI's definition: the surface of a mask is the set of its voxels that have a face neighbour outside the
mask or outside the image, and distances are between voxel centres. MONAI's Hausdorff distances, average surface
distances and surface Dice are reproduced.

`ELEMENTS` is the definition of DeepMind's surface-distance (Nikolov 2021): the surface consists of the elements
("surfels") that marching cubes (Lorensen 1987) places between the eight voxels around a voxel corner, each counted by
its area. The values of that package are reproduced.

The two differ by fractions of a voxel. All distances are in mm. An axis along which the masks have one voxel is no
direction of space: the surface of a 2D mask is its outline.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import edt
import numpy as np

from medjax.machine import cores

Elements = tuple[np.ndarray, np.ndarray]  # distances in mm, areas in mm² (lengths in mm where there is a single slice)
CORNERS = tuple(itertools.product((0, 1), repeat=3))


class SurfaceMetrics(NamedTuple):
    """The metrics of one definition of a surface.

    Attributes:
      distances: `(a, b, spacing) -> (forward, backward)`, the distances from a's surface to b's, and from b's to a's.
      hausdorff: `(forward, backward, percentile=95)`, the percentile of the Hausdorff distance, in mm.
      mean_distance: `(forward, backward)`, the average symmetric surface distance, in mm.
      surface_dice: `(forward, backward, tolerance)`, the normalised surface distance (Nikolov 2021).
    """

    distances: Callable[[np.ndarray, np.ndarray, Sequence[float]], tuple[Any, Any]]
    hausdorff: Callable[..., float]
    mean_distance: Callable[[Any, Any], float]
    surface_dice: Callable[[Any, Any, float], float]


def bounding_box(*masks: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that contains all true voxels of the masks; empty where there is none."""
    union = np.logical_or.reduce(masks)
    out = []
    for axis in range(union.ndim):
        where = np.flatnonzero(union.any(axis=tuple({*range(union.ndim)} - {axis})))
        out.append(slice(where[0], where[-1] + 1) if where.size else slice(0, 0))
    return tuple(out)


def distance_map(surface: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """The distance from each voxel to the nearest true voxel.

    Args:
      surface: `[X, Y, Z]` bool.
      spacing: mm along each axis.

    Returns:
      `[X, Y, Z]` float32, in mm.
    """
    order = 'F' if surface.flags.f_contiguous else 'C'
    return edt.edt(np.asarray(~surface, order=order), anisotropy=tuple(spacing), black_border=False, order=order,
                   parallel=cores())


def within_tolerance(distance: np.ndarray, tolerance: float) -> np.ndarray:
    """Whether distances are at most `tolerance`, up to the rounding of square roots: 1.1 mm is within 1.1 mm."""
    return distance <= tolerance * (1 + 1e-6)


def surface_voxels(mask: np.ndarray, axes: Sequence[int] = (0, 1, 2)) -> np.ndarray:
    """The surface voxels of a mask, `[X, Y, Z]` bool both: those with a face neighbour outside it along the axes."""
    inner = mask.copy()
    for axis in axes:
        here, there = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[[0, -1]] = False
    return mask & ~inner


def voxel_distances(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances from each surface voxel of one mask to the nearest surface voxel of the other, in both directions.

    Args:
      a: `[X, Y, Z]` bool, not empty. Where it has one slice along an axis, its surface is its outline.
      b: the same shape, not empty.
      spacing: mm along each axis.

    Returns:
      Distances in mm from a's surface to b's, and from b's to a's; float32.
    """
    part = bounding_box(a, b)  # it contains all surface voxels of both masks
    axes = [axis for axis, n in enumerate(a.shape) if n > 1] or range(a.ndim)
    a, b = surface_voxels(a[part], axes), surface_voxels(b[part], axes)
    return distance_map(b, spacing)[a], distance_map(a, spacing)[b]


def voxel_hausdorff(forward: np.ndarray, backward: np.ndarray, percentile: float = 95) -> float:
    """The larger of both directions' percentiles of `voxel_distances`, in mm; 100 is the Hausdorff distance itself."""
    return float(max(np.percentile(forward, percentile), np.percentile(backward, percentile)))


def voxel_mean_distance(forward: np.ndarray, backward: np.ndarray) -> float:
    """Average symmetric surface distance, in mm: the mean over the surface voxels of both masks."""
    return float(np.concatenate([forward, backward]).mean(dtype=np.float64))


def voxel_surface_dice(forward: np.ndarray, backward: np.ndarray, tolerance: float) -> float:
    """The share of the surface voxels of both masks within `tolerance` mm of the other surface."""
    close = within_tolerance(forward, tolerance).sum() + within_tolerance(backward, tolerance).sum()
    return float(close / (forward.size + backward.size))


VOXELS = SurfaceMetrics(voxel_distances, voxel_hausdorff, voxel_mean_distance, voxel_surface_dice)


def element_distances(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> tuple[Elements, Elements]:
    """Distances from each surface element of one mask to the nearest of the other, in both directions, with areas.

    Args:
      a: `[X, Y, Z]` bool, not empty. Where it has one slice along an axis, its elements are the pieces of its outline.
      b: the same shape, not empty.
      spacing: mm along each axis.

    Returns:
      For a's surface and for b's: distances in mm, and areas.
    """
    flat = tuple(n == 1 for n in a.shape)
    part, areas = bounding_box(a, b), _element_areas(tuple(map(float, spacing)), flat)
    a, b = _corner_codes(a[part], flat), _corner_codes(b[part], flat)
    on_a, on_b = ((codes > 0) & (codes < 255) for codes in (a, b))
    return (distance_map(on_b, spacing)[on_a], areas[a[on_a]]), (distance_map(on_a, spacing)[on_b], areas[b[on_b]])


def element_hausdorff(forward: Elements, backward: Elements, percentile: float = 95) -> float:
    """The larger of both directions' distances that `percentile` of the area does not exceed, in mm."""
    def area_percentile(elements: Elements) -> float:
        order = np.argsort(elements[0], kind='stable')
        share = np.cumsum(elements[1][order]) / elements[1].sum()
        return elements[0][order][min(np.searchsorted(share, percentile / 100), order.size - 1)]
    return float(max(area_percentile(forward), area_percentile(backward)))


def element_mean_distance(forward: Elements, backward: Elements) -> float:
    """Average symmetric surface distance, in mm: the mean over the surface area of both masks."""
    distance, area = map(np.concatenate, zip(forward, backward, strict=True))
    return float(np.average(distance.astype(np.float64), weights=area))


def element_surface_dice(forward: Elements, backward: Elements, tolerance: float) -> float:
    """The share of the surface area of both masks within `tolerance` mm of the other surface."""
    distance, area = map(np.concatenate, zip(forward, backward, strict=True))
    return float(area[within_tolerance(distance, tolerance)].sum() / area.sum())


ELEMENTS = SurfaceMetrics(element_distances, element_hausdorff, element_mean_distance, element_surface_dice)


def _corner_codes(mask: np.ndarray, flat: Sequence[bool]) -> np.ndarray:
    """For each voxel corner, which of the eight voxels around it are in the mask, as bits; `[X + 1, Y + 1, Z + 1]`.

    Along a flat axis the single slice is repeated, so that it has an outline but no faces.
    """
    mask = np.pad(mask, [(0, 0) if f else (1, 1) for f in flat])
    mask = np.pad(mask, [(0, int(f)) for f in flat], mode='edge')
    codes = np.zeros([n - 1 for n in mask.shape], np.uint8)
    for bit, corner in enumerate(CORNERS):
        shifted = mask[tuple(slice(c, c + n) for c, n in zip(corner, codes.shape, strict=True))]
        codes |= shifted.astype(np.uint8) << bit
    return codes


@functools.cache
def _element_areas(spacing: tuple[float, float, float], flat: tuple[bool, bool, bool]) -> np.ndarray:
    """`[256]` the area of the surface between eight voxels, by code; a length where an axis is flat."""
    scale = np.where(flat, 1.0, spacing)
    return np.array([sum(_triangle_area(triangle * scale) for triangle in _triangles(code)) for code in range(256)])


def _triangle_area(triangle: np.ndarray) -> float:
    return 0.5 * float(np.linalg.norm(np.cross(triangle[1] - triangle[0], triangle[2] - triangle[0])))


@functools.cache
def _triangles(code: int) -> tuple[np.ndarray, ...]:
    """The triangles of the surface, `[3, 3]` each, in a cube of side 1.

    The surface encloses the voxels in the mask or those outside it, whichever are fewer; voxels that share a face are
    enclosed together. The outline of each such group runs through the middles of the cube's edges that leave the group.
    An outline need not be flat; of its triangulations the one with the largest area is used, as in the table of
    surface-distance.
    """
    inside = {corner for bit, corner in enumerate(CORNERS) if code >> bit & 1}
    if len(inside) > 4:
        inside = set(CORNERS) - inside
    out = []
    while inside:
        group = {inside.pop()}
        while more := {corner for corner in inside if any(_are_neighbours(corner, other) for other in group)}:
            group, inside = group | more, inside - more
        outline = _outline(group)
        candidates = [[outline[list(t)] for t in cut] for cut in _triangulations(tuple(range(len(outline))))]
        out += max(candidates, key=lambda triangles: round(sum(map(_triangle_area, triangles)), 9))
    return tuple(out)


def _are_neighbours(a: Sequence[int], b: Sequence[int]) -> bool:
    """Whether two corners of the cube share an edge."""
    return sum(i != j for i, j in zip(a, b, strict=True)) == 1


def _outline(group: set[tuple[int, ...]]) -> np.ndarray:
    """The middles of the cube's edges that leave a group, `[N, 3]`, in the order of the closed line through them."""
    points = [np.add(a, b) / 2 for a in sorted(group) for b in CORNERS if b not in group and _are_neighbours(a, b)]
    line = [points.pop()]
    while points:  # two points are consecutive where they lie on one face of the cube
        k = next(k for k, point in enumerate(points) if ((point == line[-1]) & (point != 0.5)).any())
        line.append(points.pop(k))
    return np.array(line)


def _triangulations(polygon: tuple[int, ...]) -> Iterator[list[tuple[int, int, int]]]:
    """All divisions of a polygon into triangles of its corners."""
    if len(polygon) < 3:
        yield []
    for k in range(1, len(polygon) - 1):
        for left, right in itertools.product(_triangulations(polygon[:k + 1]), _triangulations(polygon[k:])):
            yield [(polygon[0], polygon[k], polygon[-1]), *left, *right]
