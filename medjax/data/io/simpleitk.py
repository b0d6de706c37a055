"""Volumes by SimpleITK: NRRD, MetaImage and the slices of a DICOM series."""

import math
import pathlib
import re
import zlib

import numpy as np
import SimpleITK as sitk

from medjax.data.io.dicom import find_series
from medjax.data.io.tables import LIMIT, PACKED, check_fits
from medjax.errors import InputError

KINDS = {'.nrrd': 'NrrdImageIO', '.nhdr': 'NrrdImageIO', '.mha': 'MetaImageIO', '.mhd': 'MetaImageIO'}
UNEVEN = 0.02  # share of the slice distance by which a DICOM slice may be off its place on the even grid

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # what matters of them becomes one InputError line


def read_file(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads NRRD or MetaImage.

    Returns:
      The array `[X, Y, Z]` or `[X, Y, Z, C]`, and its affine to RAS+ mm.
    """
    reader = sitk.ImageFileReader()
    reader.SetImageIO(KINDS[path.suffix.lower()])  # what the name says, not whatever the bytes look like
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
    """Refuses compressed voxels whose checksum is wrong: ITK prints a line and goes on with what it has."""
    raw = path.read_bytes()
    end = re.search(rb'\r?\n\r?\n' if path.suffix.lower() == '.nrrd' else rb'ElementDataFile *= *LOCAL *\r?\n', raw)
    head = raw[: end.start()] if end else b''
    if not re.search(rb'(?im)^encoding: *(gz|gzip) *\r?$|^CompressedData *= *True', head + b'\n') or b' skip:' in head:
        return
    inflate, step = zlib.decompressobj(47), 2**16  # 47: zlib's or gzip's header, whichever is there
    for at in range(end.end(), len(raw), step):
        inflate.decompress(raw[at: at + step])
    if not inflate.eof:
        raise InputError(f'{path}: its compressed voxels are cut short; expected a whole file')


def from_itk(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Turns ITK's `[z, y, x]` and LPS into `[x, y, z]` and RAS+."""
    dims, array = image.GetDimension(), sitk.GetArrayFromImage(image)
    array = np.moveaxis(array, range(dims), range(dims)[::-1])
    array = array if dims == 3 else array[:, :, None]
    affine = np.eye(4)
    affine[:dims, :dims] = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine[:dims, 3] = image.GetOrigin()
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine


def read_series(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads the one DICOM series of a folder, its slices sorted by their position along the slices' normal.

    The affine is made from the slices' own positions. Slices that lie off the even grid between the first and the last
    by more than 2 % of their distance are refused, and so are those that lie sideways of it (a tilted gantry).

    Returns:
      The array `[columns, rows, slices]`, in HU where the files say how, and its affine to RAS+ mm.
    """
    series = find_series(path)
    if len(series) != 1:
        raise InputError(f'{path}: {len(series)} DICOM series in this folder; expected exactly one')
    names, = series.values()
    if len(names) == 1:
        return from_itk(_reader(names[0]).Execute())
    geometry = [_slice_geometry(name) for name in names]
    axes = geometry[0][1]
    for name, (_, other) in zip(names, geometry):
        if np.abs(other - axes).max() > 1e-3:
            raise InputError(f'{name}: its slice is turned against the first of its series; expected parallel slices')
    places = np.array([origin for origin, _ in geometry])
    order = np.argsort(places @ axes[:, 2], kind='stable')
    places = places[order]
    even = places[0] + np.linspace(0, 1, len(places))[:, None] * (places[-1] - places[0])
    steps = np.diff(places @ axes[:, 2])
    if np.abs((places - even) @ axes[:, 2]).max() > UNEVEN * steps.mean() or steps.min() <= 0:
        raise InputError(f'{path}: slices lie {steps.min():.3f} to {steps.max():.3f} mm apart; expected one distance, '
                         f'to {UNEVEN:.0%} of it: is a slice missing or there twice?')
    step = (places[-1] - places[0]) / (len(places) - 1)
    sideways = np.linalg.norm(step - (step @ axes[:, 2]) * axes[:, 2])
    if sideways > UNEVEN * steps.mean():
        raise InputError(f'{path}: each slice lies {sideways:.3f} mm sideways of the one before (a tilted gantry); '
                         'expected slices straight above each other: resample the series first')
    reader = sitk.ImageSeriesReader()
    reader.SetImageIO('GDCMImageIO')
    reader.SetFileNames([str(names[i]) for i in order])
    image = reader.Execute()
    if image.GetDimension() != 3:
        raise InputError(f'{path}: {image.GetDimension()} dimensions; expected a series of 2D slices')
    array, affine = from_itk(image)
    affine[:3, 2], affine[:3, 3] = np.array([-1, -1, 1]) * step, np.array([-1, -1, 1]) * places[0]
    return array, affine


def _reader(path: pathlib.Path) -> sitk.ImageFileReader:
    """Opens a DICOM file that can be as large as it says."""
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
