"""Images in space: an array and where its voxels lie.

The one world convention of medjax is RAS+ in mm: `affine @ (i, j, k, 1)` is the position of the *centre* of voxel
(i, j, k), with x growing to the patient's right, y to the front, z to the head, as in NIfTI. Formats that count to the
left and to the back (DICOM, ITK) are turned on reading. A 2D picture is `[column, row, 1]`; see `pictures`.
"""

import dataclasses
import math
from collections.abc import Sequence

import nibabel as nib
import numpy as np
from scipy import ndimage

from medjax.data.io.interpolate import inside, majority, sample
from medjax.data.io.tables import LIMIT
from medjax.errors import InputError

KINDS = ('linear', 'cubic', 'label')


@dataclasses.dataclass(frozen=True)
class Image:
    """An array `[X, Y, Z]` or `[X, Y, Z, C]`, its affine `[4, 4]` (voxel to RAS+ mm), and the file that it is from."""

    array: np.ndarray
    affine: np.ndarray
    path: str = ''


def spacing(affine: np.ndarray) -> tuple[float, float, float]:
    """Millimetres from a voxel to the next along each axis of the array."""
    return tuple(float(s) for s in np.linalg.norm(affine[:3, :3], axis=0))


def describe(image: Image) -> str:
    """An image's geometry in one line, as errors print it."""
    axes = ''.join(nib.aff2axcodes(image.affine))
    millimetres = '×'.join(f'{s:.4g}' for s in spacing(image.affine))
    origin = ', '.join(f'{v:.4g}' for v in image.affine[:3, 3])
    return f'{"×".join(map(str, image.array.shape))} voxels of {millimetres} mm, axes {axes}, origin ({origin})'


def check_affine(affine: np.ndarray, path: str) -> None:
    """Refuses an affine that maps voxels to no volume: not finite, a spacing of zero, or axes that are parallel.

    Raises:
      InputError: with the affine, where the sine between its axes (their solid angle's, in 3D) is below 1e-3, or a
        spacing is outside of 1e-9 to 1e6 mm.
    """
    linear = np.asarray(affine, float)[:3, :3]
    with np.errstate(all='ignore'):
        lengths = np.linalg.norm(linear, axis=0)
        fine = (np.isfinite(affine).all() and lengths.min() > 1e-9 and lengths.max() < 1e6
                and abs(np.linalg.det(linear / lengths)) > 1e-3)
    if not fine:
        raise InputError(f'{path}: its affine {np.round(affine[:3], 6).tolist()} maps voxels to no volume; expected '
                         'finite numbers, spacings above zero and three different axes')


def same_grid(image: Image, label: Image) -> bool:
    """Whether shapes agree, and positions to 0.1 voxel at all eight corners."""
    shape = image.array.shape[:3]
    corners = np.array([[*corner, 1] for corner in np.ndindex(2, 2, 2)]) * [*(n - 1 for n in shape), 1]
    apart = np.abs(corners @ (image.affine - label.affine).T).max()
    return shape == label.array.shape[:3] and bool(apart <= 0.1 * min(spacing(image.affine)))


def check_pair(image: Image, label: Image) -> None:
    """Refuses an image and a label that do not lie on the same grid.

    Raises:
      InputError: with both geometries.
    """
    if not same_grid(image, label):
        raise InputError(f'{label.path}: not on the grid of its image {image.path}: {describe(label)}; '
                         f'expected {describe(image)}')


def canonical(image: Image) -> Image:
    """Permutes and flips axes, without interpolation, to the RAS+ order that is closest."""
    orientation = nib.io_orientation(image.affine)
    array = nib.apply_orientation(image.array, orientation)
    affine = image.affine @ nib.orientations.inv_ornt_aff(orientation, image.array.shape[:3])
    return dataclasses.replace(image, array=array, affine=affine)


def onto(image: Image, affine: np.ndarray, shape: Sequence[int], kind: str, fill: float | None = None) -> Image:
    """Resamples an image onto another grid by world coordinates.

    Args:
      image: `[X, Y, Z]`, or `[X, Y, Z, C]` for kinds other than label.
      affine: of the new grid.
      shape: of the new grid, three numbers.
      kind: 'linear'; 'cubic' (interpolating B-spline of order 3); or 'label': each class's indicator is interpolated
        linearly and the largest wins, the lower number at a tie, which leaves no staircase as the nearest neighbour
        does. Where voxels meet voxels, as after a flip or a crop, every kind copies them exactly.
      fill: value outside of the image's voxels; None continues the border outwards.

    Returns:
      float32 for linear and cubic, the input's dtype for label. No smoothing is done here; see `resample`.
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
        out = sample(image.array, matrix, shape, 0) if copies else majority(image.array, matrix, shape)
    else:
        order = 0 if copies else {'linear': 1, 'cubic': 3}[kind]
        array = image.array.astype(np.float32)
        out = sample(array, matrix, shape, order) if array.ndim == 3 else np.stack(
            [sample(c, matrix, shape, order) for c in np.moveaxis(array, -1, 0)], -1)
    if fill is not None:
        out[~inside(matrix, shape, image.array.shape[:3])] = fill
    return dataclasses.replace(image, array=out, affine=np.asarray(affine, float))


def resample(image: Image, millimetres: Sequence[float], kind: str, smooth: bool = True) -> Image:
    """Resamples to a voxel spacing, on the smallest grid from the same corner that covers the image.

    Args:
      image: as for `onto`.
      millimetres: new spacing along the array's axes.
      kind: as for `onto`.
      smooth: against aliasing, before an axis gets coarser by a factor f, smooth along it by a Gaussian of
        sqrt(f² - 1) / 2.355 old voxels (Cardoso 2015: a voxel's width is the Gaussian's at half maximum); labels never.
    """
    factor = np.array(millimetres, float) / spacing(image.affine)
    if factor.shape != (3,) or not np.isfinite(factor).all() or factor.min() <= 0:
        raise InputError(f'spacing {tuple(millimetres)}: expected three numbers of mm above zero')
    if np.allclose(factor, 1, atol=1e-4):
        return image
    # Rounded up, so that `restore` finds a voxel for all of the image; the 1e-3 is for the rounding of spacings.
    shape = np.maximum(np.ceil(np.array(image.array.shape[:3]) / factor - 1e-3), 1)
    scale = np.diag([*factor, 1.0])
    scale[:3, 3] = (factor - 1) / 2
    if smooth and kind != 'label' and factor.max() > 1:
        sigma = np.sqrt(np.maximum(factor**2 - 1, 0)) / 2.355
        array = ndimage.gaussian_filter(image.array.astype(np.float32), [*sigma, *[0] * (image.array.ndim - 3)],
                                        mode='nearest')
        image = dataclasses.replace(image, array=array)
    return onto(image, image.affine @ scale, shape, kind)


def restore(image: Image, reference: Image, kind: str) -> Image:
    """Brings what was predicted on a working grid onto the exact grid of the image as it was read.

    Args:
      image: `[X, Y, Z]` on the working grid: cropped, resampled, reoriented.
      reference: the image as read; of it shape and affine are taken.
      kind: 'label' or 'linear'.

    Returns:
      The image on the reference's grid, 0 where the working grid did not reach.
    """
    return dataclasses.replace(onto(image, reference.affine, reference.array.shape[:3], kind, fill=0),
                               affine=reference.affine)
