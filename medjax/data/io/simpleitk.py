"""Volumes read by SimpleITK: NRRD and MetaImage."""

import math
import pathlib
import re
import zlib

import numpy as np
import SimpleITK as sitk

from medjax.data.io.data_paths import data_files
from medjax.data.io.tables import LIMIT, PACKED, check_fits
from medjax.errors import InputError

KINDS = {'.nrrd': 'NrrdImageIO', '.nhdr': 'NrrdImageIO', '.mha': 'MetaImageIO', '.mhd': 'MetaImageIO'}

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
