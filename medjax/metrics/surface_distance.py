"""Distances between the surfaces of two masks, on the host.

A surface is the set of a mask's voxels that have a face neighbour outside of it (or outside of the image); distances
are between voxel centres, in mm. That is MONAI's definition, and its Hausdorff distances, mean distances and surface
Dice are reproduced. `metrics.surfels` has the same functions for surface elements counted by their area, which is
DeepMind's definition.
"""

from collections.abc import Sequence

import edt
import numpy as np

from medjax.machine import cores


def surface_voxels(mask: np.ndarray) -> np.ndarray:
    """The voxels of a mask `[X, Y, Z]` bool that make its surface."""
    inner = mask.copy()
    for axis in range(mask.ndim):
        here, there = np.moveaxis(inner, axis, 0), np.moveaxis(mask, axis, 0)
        here[1:] &= there[:-1]
        here[:-1] &= there[1:]
        here[[0, -1]] = False
    return mask & ~inner


def bounding_box(*masks: np.ndarray) -> tuple[slice, ...]:
    """The smallest box that holds all true voxels of the masks; not empty where one of them has any."""
    either = np.logical_or.reduce(masks)
    out = []
    for axis in range(either.ndim):
        where = np.flatnonzero(either.any(axis=tuple({*range(either.ndim)} - {axis})))
        out.append(slice(where[0], where[-1] + 1) if where.size else slice(0, 0))
    return tuple(out)


def distances(a: np.ndarray, b: np.ndarray, spacing: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    """Distances from each surface voxel of one mask to the nearest of the other, both ways.

    Args:
      a: `[X, Y, Z]` bool, not empty.
      b: the same shape, not empty.
      spacing: mm along each axis.

    Returns:
      Distances in mm from a's surface to b's, and from b's to a's; float32.
    """
    part = bounding_box(a, b)  # every surface voxel lies in it, so the nearest one does too
    a, b = surface_voxels(a[part]), surface_voxels(b[part])
    return distance_map(b, spacing)[a], distance_map(a, spacing)[b]


def distance_map(surface: np.ndarray, spacing: Sequence[float]) -> np.ndarray:
    """Distance in mm from each voxel to the nearest true one of `surface`, float32."""
    order = 'F' if surface.flags.f_contiguous else 'C'
    return edt.edt(np.asarray(~surface, order=order), anisotropy=tuple(spacing), black_border=False, order=order,
                   parallel=cores())


def within_tolerance(distance: np.ndarray, tolerance: float) -> np.ndarray:
    """Which distances are at most `tolerance`: 1.1 mm is within 1.1 mm, however its square root was rounded."""
    return distance <= tolerance * (1 + 1e-6)


def hausdorff(there: np.ndarray, back: np.ndarray, percentile: float = 95) -> float:
    """The larger of both directions' percentiles of `distances`, in mm; 100 for the Hausdorff distance itself."""
    return float(max(np.percentile(there, percentile), np.percentile(back, percentile)))


def mean_distance(there: np.ndarray, back: np.ndarray) -> float:
    """Average symmetric surface distance, in mm: the mean over both surfaces' voxels."""
    return float(np.concatenate([there, back]).mean(dtype=np.float64))


def surface_dice(there: np.ndarray, back: np.ndarray, tolerance: float) -> float:
    """Normalised surface distance (Nikolov 2021): the share of both surfaces within `tolerance` mm of the other."""
    return float((within_tolerance(there, tolerance).sum() + within_tolerance(back, tolerance).sum()) / (there.size + back.size))
