"""Files of volumes and pictures, read into `geometry.Image` and written back."""

import errno
import functools
import io
import math
import os
import pathlib
import zlib
from collections.abc import Callable

import nibabel as nib
import numpy as np
import SimpleITK as sitk
from isal import igzip
from PIL import Image as Picture

from medjax.data.geometry import Image
from medjax.errors import InputError

NIBABEL = ('.nii', '.nii.gz', '.mgz', '.mgh', '.img', '.hdr')
ITK = ('.nrrd', '.nhdr', '.mha', '.mhd')
PICTURES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')
LIMIT = 64 * 2**30  # bytes; a header that asks for more is taken to be damaged
PACKED = 1100  # no format here packs tighter than deflate's 1032 to 1
UNEVEN = 0.02  # share of the slice spacing by which a DICOM series' slices may be off their places


def stem(path: pathlib.Path) -> str:
    """A file's name without its image suffix, '.nii.gz' as a whole."""
    return path.name[: -len(suffix(path)) or None]


def suffix(path: pathlib.Path) -> str:
    """A file's image suffix in lower case; '' where it is none."""
    name = path.name.lower()
    return next((s for s in sorted(NIBABEL + ITK + PICTURES, key=len, reverse=True) if name.endswith(s)), '')


def is_image(path: pathlib.Path) -> bool:
    """Whether a path is a file with an image suffix; of the two files of an Analyze pair, the header counts."""
    return path.is_file() and suffix(path) not in ('', '.img') and not path.name.startswith('.')


def read(path: str | pathlib.Path, indices: bool = False) -> Image:
    """Reads an image in its stored order; its affine is RAS+ mm whatever the format's own convention.

    Args:
      path: NIfTI, MGH or Analyze (nibabel); NRRD or MetaImage (SimpleITK); PNG, JPEG, TIFF or BMP (Pillow), as
        `[column, row, 1(, channel)]` with an identity affine; or a folder with the slices of one DICOM series.
      indices: keep the numbers of a picture with a palette, as masks want, in place of its colours.

    Returns:
      An image `[X, Y, Z]` or `[X, Y, Z, C]`; integers as stored, other numbers as float32.

    Raises:
      InputError: where the file is missing, damaged, of another kind, or its geometry makes no sense.
    """
    path = pathlib.Path(path)
    if not path.exists():
        raise InputError(f'{path}: no such file')
    kind = 'folder' if path.is_dir() else suffix(path)
    if not kind:
        raise InputError(f'{path}: not an image file; expected one of {", ".join(NIBABEL + ITK + PICTURES)}, '
                         'or a folder with a DICOM series')
    reader: Callable[[pathlib.Path], tuple[np.ndarray, np.ndarray]] = (
        _dicom if kind == 'folder' else _nibabel if kind in NIBABEL else _itk if kind in ITK else
        functools.partial(_picture, indices=indices))
    try:
        array, affine = reader(path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f'{path}: does not fit in memory') from error
    except Exception as error:  # readers raise whatever a damaged byte leads them to
        reason = ' '.join(str(error).split())[-160:] or type(error).__name__
        raise InputError(f'{path}: cannot be read as {kind}; damaged or cut short? ({reason})') from error
    while array.ndim > 3 and array.shape[-1] == 1:
        array = array[..., 0]
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError(f'{path}: shape {array.shape}; expected [X, Y, Z] or [X, Y, Z, channels]')
    if not np.isfinite(affine).all() or abs(np.linalg.det(affine[:3, :3])) < 1e-9:
        raise InputError(f'{path}: its affine {affine[:3].round(4).tolist()} maps voxels to no volume; expected finite '
                         'and invertible')
    if array.dtype.kind not in 'iubf':
        raise InputError(f'{path}: voxels of type {array.dtype}; expected numbers')
    array = array.astype(np.float32) if array.dtype.kind == 'f' else array.astype(array.dtype.newbyteorder('='))
    return Image(array.view(np.uint8) if array.dtype == bool else array, affine.astype(float), str(path))


def check_finite(image: Image) -> None:
    """Refuses NaN and infinite voxels, naming how many and the first."""
    bad = ~np.isfinite(image.array)
    if bad.any():
        first = tuple(int(i) for i in np.argwhere(bad)[0])
        raise InputError(f'{image.path}: {int(bad.sum())} voxels are NaN or infinite, the first at {first}; '
                         'expected finite numbers')


def check_label(label: Image, classes: int, ignore: int | None = None) -> Image:
    """Refuses label values that name no class; gives the label as uint8 `[X, Y, Z]`."""
    if label.array.ndim != 3:
        raise InputError(f'{label.path}: shape {label.array.shape}; expected a label image [X, Y, Z]')
    values = np.unique(label.array)
    wrong = [v for v in values.tolist() if v != int(v) or not (0 <= v < classes or v == ignore)] \
        if np.isfinite(values).all() else values.tolist()
    if wrong:
        raise InputError(f'{label.path}: label value {wrong[0]:g}; expected whole numbers 0 to {classes - 1}')
    return Image(label.array.astype(np.uint8), label.affine, label.path)


def write(path: str | pathlib.Path, array: np.ndarray, affine: np.ndarray) -> None:
    """Writes a NIfTI file, whole or not at all.

    Args:
      path: ends in .nii or .nii.gz.
      array: `[X, Y, Z]`.
      affine: voxel to RAS+ mm.

    Raises:
      InputError: where it cannot be written; nothing is left half-written.
    """
    path = pathlib.Path(path)
    part = path.with_name(f'.{os.getpid()}.part.{path.name}')
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        nib.save(nib.Nifti1Image(array, affine), part)
        os.replace(part, path)
    except OSError as error:
        why = 'no space left' if error.errno == errno.ENOSPC else error.strerror
        raise InputError(f'{path}: cannot be written: {why}') from error
    finally:
        part.unlink(missing_ok=True)


def _fits(path: pathlib.Path, declared: int, stored: int) -> None:
    if declared > min(LIMIT, stored):
        raise InputError(f'{path}: its header asks for {declared} bytes of voxels, more than the file can hold; '
                         'damaged or cut short?')


def _nibabel(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    if suffix(path) == '.nii.gz':
        try:
            raw = igzip.decompress(path.read_bytes())  # five times as fast as gzip, which nibabel would take
        except (EOFError, OSError, zlib.error, igzip.BadGzipFile) as error:
            raise InputError(f'{path}: cut short or not gzip ({error})') from error
        kinds = {348: nib.Nifti1Image, 540: nib.Nifti2Image}
        found = next((kinds[n] for n in (int.from_bytes(raw[:4], order) for order in ('little', 'big')) if n in kinds),
                     None)
        if found is None:
            raise InputError(f'{path}: not NIfTI; expected a header of 348 or 540 bytes')
        header = found.header_class.from_fileobj(io.BytesIO(raw), check=False)
        _fits(path, _declared(header), len(raw))
        image = found.from_bytes(raw)
    else:
        image = nib.load(path)
        _fits(path, _declared(image.header), PACKED * sum(
            p.stat().st_size for p in (path, path.with_suffix('.img')) if p.exists()))
    array = np.asanyarray(image.dataobj)  # not get_fdata, which makes everything float64
    return np.atleast_3d(array), image.affine


def _declared(header: nib.spatialimages.SpatialHeader) -> int:
    shape = header.get_data_shape()
    if any(n < 0 for n in shape):
        raise InputError('negative extent')
    return math.prod(shape) * header.get_data_dtype().itemsize


def _itk(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    reader = sitk.ImageFileReader()
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() not in (2, 3):
        raise InputError(f'{path}: {reader.GetDimension()} dimensions; expected 3')
    stored = PACKED * path.stat().st_size if path.suffix.lower() in ('.nrrd', '.mha') else LIMIT
    _fits(path, math.prod(reader.GetSize()) * reader.GetNumberOfComponents(), stored)
    return _from_itk(reader.Execute())


def _from_itk(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    dims, array = image.GetDimension(), sitk.GetArrayFromImage(image)
    array = np.moveaxis(array, range(dims), range(dims)[::-1])  # [z, y, x, …] to [x, y, z, …]
    array = array if dims == 3 else array[:, :, None]
    affine = np.eye(4)
    affine[:dims, :dims] = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine[:dims, 3] = image.GetOrigin()
    return np.ascontiguousarray(array), np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine  # LPS to RAS


def _dicom(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    reader = sitk.ImageSeriesReader()
    series = reader.GetGDCMSeriesIDs(str(path))
    if len(series) != 1:
        raise InputError(f'{path}: {len(series)} DICOM series in this folder; expected exactly one')
    names = reader.GetGDCMSeriesFileNames(str(path), series[0])
    places = []
    for name in names:
        one = sitk.ImageFileReader()
        one.SetFileName(name)
        one.ReadImageInformation()
        if len(names) > 1 and not one.HasMetaDataKey('0020|0032'):
            raise InputError(f'{name}: no ImagePositionPatient (0020,0032); expected one in each slice')
        row = np.array(one.GetDirection()).reshape(one.GetDimension(), -1)
        normal = np.cross(row[:, 0], row[:, 1]) if row.shape[0] == 3 else np.array([0, 0, 1.0])
        places.append(float(normal @ np.resize(one.GetOrigin(), 3)))
    order = np.argsort(places, kind='stable')
    steps = np.diff(np.array(places)[order])
    if len(steps) and np.abs(steps - np.median(steps)).max() > UNEVEN * np.median(steps):
        raise InputError(f'{path}: slices lie {steps.min():.3f} to {steps.max():.3f} mm apart; expected one distance, '
                         f'to {UNEVEN:.0%}: is a slice missing, or are there two series?')
    reader.SetFileNames([names[i] for i in order])
    return _from_itk(reader.Execute())


def _picture(path: pathlib.Path, indices: bool) -> tuple[np.ndarray, np.ndarray]:
    with Picture.open(path) as picture:
        if not (indices and picture.mode == 'P') and picture.mode in ('P', 'PA', 'LA', 'RGBA', 'CMYK', 'YCbCr'):
            picture = picture.convert('RGB' if picture.mode != 'LA' else 'L')
        array = np.asarray(picture)
    if array.dtype == np.int32:  # Pillow's mode I, which 16-bit files come in
        array = array.astype(np.uint16) if array.min() >= 0 and array.max() < 2**16 else array
    return np.swapaxes(array, 0, 1)[:, :, None], np.eye(4)

