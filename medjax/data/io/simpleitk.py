"""Volumes read by SimpleITK: NRRD, MetaImage and DICOM series."""

import math
import pathlib
import re
import zlib
from collections.abc import Sequence

import numpy as np
import SimpleITK as sitk

from medjax.data.io.data_paths import data_files
from medjax.data.io.dicom import find_series
from medjax.data.io.tables import LIMIT, PACKED, check_fits
from medjax.errors import InputError

KINDS = {'.nrrd': 'NrrdImageIO', '.nhdr': 'NrrdImageIO', '.mha': 'MetaImageIO', '.mhd': 'MetaImageIO'}
UNEVEN = 0.02  # fraction of the slice distance by which a DICOM slice may deviate from the regular grid

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # relevant ones are raised as InputError


def read_file(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads NRRD or MetaImage.

    Returns:
      The array `[X, Y, Z]` or `[X, Y, Z, C]`, and its affine to RAS+ mm.
    """
    for file in data_files(path):
        if not file.is_file():
            raise InputError(f'{path}: its voxels are in {file}, which does not exist; expected it')
    reader = sitk.ImageFileReader()
    reader.SetImageIO(KINDS[path.suffix.lower()])  # chosen by suffix, not by the file's content
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() not in (2, 3):
        raise InputError(f'{path}: {reader.GetDimension()} dimensions; expected 2 or 3')
    local = path.suffix.lower() in ('.nrrd', '.mha')
    check_fits(path, math.prod(reader.GetSize()) * reader.GetNumberOfComponents(),
               PACKED * path.stat().st_size if local else LIMIT)
    if local:
        _check_deflated(path)
    return from_itk(reader.Execute())


def _check_deflated(path: pathlib.Path) -> None:
    """Checks that compressed voxels are complete: ITK only prints a warning for truncated data."""
    raw = path.read_bytes()
    end = re.search(rb'\r?\n\r?\n' if path.suffix.lower() == '.nrrd' else rb'ElementDataFile *= *LOCAL *\r?\n', raw)
    head = raw[: end.start()] if end else b''
    if not re.search(rb'(?im)^encoding: *(gz|gzip) *\r?$|^CompressedData *= *True', head + b'\n') or b' skip:' in head:
        return
    inflate, step = zlib.decompressobj(47), 2**16  # 47: a header of zlib or gzip
    for at in range(end.end(), len(raw), step):
        inflate.decompress(raw[at: at + step])
    if not inflate.eof:
        raise InputError(f'{path}: its compressed voxels are cut short; expected a whole file')


def from_itk(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Array `[x, y, z]` and affine to RAS+ of an ITK image, which is `[z, y, x]` in LPS."""
    dims, array = image.GetDimension(), sitk.GetArrayFromImage(image)
    array = np.moveaxis(array, range(dims), range(dims)[::-1])
    array = array if dims == 3 else array[:, :, None]
    affine = np.eye(4)
    affine[:dims, :dims] = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine[:dims, 3] = image.GetOrigin()
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def read_series(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads the one DICOM series of a folder, with its slices sorted by their position along the slices' normal.

    The affine is computed from the positions of the slices.

    Args:
      path: a folder.

    Returns:
      The array `[columns, rows, slices]`, rescaled (to HU for CT) where the files define it, and its affine to RAS+ mm.

    Raises:
      InputError: no series or several; slices that are not parallel, that deviate from the regular grid between the
        first and the last by more than 2 % of their distance, or that are shifted sideways (a tilted gantry).
    """
    series = find_series(path)
    if len(series) != 1:
        raise InputError(f'{path}: {len(series)} DICOM series in this folder; expected exactly one')
    names, = series.values()
    if len(names) == 1:
        return from_itk(_reader(names[0]).Execute())
    names, origin, step = _sorted_slices(path, names)
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO('GDCMImageIO')
    reader.SetFileNames([str(name) for name in names])
    image = reader.Execute()
    if image.GetDimension() != 3:
        raise InputError(f'{path}: {image.GetDimension()} dimensions; expected a series of 2D slices')
    array, affine = from_itk(image)
    affine[:3, 2], affine[:3, 3] = np.array([-1, -1, 1]) * step, np.array([-1, -1, 1]) * origin
    return array, affine


def _sorted_slices(path: pathlib.Path,
                   names: Sequence[pathlib.Path]) -> tuple[list[pathlib.Path], np.ndarray, np.ndarray]:
    """The files of a series by position, the first slice's position and the step to the next slice, mm in LPS."""
    geometry = [_slice_geometry(name) for name in names]
    axes = geometry[0][1]
    for name, (_, other) in zip(names, geometry):
        if np.abs(other - axes).max() > 1e-3:
            raise InputError(f'{name}: its slice is rotated against the first of its series; expected parallel slices')
    positions = np.array([origin for origin, _ in geometry])
    order = np.argsort(positions @ axes[:, 2], kind='stable')
    positions = positions[order]
    regular = positions[0] + np.linspace(0, 1, len(positions))[:, None] * (positions[-1] - positions[0])
    steps = np.diff(positions @ axes[:, 2])
    if np.abs((positions - regular) @ axes[:, 2]).max() > UNEVEN * steps.mean() or steps.min() <= 0:
        raise InputError(f'{path}: slice distances from {steps.min():.3f} to {steps.max():.3f} mm; expected one '
                         f'distance, to {UNEVEN:.0%} of it: is a slice missing or present twice?')
    step = (positions[-1] - positions[0]) / (len(positions) - 1)
    sideways = np.linalg.norm(step - (step @ axes[:, 2]) * axes[:, 2])
    if sideways > UNEVEN * steps.mean():
        raise InputError(f'{path}: each slice is shifted {sideways:.3f} mm sideways of the one before (a tilted '
                         'gantry); expected slices straight above each other: resample the series first')
    return [names[place] for place in order], positions[0], step


def _reader(path: pathlib.Path) -> sitk.ImageFileReader:
    """A reader of a DICOM file that is large enough for the voxels that its header declares."""
    reader = sitk.ImageFileReader()
    reader.SetImageIO('GDCMImageIO')
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    check_fits(path, math.prod(reader.GetSize()), PACKED * path.stat().st_size)
    return reader


def _slice_geometry(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """A slice's position `[3]` and its axes: row, column and normal as columns `[3, 3]`, in LPS."""
    reader = _reader(path)
    for tag, name in (('0020|0032', 'ImagePositionPatient'), ('0020|0037', 'ImageOrientationPatient')):
        if not reader.HasMetaDataKey(tag):
            raise InputError(f'{path}: no {name} ({tag.replace("|", ",")}); expected it in each slice of a series')
    size = reader.GetSize()
    if len(size) != 3 or size[2] != 1:
        raise InputError(f'{path}: {"×".join(map(str, size))} voxels; expected one slice in each file of a series')
    axes = np.reshape(reader.GetDirection(), (3, 3))
    axes[:, 2] = np.cross(axes[:, 0], axes[:, 1])
    return np.array(reader.GetOrigin()), axes
