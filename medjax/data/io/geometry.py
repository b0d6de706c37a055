"""Images in space: an array and the affine that maps its voxels to the world.

All of medjax uses RAS+ in mm: `affine @ (i, j, k, 1)` is the position of the *centre* of voxel (i, j, k), where x
increases to the patient's right, y to the front and z to the head, as in NIfTI. Formats in LPS (DICOM, ITK) are
converted on reading. A 2D image is `[column, row, 1]`; see `raster`.
"""

import dataclasses
import math
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy import ndimage

from medjax.data.io.interpolate import inside_mask, majority_label, sample
from medjax.data.io.tables import LIMIT
from medjax.errors import InputError

KINDS = ('linear', 'cubic', 'label')


@dataclasses.dataclass(frozen=True)
class Image:
    """An array `[X, Y, Z]` or `[X, Y, Z, C]`, its affine `[4, 4]` (voxel to RAS+ mm), and the path of its file.

    DICOM images have a modality, such as CT; it is '' for all others.
    """

    array: np.ndarray
    affine: np.ndarray
    path: str = ''
    modality: str = ''


def spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """The voxel spacing along each axis of the array, mm."""
    return tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))


def describe(image: Image) -> str:
    """An image's shape, spacing, orientation and origin in one line, for error messages."""
    axes = ''.join(nib.aff2axcodes(image.affine))
    millimetres = '×'.join(f'{s:.6g}' for s in spacing(image.affine))
    origin = ', '.join(f'{v:.6g}' for v in image.affine[:3, 3])
    return f'{"×".join(map(str, image.array.shape))} voxels of {millimetres} mm, axes {axes}, origin ({origin})'


def check_affine(affine: np.ndarray, path: str) -> None:
    """Checks that an affine is finite and invertible.

    Args:
      affine: `[4, 4]`.
      path: the file, for the message.

    Raises:
      InputError: numbers that are not finite; a spacing outside 1e-9 to 1e6 mm; or axes so close to parallel that the
        determinant of their unit vectors is below 1e-3.
    """
    linear = np.asarray(affine, float)[:3, :3]
    with np.errstate(all='ignore'):
        lengths = np.linalg.norm(linear, axis=0)
        fine = (np.isfinite(affine).all() and lengths.min() > 1e-9 and lengths.max() < 1e6
                and abs(np.linalg.det(linear / lengths)) > 1e-3)
    if not fine:
        raise InputError(f'{path}: its affine {np.round(affine[:3], 6).tolist()} is not invertible; expected '
                         'finite numbers, spacings above zero and three different axes')


def same_grid(image: Image, label: Image) -> bool:
    """Whether the shapes are equal and the positions of all eight corners agree to 0.1 voxel."""
    return (image.array.shape[:3] == label.array.shape[:3]
            and bool(_corner_distance(image, label) <= 0.1 * min(spacing(image.affine))))


def _corner_distance(image: Image, label: Image) -> float:
    """The largest difference between the corners of two grids of one shape along an axis of the world, mm."""
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in image.array.shape[:3]), 1]
    return float(np.abs(corners @ (image.affine - label.affine).T).max())


def check_pair(image: Image, label: Image) -> None:
    """Checks that an image and its label lie on the same grid.

    Raises:
      InputError: the grids differ; the message has both geometries.
    """
    if not same_grid(image, label):
        apart = ''  # two grids of one shape may look equal in all that is described
        if image.array.shape[:3] == label.array.shape[:3]:
            apart = f' (their corners are up to {_corner_distance(image, label):.4g} mm apart)'
        raise InputError(f'{label.path}: not on the grid of its image {image.path}: {describe(label)}; '
                         f'expected {describe(image)}{apart}')


def embedded(label: Image, image: Image) -> Image:
    """A label whose voxels are some of an image's on the image's grid, 0 in the other voxels; other labels as they are.

    Args:
      label: `[X, Y, Z]`, such as a DICOM segmentation without its empty slices.
      image: `[X, Y, Z]` or `[X, Y, Z, C]`.
    """
    exact = np.linalg.inv(image.affine) @ label.affine  # from voxels of the label to those of the image
    for axis in np.flatnonzero(np.array(label.array.shape) == 1):  # a slice has no distance to the next one
        exact[:3, axis] = np.eye(3)[np.abs(exact[:3, axis]).argmax()]
    whole = exact.round()
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in label.array.shape), 1]
    places = corners @ whole[:3].T
    if (np.abs(corners @ (exact - whole).T).max() > 0.1 or (np.abs(whole[:3, :3]).sum(0) != 1).any()
            or (np.abs(whole[:3, :3]).sum(1) != 1).any() or places.min() < 0
            or (places >= image.array.shape[:3]).any()):
        return label
    matrix, shape = np.linalg.inv(whole), image.array.shape[:3]
    array = sample(label.array, matrix, shape, 0)
    array[~inside_mask(matrix, shape, label.array.shape)] = 0
    return Image(array, image.affine, label.path)


def to_canonical(image: Image) -> Image:
    """Permutes and flips the axes to the closest RAS+ order, without interpolation."""
    orientation = nib.io_orientation(image.affine)
    array = nib.apply_orientation(image.array, orientation)
    affine = image.affine @ nib.orientations.inv_ornt_aff(orientation, image.array.shape[:3])
    return dataclasses.replace(image, array=array, affine=affine)


def resample_to_grid(image: Image, affine: np.ndarray, shape: Sequence[int], kind: str,
                     fill: float | None = None) -> Image:
    """Resamples an image to another grid by world coordinates.

    Args:
      image: `[X, Y, Z]`, or `[X, Y, Z, C]` for kinds other than label.
      affine: of the new grid.
      shape: of the new grid, three numbers.
      kind: 'linear'; 'cubic' (interpolating B-spline of order 3); or 'label': the indicator of each class is
        interpolated linearly and the class with the largest value wins, the lower number at a tie. This avoids the
        staircase edges of nearest-neighbour interpolation. Where the voxels of both grids coincide, as after a flip or
        a crop, every kind copies them exactly.
      fill: value outside the image's voxels; None repeats the border.

    Returns:
      The image on the new grid: float32 for linear and cubic, the input's dtype for label. It is not smoothed; see
      `resample`.

    Raises:
      InputError: the new grid has more voxels than `LIMIT` bytes hold.
    """
    if kind not in KINDS:
        raise ValueError(f'kind {kind!r} is not one of {KINDS}')
    matrix = np.linalg.inv(image.affine) @ affine
    matrix = np.where(np.abs(matrix - matrix.round()) < 1e-5, matrix.round(), matrix)
    copies = (matrix == matrix.round()).all() and (np.abs(matrix[:3, :3]).sum(0) == 1).all()
    shape = tuple(int(n) for n in shape)
    if math.prod(shape) * 4 > LIMIT:
        raise InputError(f'{image.path}: {"×".join(map(str, shape))} voxels after resampling from {describe(image)}; '
                         f'expected at most {LIMIT // 4}: is the spacing in mm?')

    if kind == 'label':
        out = sample(image.array, matrix, shape, 0) if copies else majority_label(image.array, matrix, shape)
    else:
        order = 0 if copies else {'linear': 1, 'cubic': 3}[kind]
        array = image.array.astype(np.float32)
        if array.ndim == 3:
            out = sample(array, matrix, shape, order)
        else:
            out = np.stack([sample(channel, matrix, shape, order) for channel in np.moveaxis(array, -1, 0)], -1)
    if fill is not None:
        out[~inside_mask(matrix, shape, image.array.shape[:3])] = fill
    return dataclasses.replace(image, array=out, affine=np.asarray(affine, float))


def resample(image: Image, millimetres: Sequence[float], kind: str, smooth: bool = True) -> Image:
    """Resamples an image to a voxel spacing, on the smallest grid from the same corner that covers it.

    Args:
      image: as for `resample_to_grid`.
      millimetres: new spacing along the array's axes.
      kind: as for `resample_to_grid`.
      smooth: avoid aliasing: before an axis gets coarser by a factor f, smooth along it with a Gaussian of standard
        deviation sqrt(f² - 1) / 2.355 old voxels (Cardoso 2015: the voxel's width is the Gaussian's full width at half
        maximum). Labels are never smoothed.

    Returns:
      The resampled image; the image itself where it has this spacing.

    Raises:
      InputError: spacings that are not three positive numbers, or a grid that is too large.
    """
    factor = np.array(millimetres, float) / spacing(image.affine)
    if factor.shape != (3,) or not np.isfinite(factor).all() or factor.min() <= 0:
        raise InputError(f'spacing {tuple(millimetres)}: expected three numbers of mm above zero')
    if np.allclose(factor, 1, atol=1e-4):
        return image
    # Rounded up, so that `restore` finds a value for every voxel; the 1e-3 allows for the rounding of spacings.
    shape = np.maximum(np.ceil(np.array(image.array.shape[:3]) / factor - 1e-3), 1)
    scale = np.diag([*factor, 1.0])
    scale[:3, 3] = (factor - 1) / 2
    if smooth and kind != 'label':
        image = _smoothed(image, factor)
    return resample_to_grid(image, image.affine @ scale, shape, kind)


def resample_onto(image: Image, reference: Image, kind: str) -> Image:
    """Resamples an image to the grid of another one by world coordinates.

    Args:
      image: `[X, Y, Z]`.
      reference: another image, for its shape and affine.
      kind: as for `resample_to_grid`; where the new grid is coarser the image is smoothed first, unless it is a label.

    Returns:
      The image on the reference's grid; beyond its own voxels it is 0 for labels and else its minimum.

    Raises:
      InputError: no voxel of the grid lies within the image.
    """
    matrix = np.linalg.inv(image.affine) @ reference.affine
    if not inside_mask(matrix, reference.array.shape[:3], image.array.shape[:3]).any():
        raise InputError(f'{image.path}: {describe(image)}; expected a grid that overlaps that of {reference.path}, '
                         f'{describe(reference)}')
    path, fill = image.path, 0.0 if kind == 'label' else float(image.array.min())
    if kind != 'label':
        image = _smoothed(image, np.abs(matrix[:3, :3]).max(1))
    out = resample_to_grid(image, reference.affine, reference.array.shape[:3], kind, fill)
    return dataclasses.replace(out, path=path)


def _smoothed(image: Image, factor: np.ndarray) -> Image:
    """An image smoothed along the axes that get coarser by a factor above 1; see `resample`."""
    if factor.max() <= 1:
        return image
    sigma = np.sqrt(np.maximum(factor**2 - 1, 0)) / 2.355
    array = ndimage.gaussian_filter(image.array.astype(np.float32), [*sigma, *[0] * (image.array.ndim - 3)],
                                    mode='nearest')
    return dataclasses.replace(image, array=array)


def restore(image: Image, reference: Image, kind: str) -> Image:
    """Resamples a prediction from the network's grid to the grid of the image as it was read.

    Args:
      image: `[X, Y, Z]` on the network's grid: cropped, resampled, reoriented.
      reference: the image as read, for its shape and affine.
      kind: 'label' or 'linear'.

    Returns:
      The image on the reference's grid, 0 outside the network's grid.
    """
    out = resample_to_grid(image, reference.affine, reference.array.shape[:3], kind, fill=0)
    return dataclasses.replace(out, affine=reference.affine)


def to_canonical_spacing(image: Image, millimetres: Sequence[float] | None, kind: str) -> Image:
    """Reorients an image to RAS+ and resamples it to a voxel spacing; None keeps its own spacing."""
    out = to_canonical(image)
    return resample(out, millimetres, kind) if millimetres else out


def cropped_affine(affine: np.ndarray, start: Sequence[int]) -> np.ndarray:
    """The affine `[4, 4]` of a box of an image that begins at voxel `start`; negative numbers are before the image."""
    out = affine.copy()
    out[:3, 3] += out[:3, :3] @ start
    return out


def crop_or_pad(array: np.ndarray, start: Sequence[int], size: Sequence[int],
                fill: np.ndarray | float = 0) -> np.ndarray:
    """A box of an array, filled where it reaches beyond the array.

    Args:
      array: `[X, Y, Z]` or `[X, Y, Z, …]`.
      start: the box's first voxel, three numbers; negative ones are before the array.
      size: voxels of the box along X, Y and Z.
      fill: the value outside the array, broadcast to the axes after Z.

    Returns:
      `[*size, …]` of the array's dtype.
    """
    out = np.empty((*size, *array.shape[3:]), array.dtype)
    out[:] = fill
    kept = [min(old, new) for old, new in zip(array.shape, size)]
    target = tuple(slice(max(-first, 0), max(-first, 0) + count) for first, count in zip(start, kept))
    origin = tuple(slice(max(first, 0), max(first, 0) + count) for first, count in zip(start, kept))
    out[target] = array[origin]
    return out
