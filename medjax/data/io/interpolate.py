"""Interpolation of an array at the voxels of another grid.

Where the axes of both grids are parallel, as after a flip, a crop or a change of spacing, interpolation is separable
and is done axis by axis. The result equals SciPy's general affine transform up to rounding, several times as fast.
"""

import itertools
from collections.abc import Sequence

import numpy as np
from scipy import ndimage, sparse

COMB = 8  # voxels: the support of a spline of order 3, on both sides, with the reflection at a border
TIE = 1e-6  # differences of class weights below this are rounding errors, and count as ties


def sample(array: np.ndarray, matrix: np.ndarray, shape: Sequence[int], order: int) -> np.ndarray:
    """Interpolates an array by B-splines; beyond the border the border's values are repeated.

    Args:
      array: `[X, Y, Z]`; float32 where `order` is not 0.
      matrix: `[4, 4]`, from the new grid's voxels to the array's.
      shape: of the new grid.
      order: of the spline: 0, 1 or 3.

    Returns:
      `shape`, of the array's dtype.
    """
    if order > 1:
        array = ndimage.spline_filter(array, order, output=np.float32, mode='nearest')
    axes = _axes(matrix)
    if axes is None:
        return ndimage.affine_transform(array, matrix[:3, :3], matrix[:3, 3], tuple(shape), array.dtype, order,
                                        'nearest', prefilter=False)
    for axis, out in enumerate(axes):
        line = float(matrix[axis, out]), float(matrix[axis, 3]), array.shape[axis], shape[out]
        if order == 0:
            array = array.take(np.clip(_nearest(*line), 0, line[2] - 1), axis)
        else:
            # A sparse product: the sums of BLAS, and with them the data's hash, would depend on the processor.
            first = np.moveaxis(array, axis, 0)
            new = _weights(*line, order) @ np.ascontiguousarray(first).reshape(line[2], -1)
            array = np.moveaxis(new.reshape(line[3], *first.shape[1:]), 0, axis)
    return np.ascontiguousarray(array.transpose(np.argsort(axes)))


def majority_label(label: np.ndarray, matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """Interpolates the indicator of each class linearly; the largest wins, at a tie the lower class number.

    Args:
      label: `[X, Y, Z]`.
      matrix: as for `sample`.
      shape: of the new grid.

    Returns:
      Class numbers, `shape`, of the label's dtype.
    """
    axes = _axes(matrix)
    if axes is None:
        return _majority_by_class(label, matrix, shape)
    corners, shares = [], []
    for axis, out in enumerate(axes):
        size = label.shape[axis]
        place = np.clip(matrix[axis, out] * np.arange(shape[out]) + matrix[axis, 3], 0, size - 1)
        low = np.clip(np.floor(place).astype(int), 0, max(size - 2, 0))
        corners.append((low, np.minimum(low + 1, size - 1)))
        shares.append(tuple(share.astype(np.float32) for share in (1 - (place - low), place - low)))
    least = most = label
    for axis, pair in enumerate(corners):
        least = np.minimum(*(least.take(index, axis) for index in pair))
        most = np.maximum(*(most.take(index, axis) for index in pair))
    result, mixed = least, np.nonzero(least != most)  # elsewhere all eight corners agree
    bits = list(itertools.product((0, 1), repeat=3))
    values = [label[tuple(corners[a][b][mixed[a]] for a, b in enumerate(bit))] for bit in bits]
    weights = [np.prod([shares[a][b][mixed[a]] for a, b in enumerate(bit)], 0) for bit in bits]
    totals = [weight.copy() for weight in weights]  # for each corner, the summed weight of all corners of its class
    for i, j in itertools.combinations(range(len(bits)), 2):
        same = values[i] == values[j]
        totals[i] += weights[j] * same
        totals[j] += weights[i] * same
    winner, best = values[0], totals[0]
    for value, total in zip(values[1:], totals[1:]):
        won = (total > best + TIE) | ((total > best - TIE) & (value < winner))
        winner, best = np.where(won, value, winner), np.where(won, total, best)
    result[mixed] = winner
    return np.ascontiguousarray(result.transpose(np.argsort(axes)))


def _majority_by_class(label: np.ndarray, matrix: np.ndarray, shape: Sequence[int]) -> np.ndarray:
    """`majority_label` for oblique grids: one interpolation for each class."""
    best, out = np.full(tuple(shape), -1, np.float32), np.empty(tuple(shape), label.dtype)
    for value in np.unique(label):
        weight = sample((label == value).astype(np.float32), matrix, shape, 1)
        won = weight > best + TIE
        out[won], best[won] = value, weight[won]
    return out


def inside_mask(matrix: np.ndarray, shape: Sequence[int], old: Sequence[int]) -> np.ndarray:
    """Which voxels of the new grid lie within voxels of the old grid.

    Args:
      matrix: `[4, 4]`, from the new grid's voxels to the old grid's.
      shape: of the new grid.
      old: the shape of the old grid.

    Returns:
      `shape` bool.
    """
    axes = _axes(matrix)
    if axes is None:
        return ndimage.affine_transform(np.ones(tuple(old), np.uint8), matrix[:3, :3], matrix[:3, 3], tuple(shape),
                                        np.uint8, 0, 'grid-constant') > 0
    parts = []
    for axis, out in sorted(enumerate(axes), key=lambda pair: pair[1]):
        index = _nearest(float(matrix[axis, out]), float(matrix[axis, 3]), old[axis], shape[out])
        parts.append((index >= 0) & (index < old[axis]))
    return parts[0][:, None, None] & parts[1][:, None] & parts[2]


def _axes(matrix: np.ndarray) -> list[int] | None:
    """The new grid's axis that is parallel to each axis of the old grid; None where the grids are oblique."""
    along = matrix[:3, :3] != 0
    return along.argmax(1).tolist() if (along.sum(0) == 1).all() and (along.sum(1) == 1).all() else None


def _nearest(scale: float, shift: float, old: int, new: int) -> np.ndarray:
    return np.floor(scale * np.arange(new) + shift + 0.5).astype(int)


def _weights(scale: float, shift: float, old: int, new: int, order: int) -> sparse.csr_array:
    """The weight of each old voxel of a line in each new one, `[new, old]` float32: SciPy's response to unit impulses.

    A new voxel depends on at most `order + 1` neighbours, so that impulses at a distance of `COMB` voxels are computed
    together.
    """
    low = np.clip(np.floor(scale * np.arange(new) + shift).astype(int), 0, old - 1) - COMB // 2
    rows, columns, values = [], [], []
    for first in range(min(COMB, old)):
        comb = np.zeros(old)
        comb[first::COMB] = 1
        response = ndimage.affine_transform(comb, [[scale]], shift, (new,), float, order, 'nearest', prefilter=False)
        column = low + (first - low) % COMB
        touched = np.flatnonzero((response != 0) & (column >= 0) & (column < old))
        rows.append(touched)
        columns.append(column[touched])
        values.append(response[touched].astype(np.float32))
    return sparse.csr_array((np.concatenate(values), (np.concatenate(rows), np.concatenate(columns))), (new, old))
