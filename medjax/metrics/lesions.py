"""Lesions in masks, on the host: their parts, diameters, volumes and uptake, and which is which at a later time.

Arrays are `[X, Y, Z]` in RAS+ order, so that axis 2 runs to the head and a slice along it is axial. Positions are those
of voxel centres, which is also the convention of the diameters: a diameter joins the centres of two voxels of the mask.
Where a voxel belongs to what holds its centre, balls of 10 to 18 voxels come out 0.2 voxels too small by it in the
longest diameter and 0.5 in the short axis; from corner to corner they would be 1.1 and 0.8 too large. One voxel alone
has no extent: it is there, but too small to measure.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import cc3d
import numpy as np

from medjax.metrics.surface_distance import bounding_box

PEAK_ML = 1.0  # of the sphere of SUVpeak
SAME = 1e-6  # mm in which lengths that rounding alone tells apart differ


class Finding(NamedTuple):
    """A lesion at a visit.

    Attributes:
      kind: 'target', 'node' or 'nontarget', as the mask that it is in says.
      longest: longest axial diameter, mm; of a lesion in pieces the sum over them.
      short: the short axis across it, mm.
      volume: ml.
      peak: see `peak`; NaN where there is no image.
      thickness: of its slices, mm.
      state: 'there', 'gone', 'merged' (another lesion lies where it was) or 'not evaluated'.
    """

    kind: str
    longest: float = 0.0
    short: float = 0.0
    volume: float = 0.0
    peak_uptake: float = math.nan
    thickness: float = 0.0
    state: str = 'there'


class Visit(NamedTuple):
    """What was seen of a patient at a time.

    Attributes:
      name: the visit as its table has it.
      weeks: since the first.
      kinds: of lesions that were looked for.
      findings: lesions by kind and number; one of these kinds that is not among them is gone.
    """

    name: str
    weeks: float
    kinds: frozenset[str]
    findings: dict[tuple[str, int], Finding]


@dataclasses.dataclass(frozen=True)
class LabelledVoxels:
    """Voxels `index [N, 3]` of a grid with an affine `[4, 4]` to mm and a shape, each with a `number [N]` above 0."""

    index: np.ndarray
    number: np.ndarray
    affine: np.ndarray
    shape: tuple[int, ...]

    def world(self) -> np.ndarray:
        """The voxels' centres in mm, `[N, 3]`."""
        return self.index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def at(self, world: np.ndarray) -> np.ndarray:
        """Numbers `[M]` of the voxels that hold places in mm `[M, 3]`; 0 where none does."""
        if not len(self.index):
            return np.zeros(len(world), int)
        index = np.rint((world - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T).astype(int)
        inside = ((index >= 0) & (index < self.shape)).all(1)
        mine = self._flat(self.index)
        order = np.argsort(mine)
        asked = self._flat(np.where(inside[:, None], index, 0))
        place = order[np.minimum(np.searchsorted(mine, asked, sorter=order), len(mine) - 1)]
        return np.where(inside & (mine[place] == asked), self.number[place], 0)

    def _flat(self, index: np.ndarray) -> np.ndarray:
        return np.ravel_multi_index(tuple(index.T), self.shape)


def connected_parts(mask: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The connected parts of a mask; voxels of one number belong together where they share a corner.

    Args:
      mask: `[X, Y, Z]`, whole numbers or bool, 0 where there is no lesion.

    Returns:
      The number and the voxels `[N, 3]` of each part, the largest part first.
    """
    part = bounding_box(mask != 0)
    inner = np.ascontiguousarray(mask[part])
    if not inner.size:
        return []
    labels = cc3d.connected_components(inner.astype(np.int32), connectivity=26)
    index = np.argwhere(labels)
    label = labels[tuple(index.T)]
    order = np.argsort(label, kind='stable')
    pieces = np.split(index[order], np.flatnonzero(np.diff(label[order])) + 1)
    start = [s.start for s in part]
    return sorted(((int(inner[tuple(piece[0])]), piece + start) for piece in pieces), key=lambda one: -len(one[1]))


def diameters(index: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    """Longest axial diameter and short axis of a part.

    The longest diameter is the largest distance between two voxel centres of one slice, over all slices. The short axis
    of a slice is the extent perpendicular to its longest diameter, the least one where several are as long; that of the
    part is the largest over the slices.

    Args:
      index: voxels `[N, 3]`, N > 0.
      spacing: mm along each axis.

    Returns:
      Both in mm.
    """
    longest = short = 0.0
    index = index[np.lexsort(index.T)]  # by slice, row, column
    for plane in np.split(index, np.flatnonzero(np.diff(index[:, 2])) + 1):
        # What is farthest apart in any direction are ends of rows.
        new = np.flatnonzero(np.diff(plane[:, 1])) + 1
        ends = plane[np.concatenate([[0], new, new - 1, [len(plane) - 1]]), :2] * np.asarray(spacing, float)[:2]
        apart = ends[:, None] - ends
        length = np.hypot(apart[..., 0], apart[..., 1])
        most = float(length.max())
        if most > 0:
            along = apart[length >= most - SAME]
            across = ends @ np.stack([-along[:, 1], along[:, 0]]) / most
            longest, short = max(longest, most), max(short, float(np.ptp(across, 0).min()))
    return longest, short


def peak_uptake(image: np.ndarray, index: np.ndarray, spacing: Sequence[float]) -> float:
    """SUVpeak's like: the largest mean over a sphere of 1 ml whose centre is a voxel of the lesion.

    As in PERCIST (Wahl 2009) the sphere may reach beyond the lesion. Voxels count whose centres are in it; beyond the
    image there are none.

    Args:
      image: `[X, Y, Z]`, such as standardised uptake values.
      index: the lesion's voxels `[N, 3]`, N > 0.
      spacing: mm along each axis.
    """
    radius = (3000 * PEAK_ML / (4 * math.pi)) ** (1 / 3)
    reach = np.floor(radius / np.asarray(spacing, float)).astype(int)
    steps = np.indices(2 * reach + 1).reshape(3, -1).T - reach
    steps = steps[np.linalg.norm(steps * spacing, axis=1) <= radius]
    total, count = np.zeros(len(index)), np.zeros(len(index))
    for step in steps:
        at = index + step
        inside = ((at >= 0) & (at < image.shape)).all(1)
        total[inside] += image[tuple(at[inside].T)]
        count += inside
    return float((total / count).max())


def measure_lesion(kind: str, pieces: Sequence[np.ndarray], spacing: Sequence[float],
            image: np.ndarray | None = None) -> Finding:
    """Measures a lesion.

    Args:
      kind: see `Finding`.
      pieces: voxels `[N, 3]` of its connected parts. Diameters of the parts are added, as RECIST 1.1 asks for lesions
        that fall apart.
      spacing: mm along each axis.
      image: on the same grid, for the peak.
    """
    longest, short = np.sum([diameters(piece, spacing) for piece in pieces], 0)
    volume = sum(map(len, pieces)) * math.prod(spacing) / 1000
    found = math.nan if image is None else max(peak_uptake(image, piece, spacing) for piece in pieces)
    return Finding(kind, float(longest), float(short), volume, found, float(spacing[2]))


def shared_volumes(now: LabelledVoxels, before: LabelledVoxels) -> dict[tuple[int, int], float]:
    """How much parts share with earlier ones, mm³ by both numbers.

    Grids may differ. Of the volumes of the voxels of either whose centres lie in a voxel of the other the larger
    counts, so that a part between the centres of coarser voxels is found as well.
    """
    shared: dict[tuple[int, int], float] = {}
    for one, other, turned in ((now, before, False), (before, now, True)):
        there = other.at(one.world())
        pairs, count = np.unique(np.stack([one.number, there], 1)[there > 0], axis=0, return_counts=True)
        for (a, b), voxels in zip(pairs.tolist(), count):
            key, volume = (b, a) if turned else (a, b), voxels * abs(np.linalg.det(one.affine[:3, :3]))
            shared[key] = max(shared.get(key, 0.0), float(volume))
    return shared


def match_lesions(now: LabelledVoxels, earlier: Sequence[LabelledVoxels]) -> tuple[dict[int, int], set[int]]:
    """Tells which parts are lesions that were seen before.

    A part is the lesion that it shares most with at the latest visit at which it shares anything with one; several may
    be the same lesion, which then has fallen apart.

    Args:
      now: the parts, by number.
      earlier: the lesions, by number, at each visit before, the latest first.

    Returns:
      For parts that are known lesions, the lesion's number; and the lesions of which any part has a voxel.
    """
    known: dict[int, int] = {}
    touched: set[int] = set()
    for before in earlier:
        shared = shared_volumes(now, before)
        touched |= {lesion for _, lesion in shared}
        best: dict[int, int] = {}
        for part, lesion in sorted(shared, key=lambda key: (-shared[key], key)):
            best.setdefault(part, lesion)
        known = best | known
    return known, touched
