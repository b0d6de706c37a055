"""Lesions in masks, on the host: connected parts, diameters, volumes, uptake, and correspondence over time.

Arrays are `[X, Y, Z]` in RAS+ order, so that axis 2 points to the head and a slice across it is axial. Positions are
those of voxel centres, also for diameters: a diameter connects the centres of two voxels of the mask. Of a ball that is
10 to 18 voxels wide, and whose mask consists of the voxels with their centre in the ball, the longest diameter is
measured 0.2 voxels too small and the short axis 0.6; from corner to corner they would be 1.1 and 0.7 too large. A
single voxel has no extent: it is present, but too small to measure.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import cc3d
import numpy as np
from scipy import ndimage

from medjax.metrics.surface_distance import bounding_box

PEAK_ML = 1.0  # volume of the sphere of SUVpeak
SAME = 1e-6  # mm, tolerance of equal lengths
APART = 0.75  # of a voxel's diagonal: the ends of a perpendicular chord along the diameter, at most
CHORDS = 512  # chords that are examined at once
Key = tuple[str, str, int]  # of a lesion of a patient: kind, organ, number


class Finding(NamedTuple):
    """A lesion at a visit.

    Attributes:
      kind: 'target', 'node' or 'nontarget', by the mask that contains it.
      longest: longest axial diameter in mm; for a lesion in several parts the sum over the parts.
      short: the short axis, the longest chord perpendicular to it, in mm; see `diameters`.
      volume: in ml.
      peak: see `peak_uptake`; NaN without an image.
      thickness: slice thickness in mm.
      state: 'there' (present), 'gone', 'merged' (another lesion is at its place) or 'not evaluated'.
      organ: name; '' where it is not known.
    """

    kind: str
    longest: float = 0.0
    short: float = 0.0
    volume: float = 0.0
    peak: float = math.nan
    thickness: float = 0.0
    state: str = 'there'
    organ: str = ''


class Visit(NamedTuple):
    """The findings of a patient at one time.

    Attributes:
      name: the visit's name in its table.
      weeks: weeks since the first visit.
      evaluated: the kinds of lesions that were evaluated, each with its organ.
      findings: lesions by kind, organ and number; a known lesion of what was evaluated that is not among them is gone.
    """

    name: str
    weeks: float
    evaluated: frozenset[tuple[str, str]]
    findings: dict[Key, Finding]


@dataclasses.dataclass(frozen=True)
class LabelledVoxels:
    """The voxels of numbered parts on a grid.

    Attributes:
      index: `[N, 3]`, the voxels.
      number: `[N]` above 0, the part of each voxel.
      affine: `[4, 4]`, from voxels to mm.
      shape: the grid's shape.
    """

    index: np.ndarray
    number: np.ndarray
    affine: np.ndarray
    shape: tuple[int, ...]

    def positions(self) -> np.ndarray:
        """The centres of the voxels in mm, `[N, 3]`."""
        return self.index @ self.affine[:3, :3].T + self.affine[:3, 3]

    def numbers_at(self, positions: np.ndarray) -> np.ndarray:
        """The numbers of the parts at given positions.

        Args:
          positions: `[M, 3]`, in mm.

        Returns:
          `[M]`; 0 where no part's voxel contains the position.
        """
        if not len(self.index):
            return np.zeros(len(positions), int)
        index = np.rint((positions - self.affine[:3, 3]) @ np.linalg.inv(self.affine[:3, :3]).T).astype(int)
        inside = ((index >= 0) & (index < self.shape)).all(1)
        own = self._flat(self.index)
        order = np.argsort(own)
        queried = self._flat(np.where(inside[:, None], index, 0))
        place = order[np.minimum(np.searchsorted(own, queried, sorter=order), len(own) - 1)]
        return np.where(inside & (own[place] == queried), self.number[place], 0)

    def _flat(self, index: np.ndarray) -> np.ndarray:
        return np.ravel_multi_index(tuple(index.T), self.shape)


def connected_parts(mask: np.ndarray) -> list[tuple[int, np.ndarray]]:
    """The connected parts of a mask: voxels of the same number that share at least a corner.

    Args:
      mask: `[X, Y, Z]`, integer or bool, 0 where there is no lesion.

    Returns:
      The number and the voxels `[N, 3]` of each part, the largest part first.
    """
    box = bounding_box(mask != 0)
    inner = np.ascontiguousarray(mask[box])
    if not inner.size:
        return []
    labels = cc3d.connected_components(inner.astype(np.int32), connectivity=26)
    index = np.argwhere(labels)
    label = labels[tuple(index.T)]
    order = np.argsort(label, kind='stable')
    pieces = np.split(index[order], np.flatnonzero(np.diff(label[order])) + 1)
    start = [s.start for s in box]
    parts = [(int(inner[tuple(piece[0])]), piece + start) for piece in pieces]
    return sorted(parts, key=lambda part: -len(part[1]))


def diameters(index: np.ndarray, spacing: Sequence[float]) -> tuple[float, float]:
    """Longest axial diameter and short axis of a part.

    The longest diameter is the largest distance between two voxel centres of one slice, over all slices. The short axis
    of a slice is the longest chord perpendicular to its longest diameter, as RECIST 1.1 defines it; where several
    diameters are equally long, the longest of their chords. That of the part is the largest over its slices. Holes in
    a slice, such as necrosis, belong to the part.

    Args:
      index: voxels `[N, 3]`, N > 0.
      spacing: mm along each axis.

    Returns:
      Both in mm.
    """
    longest = short = 0.0
    index = index[np.lexsort(index.T)]  # by slice, row, column
    for plane in np.split(index, np.flatnonzero(np.diff(index[:, 2])) + 1):
        # The farthest voxels in any direction are ends of rows.
        new = np.flatnonzero(np.diff(plane[:, 1])) + 1
        ends = plane[np.concatenate([[0], new, new - 1, [len(plane) - 1]]), :2] * np.asarray(spacing, float)[:2]
        difference = ends[:, None] - ends
        length = np.hypot(difference[..., 0], difference[..., 1])
        most = float(length.max())
        if most > 0:
            mask = np.zeros(np.ptp(plane[:, :2], 0) + 1, bool)
            mask[tuple((plane[:, :2] - plane[:, :2].min(0)).T)] = True
            mask = ndimage.binary_fill_holes(mask)
            along = difference[np.triu(length >= most - SAME)] / most
            longest, short = max(longest, most), max(short, max(_longest_chord(mask, spacing, one) for one in along))
    return longest, short


def _longest_chord(mask: np.ndarray, spacing: Sequence[float], along: np.ndarray) -> float:
    """The longest chord of a mask perpendicular to a direction, in mm.

    A chord connects the centres of two voxels and lies in the mask. As centres are rarely exactly opposite each other,
    they may be APART apart in the given direction; only their distance perpendicular to it counts.

    Args:
      mask: `[X, Y]` bool, without holes.
      spacing: mm along each axis.
      along: `[2]`, the direction, of length 1.
    """
    step = np.asarray(spacing, float)[:2]
    border = np.argwhere(mask & ~ndimage.binary_erosion(mask))
    lengthwise, across = (border * step) @ along, (border * step) @ [-along[1], along[0]]
    near = np.abs(lengthwise[:, None] - lengthwise) <= APART * np.hypot(*step)
    first, second = np.nonzero(np.triu(near, 1))
    length = np.abs(across[first] - across[second])
    order = np.argsort(-length, kind='stable')
    # Positions at steps of at most half a voxel on the way from one centre to the other.
    count = 2 * max(mask.shape) + 1
    for start in range(0, len(order), CHORDS):
        some = order[start:start + CHORDS]
        way = np.linspace(border[first[some]], border[second[some]], count)
        inside = mask[tuple(np.moveaxis(np.rint(way).astype(int), -1, 0))].all(0)
        if inside.any():
            return float(length[some][inside.argmax()])
    return 0.0


def peak_uptake(image: np.ndarray, index: np.ndarray, spacing: Sequence[float]) -> float:
    """The peak uptake (SUVpeak): the largest mean over a sphere of 1 ml that is centred on a voxel of the lesion.

    As in PERCIST (Wahl 2009) the sphere may extend beyond the lesion. Voxels of the image whose centre is in the sphere
    count.

    Args:
      image: `[X, Y, Z]`, such as standardised uptake values.
      index: `[N, 3]`, the lesion's voxels, N > 0.
      spacing: mm along each axis.
    """
    radius = (3000 * PEAK_ML / (4 * math.pi)) ** (1 / 3)
    reach = np.floor(radius / np.asarray(spacing, float)).astype(int)
    steps = np.indices(2 * reach + 1).reshape(3, -1).T - reach
    steps = steps[np.linalg.norm(steps * spacing, axis=1) <= radius]
    total, count = np.zeros(len(index)), np.zeros(len(index))
    for step in steps:
        voxels = index + step
        inside = ((voxels >= 0) & (voxels < image.shape)).all(1)
        total[inside] += image[tuple(voxels[inside].T)]
        count += inside
    return float((total / count).max())


def measure_lesion(kind: str, pieces: Sequence[np.ndarray], spacing: Sequence[float],
                   image: np.ndarray | None = None, organ: str = '') -> Finding:
    """The measurements of a lesion.

    Args:
      kind: see `Finding`.
      pieces: voxels `[N, 3]` of its connected parts. The diameters of the parts are added, as RECIST 1.1 requires for
        lesions that split.
      spacing: mm along each axis.
      image: `[X, Y, Z]` on the same grid, for the peak uptake.
      organ: see `Finding`.
    """
    longest, short = np.sum([diameters(piece, spacing) for piece in pieces], 0)
    volume = sum(map(len, pieces)) * math.prod(spacing) / 1000
    peak = math.nan if image is None else max(peak_uptake(image, piece, spacing) for piece in pieces)
    return Finding(kind, float(longest), float(short), volume, peak, float(spacing[2]), organ=organ)


def shared_volumes(now: LabelledVoxels, before: LabelledVoxels) -> dict[tuple[int, int], float]:
    """The volume that parts share with earlier parts.

    The grids may differ. The shared volume is that of the voxels of one grid whose centres lie in a voxel of the other;
    the larger of both directions counts, so that a part between the centres of coarser voxels is found as well.

    Args:
      now: the parts.
      before: the earlier parts.

    Returns:
      (number, earlier number) -> volume in mm³.
    """
    shared: dict[tuple[int, int], float] = {}
    for one, other, turned in ((now, before, False), (before, now, True)):
        there = other.numbers_at(one.positions())
        pairs, count = np.unique(np.stack([one.number, there], 1)[there > 0], axis=0, return_counts=True)
        for (a, b), voxels in zip(pairs.tolist(), count):
            key, volume = (b, a) if turned else (a, b), voxels * abs(np.linalg.det(one.affine[:3, :3]))
            shared[key] = max(shared.get(key, 0.0), float(volume))
    return shared


def match_lesions(now: LabelledVoxels, earlier: Sequence[LabelledVoxels]) -> tuple[dict[int, int], set[int]]:
    """The correspondence of parts with known lesions.

    At the latest visit at which a part overlaps a lesion, it is the lesion with which it shares the largest volume.
    Several parts may be the same lesion, which has then split.

    Args:
      now: the parts.
      earlier: the lesions at each earlier visit, the latest first.

    Returns:
      For parts that are known lesions, the lesion's number; and the lesions that any part overlaps.
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
