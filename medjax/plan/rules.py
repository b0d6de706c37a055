"""nnU-Net's rules of spacing, patch and batch (Isensee 2021), for any rule of what fits into memory.

Axes are in nnU-Net's order: z, y, x of the files, and in a plan the axis with the largest spacing first.
"""

import dataclasses
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from medjax.errors import InputError
from medjax.plan.fingerprint import Fingerprint, median_shape
from medjax.plan.topology import SMALLEST, Topology, topology

THICK = 3.0  # ratio of spacings, and of extents, from which an axis counts as that of thick slices
LARGEST = {3: 256, 2: 2048}  # voxels along each axis of the first patch that is tried, where they are isotropic
WIDEST = {3: 320, 2: 512}  # channels
FIRST = 32  # channels of the finest level
SMALLEST_BATCH = 2
LOWRES_BELOW, LOWRES_STEP = 0.25, 1.03


class Memory(Protocol):
    """A rule of what fits into memory."""

    @property
    def slow(self) -> bool:
        """Whether an answer takes long, so that few are asked for."""
        ...

    @property
    def covered(self) -> float:
        """The share of the data set's voxels that a batch covers at most."""
        ...

    def fits(self, levels: Topology, outputs: int, channels: int) -> bool:
        """Whether a step with the smallest batch fits."""
        ...

    def batch(self, levels: Topology, outputs: int, channels: int) -> int:
        """The largest batch that fits."""
        ...


@dataclasses.dataclass(frozen=True)
class Plan:
    """A configuration.

    Attributes:
      name: '2d', '3d_fullres' or '3d_lowres'.
      spacing: mm, of the axes that the network has.
      levels: patch, strides and kernels.
      batch: patches of a step.
      median: the median shape of the resampled images, of those axes.
      largest_batch: the largest that fits into memory.
    """

    name: str
    spacing: tuple[float, ...]
    levels: Topology
    batch: int
    median: tuple[float, ...]
    largest_batch: int

    @property
    def features(self) -> tuple[int, ...]:
        """Channels of each level."""
        return features(self.levels)


def features(levels: Topology) -> tuple[int, ...]:
    """Channels of each level: doubled from level to level, up to a maximum."""
    return tuple(min(FIRST * 2**level, WIDEST[len(levels.patch)]) for level in range(len(levels.strides)))


def target_spacing(found: Fingerprint) -> tuple[float, ...]:
    """The spacing that images are resampled to.

    It is the median of the cases. Where one axis has thick and few slices, it is the tenth percentile along that axis,
    but not below the other axes' spacing, so that volumes with thinner slices do not lose them.
    """
    spacings = np.array(found.spacings)
    target, size = np.percentile(spacings, 50, 0), np.percentile(np.array(found.shapes), 50, 0)
    worst = int(np.argmax(target))
    others = [axis for axis in range(3) if axis != worst]
    thick = target[worst] > THICK * target[others].max() and size[worst] * THICK < size[others].min()
    if thick:
        tenth = np.percentile(spacings[:, worst], 10)
        target[worst] = tenth if tenth >= target[others].max() else target[others].max() + 1e-5
    return tuple(map(float, target))


def order_of_axes(spacing: Sequence[float]) -> tuple[int, ...]:
    """The axes with the one of the largest spacing first."""
    worst = int(np.argmax(spacing))
    return (worst, *(axis for axis in range(3) if axis != worst))


def plans(found: Fingerprint, memory: Memory) -> tuple[Plan, ...]:
    """The configurations of a data set: 3D at full resolution, 3D at low resolution where the patch is small, and 2D.

    Args:
      found: the fingerprint.
      memory: what fits.
    """
    target = target_spacing(found)
    order = list(order_of_axes(target))
    spacing, median = np.array(target)[order], median_shape(found, target)[order]
    voxels = float(np.prod(median)) * len(found.spacings)
    out = []
    if median[0] != 1:
        full = plan('3d_fullres', spacing, median, voxels, found, memory)
        low = _low_resolution(full, found, memory)
        out += [full, low] if low else [full]
    return (*out, plan('2d', spacing[1:], median[1:], voxels, found, memory))


def plan(name: str, spacing: np.ndarray, median: np.ndarray, voxels: float, found: Fingerprint, memory: Memory) -> Plan:
    """The configuration of a network for a spacing.

    Args:
      name: of the configuration.
      spacing: mm.
      median: shape of the resampled images.
      voxels: of the data set, about.
      found: the fingerprint.
      memory: what fits.
    """
    sizes = found.outputs, len(found.channels)
    candidates = candidate_levels(spacing, median)
    levels = _first_that_fits(list(candidates) if memory.slow else candidates, memory, *sizes)
    largest = memory.batch(levels, *sizes)
    covering = round(voxels * memory.covered / float(np.prod(levels.patch, dtype=float)))
    batch = max(min(largest, covering), SMALLEST_BATCH)
    return Plan(name, tuple(map(float, spacing)), levels, batch, tuple(map(float, median)), largest)


def candidate_levels(spacing: Sequence[float], median: Sequence[float]) -> Iterator[Topology]:
    """Patches from the largest that is reasonable to ever smaller ones.

    The first has the shape of a cube in mm, clipped to the median image. Then the axis is reduced along which the patch
    is largest in proportion to the image.

    Args:
      spacing: mm.
      median: shape of the resampled images.

    Raises:
      InputError: the images are too small for a network of two levels.
    """
    inverse, dims = 1 / np.array(spacing, float), len(spacing)
    largest = inverse * (LARGEST[dims]**dims / np.prod(inverse)) ** (1 / dims)
    levels = topology(spacing, [min(round(size), extent) for size, extent in zip(largest, median)])
    if len(levels.strides) < 2:
        raise InputError(f'--data: images of {" × ".join(f"{extent:g}" for extent in median)} voxels after resampling; '
                         f'expected at least {2 * SMALLEST} along two axes')
    while len(levels.strides) > 1:
        yield levels
        axis = int(np.argsort([size / extent for size, extent in zip(levels.patch, median)])[-1])
        smaller = list(levels.patch)
        smaller[axis] -= levels.divisors[axis]
        step = topology(spacing, smaller).divisors[axis]
        smaller[axis] = levels.patch[axis] - step
        if smaller[axis] < SMALLEST:
            return
        levels = topology(spacing, smaller)


def _first_that_fits(candidates: Iterator[Topology] | list[Topology], memory: Memory, outputs: int,
                     channels: int) -> Topology:
    """The largest candidate that fits; the smallest where none does. Lists are searched by bisection."""
    if isinstance(candidates, list):
        low, high = 0, len(candidates) - 1
        while low < high:
            middle = (low + high) // 2
            low, high = (low, middle) if memory.fits(candidates[middle], outputs, channels) else (middle + 1, high)
        return candidates[low]
    levels = next(candidates)
    for following in candidates:
        if memory.fits(levels, outputs, channels):
            break
        levels = following
    return levels


def _low_resolution(full: Plan, found: Fingerprint, memory: Memory) -> Plan | None:
    """The configuration at a low resolution, whose patch is a quarter of the image; None where it is not needed.

    The spacing grows in steps, first along the axes that have less than half of the largest one.
    """
    first, median = np.array(full.spacing), np.array(full.median)
    spacing, out, voxels = first.copy(), None, float(np.prod(median))
    size = float(np.prod(full.levels.patch, dtype=float))
    while size / voxels < LOWRES_BELOW:
        fine = spacing.max() / spacing > 2
        spacing[fine if fine.any() else slice(None)] *= LOWRES_STEP
        shrunk = first / spacing * median
        voxels = float(np.prod(shrunk))
        out = plan('3d_lowres', spacing, np.round(shrunk), voxels * len(found.spacings), found, memory)
        size = float(np.prod(out.levels.patch, dtype=float))
    return out if out and np.prod(median) / voxels >= 2 else None
