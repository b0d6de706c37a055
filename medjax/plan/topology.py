"""Levels of a U-Net for a patch and its spacing: where each axis is halved, and kernels (Isensee 2021)."""

from collections.abc import Sequence
from typing import NamedTuple

SMALLEST = 4  # voxels along an axis at the coarsest level


class Topology(NamedTuple):
    """The levels of a network.

    Attributes:
      patch: voxels along each axis, rounded up so that each level has whole voxels.
      strides: of each level, finest first, along each axis.
      kernels: extents of each level's kernels along each axis.
      divisors: what the patch is a multiple of, along each axis.
    """

    patch: tuple[int, ...]
    strides: tuple[tuple[int, ...], ...]
    kernels: tuple[tuple[int, ...], ...]
    divisors: tuple[int, ...]


def topology(spacing: Sequence[float], patch: Sequence[int]) -> Topology:
    """The levels of a network for patches of about this size.

    An axis is halved while its spacing is below twice the smallest one, of those that still have 8 voxels or more. A
    last axis that would be halved alone needs 12. A kernel has extent 1 along an axis until its spacing is below twice
    the smallest one of all axes, then 3; at the coarsest level always 3.

    Args:
      spacing: mm along each axis.
      patch: voxels along each axis.
    """
    spacings, sizes, dims = list(map(float, spacing)), list(patch), len(patch)
    kernel, strides, kernels = [1] * dims, [(1,) * dims], []
    while True:
        large = [axis for axis in range(dims) if sizes[axis] >= 2 * SMALLEST]
        halved = [axis for axis in large if spacings[axis] / min(spacings[other] for other in large) < 2]
        if not halved or (len(halved) == 1 and sizes[halved[0]] < 3 * SMALLEST):
            break
        kernel = [3 if extent == 3 or one / min(spacings) < 2 else 1 for extent, one in zip(kernel, spacings)]
        kernels.append(tuple(kernel))
        strides.append(tuple(2 if axis in halved else 1 for axis in range(dims)))
        for axis in halved:
            spacings[axis] *= 2
            sizes[axis] = -(-sizes[axis] // 2)
    kernels.append((3,) * dims)
    divisors = tuple(2 ** sum(stride[axis] == 2 for stride in strides) for axis in range(dims))
    rounded = tuple(int(-(-size // divisor) * divisor) for size, divisor in zip(patch, divisors))
    return Topology(rounded, tuple(strides), tuple(kernels), divisors)
