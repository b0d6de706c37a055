"""Image files (volumes and 2D images): reading into `geometry.Image`, checks and writing."""

import functools
import glob
import io
import logging
import math
import os
import pathlib
from collections.abc import Callable, Iterable
from typing import BinaryIO

import nibabel as nib
import numpy as np

from medjax import atomic_files
from medjax.data.io import data_paths, dicom, dicom_series, nifti_writer, raster, simpleitk
from medjax.data.io.geometry import Image, check_affine
from medjax.data.io.tables import PACKED, check_fits
from medjax.errors import InputError, few
from medjax.ops.labels import IGNORED

try:
    from isal import igzip as gzip  # five times as fast
except ImportError:
    import gzip

NIFTI = ('.nii', '.nii.gz')
NIBABEL = ('.mgz', '.mgh', '.img', '.hdr')
PAIR = ('.hdr', '.img', '.mat')  # of Analyze and NIfTI; SPM keeps the affine in the third
ITK = ('.nrrd', '.nhdr', '.mha', '.mhd')
SUFFIXES = NIFTI + NIBABEL + ITK + raster.SUFFIXES
HEADER_SUFFIXES = ('.mhd', '.nhdr', '.hdr')  # whose voxels are in another file
WHOLE = 1e-3  # deviation of a label from a whole number that is attributed to rounding

_quiet = logging.Logger('medjax.nifti', logging.CRITICAL)  # nibabel logs each header field that it corrects


def suffix(path: pathlib.Path) -> str:
    """A file's image suffix in lower case; '' where it has none."""
    name = path.name.lower()
    return next((s for s in sorted(SUFFIXES, key=len, reverse=True) if name.endswith(s)), '')


def stem(path: pathlib.Path) -> str:
    """A file's name without its image suffix, '.nii.gz' as a whole; FOLDER_series=3 for a series chosen in a folder."""
    folder, chosen = dicom_series.split_choice(path)
    if chosen:
        return f'{folder.resolve().name}_{path.name}'
    end = suffix(path) or (path.suffix if path.suffix.lower() in dicom.SUFFIXES else '')
    return path.name[: len(path.name) - len(end)]


def output_name(path: pathlib.Path) -> str:
    """The file name of an image that is predicted for an input: NAME.png for a 2D image, else NAME.nii.gz."""
    if path.is_dir():
        return f'{path.resolve().name}.nii.gz'
    # A suffix that is not known is of a format that a source of the user's own reads; the numbers of a UID are none.
    known = suffix(path) or path.suffix[1:].isdigit() or dicom_series.split_choice(path)[1]
    name = stem(path) if known else path.stem
    return name + ('.png' if suffix(path) in raster.SUFFIXES else '.nii.gz')


def is_image(path: pathlib.Path) -> bool:
    """Whether a path is a file with an image suffix; of the two files of an Analyze pair, only the header is one.

    A link to a file that does not exist counts as a file, so that it is not passed over.
    """
    return suffix(path) not in ('', '.img') and not path.name.startswith('.') and not path.is_dir()


def check_links(paths: Iterable[pathlib.Path], folder: pathlib.Path) -> None:
    """Checks that those of some paths of a folder that are links lead to something.

    Raises:
      InputError: with the number of links to what does not exist.
    """
    broken = [path for path in paths if path.is_symlink() and not os.path.exists(path)]
    if broken:
        kind = '1 link to a file that does not exist' if len(broken) == 1 else (
            f'{len(broken)} links to files that do not exist')
        raise InputError(f'{folder}: {kind} ({few([str(path.relative_to(folder)) for path in broken])}); expected '
                         'files: fetch their content (git-annex, DataLad, DVC), mount its disk, or delete the links')


def exists(path: str | pathlib.Path) -> bool:
    """Whether there is a file or a folder that an image could be read from."""
    # pathlib raises where a name is too long
    return os.path.exists(path) or os.path.isdir(dicom_series.split_choice(pathlib.Path(path))[0])


def files(path: str | pathlib.Path) -> tuple[str, ...]:
    """The files that an image is read from: a header and its file of voxels, or all of a folder with a DICOM series."""
    path = pathlib.Path(path)
    folder, _ = dicom_series.split_choice(path)
    if folder.is_dir():
        found = dicom.list_files(folder)
    elif suffix(path) in PAIR:
        found = sorted(p for p in path.parent.glob(f'{glob.escape(path.stem)}.*')
                       if p.stem == path.stem and p.suffix.lower() in PAIR)
    elif suffix(path) in ITK and path.is_file():
        found = [path, *data_paths.data_files(path)]
    else:
        found = [path]
    return tuple(map(str, found))


def read(path: str | pathlib.Path, indices: bool = False) -> Image:
    """Reads an image in its stored axis order, with an affine to RAS+ mm for every format.

    Args:
      path: NIfTI, MGH or Analyze; NRRD or MetaImage; PNG, JPEG, TIFF, BMP or GIF (see `raster`); a DICOM file, or a
        folder with the files of one DICOM series, or `FOLDER/series=3` where it has several (see `dicom_series`).
      indices: read the numbers that a 2D image stores, as masks use them, such as the indices of a palette, instead of
        the values that a viewer shows; see `raster.read`.

    Returns:
      An image `[X, Y, Z]` or `[X, Y, Z, C]`: integers as stored, other numbers as float32.

    Raises:
      InputError: the file is missing, damaged or of another format, or its geometry is invalid.
    """
    path = pathlib.Path(path)
    if not exists(path):
        link = f', but a link to {os.readlink(path)}' if os.path.islink(path) else ''
        raise InputError(f'{path}: no such file{link}; expected an image')
    kind = suffix(path) if path.is_file() else 'DICOM'
    if not kind and dicom.read_tags(path) is not None:
        kind = 'DICOM'
    if not kind:
        raise InputError(f'{path}: not an image file; expected one of {", ".join(SUFFIXES)}, or a folder with a DICOM '
                         'series')
    modality = ''
    try:
        if kind == 'DICOM':
            array, affine, modality = dicom_series.read(path)
        else:
            array, affine = _reader(kind, indices)(path)
    except InputError:
        raise
    except MemoryError as error:
        raise InputError(f'{path}: does not fit in memory') from error
    except Exception as error:  # on damaged files the readers raise exceptions of any type
        reason = ' '.join(str(error).split())[-160:] or type(error).__name__
        raise InputError(f'{path}: cannot be read as {kind}; expected a whole file: damaged or cut short? ({reason})'
                         ) from error
    array = array[:, :, None] if array.ndim == 2 else array
    while array.ndim > 3 and 1 in array.shape[3:]:
        array = array.squeeze(3 + array.shape[3:].index(1))
    if array.ndim not in (3, 4) or 0 in array.shape:
        raise InputError(f'{path}: shape {array.shape}; expected [X, Y, Z] or [X, Y, Z, channels]')
    if array.dtype.kind not in 'iubf':
        raise InputError(f'{path}: voxels of type {array.dtype}; expected numbers')
    check_affine(affine, str(path))
    dtype = {'f': np.float32, 'b': np.uint8}.get(array.dtype.kind) or array.dtype.newbyteorder('=')
    with np.errstate(over='ignore'):  # a double beyond the range of float32 becomes infinite; see `check_finite`
        return Image(array.astype(dtype), np.asarray(affine, float), str(path), modality)


def _reader(kind: str, indices: bool) -> Callable[[pathlib.Path], tuple[np.ndarray, np.ndarray]]:
    """The function that reads array and affine of a format, by its suffix."""
    if kind in NIFTI:
        return _read_nifti
    if kind in NIBABEL:
        return _read_nibabel
    if kind in ITK:
        return simpleitk.read_file
    return functools.partial(raster.read, indices=indices)


def check_finite(image: Image) -> None:
    """Checks that no voxel is NaN or infinite.

    Raises:
      InputError: with the number of such voxels and the first one.
    """
    if image.array.dtype.kind != 'f':
        return
    bad = ~np.isfinite(image.array)
    if bad.any():
        first = tuple(int(i) for i in np.unravel_index(bad.argmax(), bad.shape))
        raise InputError(f'{image.path}: {int(bad.sum())} voxels are NaN or infinite, the first at {first}; '
                         'expected finite numbers')


def check_label(label: Image, classes: int) -> Image:
    """Checks that the values of a label image are class numbers or IGNORED.

    Args:
      label: `[X, Y, Z]`.
      classes: the number of classes.

    Returns:
      The label image as uint8.

    Raises:
      InputError: another shape or another value.
    """
    if label.array.ndim != 3:
        raise InputError(f'{label.path}: shape {label.array.shape}; expected a label image [X, Y, Z]')
    label = whole_numbers(label)
    values = np.unique(label.array)
    wrong = values[~((values >= 0) & (values < classes) | (values == IGNORED))]
    if wrong.size:
        raise InputError(f'{label.path}: label value {str(wrong[0]).removesuffix(".0")}; expected whole numbers 0 to '
                         f'{classes - 1}, or {IGNORED} for voxels that are not evaluated')
    return Image(label.array.astype(np.uint8), label.affine, label.path)


def whole_numbers(label: Image) -> Image:
    """A label image whose values are whole numbers: a value within WHOLE of one is that number.

    Labels are whole numbers up to rounding where they were stored with a slope, such as 1/3, or resampled as floats.

    Raises:
      InputError: another value.
    """
    array = label.array
    if array.dtype.kind != 'f':
        return label
    rounded = np.rint(array)
    wrong = array[~(np.abs(array - rounded) <= WHOLE)]  # NaN is wrong as well
    if wrong.size:
        raise InputError(f'{label.path}: label value {str(wrong[0])}, in {wrong.size} of {array.size} voxels; expected '
                         f'whole numbers, to {WHOLE:g}')
    return Image(rounded, label.affine, label.path)


def write(path: str | pathlib.Path, array: np.ndarray, affine: np.ndarray, like: str | pathlib.Path = '') -> None:
    """Writes NIfTI, or a 2D label as PNG, atomically; equal arrays give equal bytes.

    Args:
      path: ends in .nii, .nii.gz, or .png for a 2D label `[column, row, 1]`.
      array: `[X, Y, Z]` or `[X, Y, Z, C]`.
      affine: voxel to RAS+ mm; PNG does not store it.
      like: the file of the image that the array is predicted for, whose header is kept; see `nifti_writer.encode`.

    Raises:
      InputError: the file cannot be written; no partial file is left.
    """
    path = pathlib.Path(path)
    if suffix(path) not in (*NIFTI, '.png'):
        raise InputError(f'{path}: cannot be written as {suffix(path) or "an image"!r}; expected .nii, .nii.gz or .png')
    if suffix(path) == '.png':
        buffer = io.BytesIO()
        raster.encode(array).save(buffer, 'png')
        content = buffer.getvalue()
    else:
        content = nifti_writer.encode(array.astype(_nifti_dtype(array), copy=False), affine, like)
        content = gzip.compress(content, 1, mtime=0) if suffix(path) == '.nii.gz' else content
    atomic_files.write_bytes(path, content)


def _nifti_dtype(array: np.ndarray) -> np.dtype:
    """The type in which an array is written; 64-bit integers are narrowed, since many NIfTI readers refuse them."""
    if array.dtype.kind in 'bf':
        return np.dtype(np.uint8 if array.dtype.kind == 'b' else np.float32)
    if array.dtype.itemsize == 8:
        return np.promote_types(np.min_scalar_type(array.min()), np.min_scalar_type(array.max()))
    return array.dtype


def _read_nifti(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    packed = suffix(path) == '.nii.gz'
    with gzip.open(path, 'rb') if packed else path.open('rb') as file:
        start = file.read(4)
        size = nifti_writer.header_size(start)
        if not size:
            raise InputError(f'{path}: not NIfTI; expected a header of 348 or 540 bytes')
        header = nifti_writer.HEADERS[size](start + file.read(size - 4), check=False)
        steps = header['pixdim'][1: 1 + min(header['dim'][0], 3)]
        if not header['sform_code'] and ((steps == 0) & (header['dim'][1: 1 + len(steps)] > 1)).any():
            # nibabel would replace 0 by 1.
            raise InputError(f'{path}: pixdim {steps.tolist()}; expected spacings above zero')
        header.check_fix(_quiet, error_level=40)
        if not header['magic'].item().startswith(b'n+'):
            raise InputError(f'{path}: its voxels are in another file; expected header and voxels in one .nii')
        shape, dtype = tuple(int(n) for n in header.get_data_shape()), header.get_data_dtype()
        offset, count = int(header.get_data_offset()), math.prod(shape) * dtype.itemsize
        if min(shape, default=0) < 1 or offset < size:
            raise InputError(f'{path}: shape {shape} with voxels from byte {offset}; expected positive extents')
        check_fits(path, offset + count, path.stat().st_size * (PACKED if packed else 1))
        file.seek(offset)
        raw = file.read(count)
        if len(raw) < count:
            raise InputError(f'{path}: cut short: {len(raw)} of {count} bytes of voxels; expected a whole file')
        if packed:
            _read_to_end(file)
    array = np.frombuffer(raw, dtype).reshape(shape, order='F')
    slope, intercept = header.get_slope_inter()
    if slope is not None and (slope, intercept) != (1, 0) and array.dtype.kind in 'iuf':
        kind = np.float32 if array.dtype.itemsize <= 2 else np.float64  # which holds the stored numbers
        array = array.astype(kind) * kind(slope) + kind(intercept)
    return array, np.diag([*[nifti_writer.unit_mm(header)] * 3, 1.0]) @ header.get_best_affine()


def _read_to_end(file: BinaryIO) -> None:
    """Reads a gzip file to its end, so that its checksum is verified."""
    while file.read(2**20):
        pass


def _read_nibabel(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    if suffix(path) == '.mgz':
        with gzip.open(path, 'rb') as file:
            _read_to_end(file)
    image = nib.load(path, mmap=False)
    files = {pathlib.Path(holder.filename) for holder in image.file_map.values() if holder.filename}
    shape, dtype = tuple(int(n) for n in image.shape), image.header.get_data_dtype()
    if min(shape, default=0) < 1:
        raise InputError(f'{path}: shape {shape}; expected positive extents')
    check_fits(path, math.prod(shape) * dtype.itemsize, PACKED * sum(f.stat().st_size for f in files if f.exists()))
    unit = nifti_writer.unit_mm(image.header) if isinstance(image, nib.Nifti1Pair) else 1.0
    return np.asanyarray(image.dataobj), np.diag([unit, unit, unit, 1.0]) @ image.affine
