"""Volumes read by SimpleITK: NRRD and MetaImage."""

import math
import pathlib

import numpy as np
import SimpleITK as sitk

from medjax.data.io import itk_headers
from medjax.data.io.data_paths import data_files
from medjax.data.io.tables import LIMIT, PACKED, check_fits
from medjax.errors import InputError

KINDS = {'.nrrd': 'NrrdImageIO', '.nhdr': 'NrrdImageIO', '.mha': 'MetaImageIO', '.mhd': 'MetaImageIO'}

sitk.ProcessObject.SetGlobalWarningDisplay(False)  # relevant ones are raised as InputError


def read_file(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """Reads NRRD or MetaImage, after checks of what ITK ignores in their headers.

    Returns:
      The array `[X, Y, Z]` or `[X, Y, Z, C]`, and its affine to RAS+ mm.
    """
    for file in data_files(path):
        if not file.is_file():
            raise InputError(f'{path}: its voxels are in {file}, which does not exist; expected it')
    fields = itk_headers.check(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(KINDS[path.suffix.lower()])  # chosen by suffix, not by the file's content
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    if reader.GetDimension() not in (2, 3):
        raise InputError(f'{path}: {reader.GetDimension()} dimensions; expected 2 or 3')
    voxel = sitk.Image([1, 1], reader.GetPixelIDValue(), reader.GetNumberOfComponents())
    count = math.prod(reader.GetSize()) * sitk.GetArrayViewFromImage(voxel).nbytes
    check_fits(path, count, PACKED * path.stat().st_size if path.suffix.lower() in ('.nrrd', '.mha') else LIMIT)
    itk_headers.check_compressed(path, fields, count)
    return from_itk(reader.Execute())


def from_itk(image: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """Array `[x, y, z]` and affine to RAS+ of an ITK image, which is `[z, y, x]` in LPS."""
    dims, array = image.GetDimension(), sitk.GetArrayFromImage(image)
    array = np.moveaxis(array, range(dims), range(dims)[::-1])
    array = array if dims == 3 else array[:, :, None]
    affine = np.eye(4)
    affine[:dims, :dims] = np.reshape(image.GetDirection(), (dims, dims)) * image.GetSpacing()
    affine[:dims, 3] = image.GetOrigin()
    return array, np.diag([-1.0, -1.0, 1.0, 1.0]) @ affine
