"""The number of pixels that the header of a file declares, for a limit that is checked before they are decoded."""

import math
import pathlib
import zlib
from typing import Any, BinaryIO

import nibabel as nib
import pydicom
import SimpleITK as sitk
from PIL import Image as Picture

from medjax.data.io import (
    data_paths,
    dicom,
    dicom_pixels,
    image_files,
    itk_headers,
    nifti_writer,
    raster,
    simpleitk,
    video_frames,
)
from medjax.errors import InputError

BYTES, EXTRA = 8, 2**20  # the most bytes of a pixel of one channel, and of what a file has besides
CHUNK = 2**20
DEFLATED = ('.nii.gz', '.mgz')


class TooLargeError(InputError):
    """A file that declares more pixels, or unpacks to more bytes, than a limit allows."""


def check(path: pathlib.Path, most: int) -> int:
    """Checks that a file declares no more pixels than a limit, and unpacks to no more bytes than these could have.

    Args:
      path: an image, a volume, a video or a DICOM file; other files have no pixels.
      most: pixels, of all channels, slices and frames.

    Returns:
      The number of pixels; 0 for files that are no images, and videos that do not declare their number of frames.

    Raises:
      TooLargeError: more pixels or bytes.
      InputError: a header that cannot be read.
    """
    kind = image_files.suffix(path)
    if kind in DEFLATED:
        _check_unpacked(path, most * BYTES + EXTRA)
    try:
        count = _declared(path, kind, most)
    except InputError:
        raise
    except Picture.DecompressionBombError as error:
        raise TooLargeError(f'{path}: {error}; expected at most {most} pixels') from error
    except Exception as error:  # on damaged files the readers raise exceptions of any type
        raise InputError(f'{path}: its header cannot be read as {kind or "DICOM"}: {type(error).__name__}; expected a '
                         'whole file') from error
    if count > most:
        raise TooLargeError(f'{path}: {count} pixels by its header; expected at most {most}')
    return count


def _declared(path: pathlib.Path, kind: str, most: int) -> int:
    if kind in raster.SUFFIXES:
        with Picture.open(path) as picture:
            return picture.width * picture.height * len(picture.getbands()) * getattr(picture, 'n_frames', 1)
    if kind in image_files.NIFTI:
        header = nifti_writer.read_header(path)
        if header is None:
            raise InputError(f'{path}: not NIfTI; expected a header of 348 or 540 bytes')
        return math.prod(int(n) for n in header.get_data_shape())
    if kind in image_files.NIBABEL:
        return math.prod(int(n) for n in nib.load(path).shape)
    if kind in image_files.ITK:
        return _itk(path)
    if path.suffix.lower() in video_frames.CONTAINERS:
        return _video(path)
    return _dicom(path, most) if dicom.is_dicom(path) else 0


def _itk(path: pathlib.Path) -> int:
    data_paths.data_files(path)
    itk_headers.check(path)
    reader = sitk.ImageFileReader()
    reader.SetImageIO(simpleitk.KINDS[path.suffix.lower()])
    reader.SetFileName(str(path))
    reader.ReadImageInformation()
    return math.prod(reader.GetSize()) * reader.GetNumberOfComponents()


def _video(path: pathlib.Path) -> int:
    import av

    with av.open(str(path)) as container:
        stream = container.streams.video[0]
        return stream.width * stream.height * 3 * stream.frames


def _dicom(path: pathlib.Path, most: int) -> int:
    """Rows × columns × samples × frames; a deflated data set is unpacked up to the limit first (PS3.5, A.5)."""
    with path.open('rb') as file:
        if file.read(132)[128:] == b'DICM':
            meta = pydicom.filereader.read_file_meta_info(path)
            if meta.get('TransferSyntaxUID') == dicom.DEFLATED:
                file.seek(132 + 12 + meta.FileMetaInformationGroupLength)  # after the element with that length
                _check_inflated(path, file, zlib.decompressobj(-zlib.MAX_WBITS), most * BYTES + EXTRA)
    header = dicom_pixels.read_header(path)
    sides = (int(header.get(name) or 0) for name in ('Rows', 'Columns'))
    return math.prod(sides) * int(header.get('SamplesPerPixel') or 1) * int(header.get('NumberOfFrames') or 1)


def _check_unpacked(path: pathlib.Path, most: int) -> None:
    with path.open('rb') as file:
        _check_inflated(path, file, zlib.decompressobj(zlib.MAX_WBITS | 16), most)


def _check_inflated(path: pathlib.Path, file: BinaryIO, inflate: Any, most: int) -> None:
    """Unpacks the rest of a file piece by piece; damage is left for the reader to report."""
    count, packed = 0, b''
    while packed or (packed := file.read(CHUNK)):
        try:
            count += len(inflate.decompress(packed, CHUNK))
        except zlib.error:
            return
        packed = inflate.unconsumed_tail
        if inflate.eof and inflate.unused_data:  # gzip files may follow each other in one
            packed, inflate = inflate.unused_data, zlib.decompressobj(zlib.MAX_WBITS | 16)
        if count > most:
            raise TooLargeError(f'{path}: unpacks to more than {most} bytes; expected at most these')
