"""The DICOM images that a prediction is for, in the order of the slices of the array that is read from them."""

import copy
import dataclasses
import hashlib
import pathlib
from typing import Any

import numpy as np
import pydicom
from pydicom.dataset import Dataset

from medjax.data.io import dicom_series
from medjax.data.io.dicom_geometry import Frame
from medjax.errors import InputError

# Attributes that may be empty in an image, but that every object of its study has (type 2; PS3.3, C.7.1.1, C.7.2.1).
PATIENT_STUDY = ('PatientID', 'PatientName', 'PatientBirthDate', 'PatientSex', 'StudyID', 'StudyDate', 'StudyTime',
                 'AccessionNumber', 'ReferringPhysicianName')
REQUIRED = ('StudyInstanceUID', 'SeriesInstanceUID', 'SOPInstanceUID', 'SOPClassUID')
INSTALL = '`pip install medjax[dicom]`'


@dataclasses.dataclass(frozen=True)
class SourceImages:
    """The images of a series, without their pixels.

    Attributes:
      path: where they were read.
      images: of a series one for each slice, in order; or the one image with several frames.
      frames: the place of each slice, in order.
      order: `[slices]`, the frame of each slice in an image with several frames.
      affine: `[4, 4]`, of the array `[X, Y, Z]` of all slices, to RAS+ mm.
    """

    path: pathlib.Path
    images: list[pydicom.Dataset]
    frames: list[Frame]
    order: np.ndarray
    affine: np.ndarray

    @property
    def several_frames(self) -> bool:
        """Whether the slices are the frames of one image."""
        return len(self.images) == 1 and len(self.frames) > 1

    @property
    def placed(self) -> bool:
        """Whether the images have a place in the patient."""
        return bool(self.images[0].get('FrameOfReferenceUID'))

    def planes(self, array: np.ndarray) -> np.ndarray:
        """An array `[X, Y, Z, …]` as `[frames, rows, columns, …]`, in the order of the images' own frames."""
        planes = np.moveaxis(array, (0, 1, 2), (2, 1, 0))
        if not self.several_frames:
            return np.ascontiguousarray(planes)
        out = np.empty_like(planes)
        out[self.order] = planes
        return out

    def image_of(self, place: int) -> tuple[pydicom.Dataset, int | None]:
        """The image of a slice, and its frame's number from 1, None for an image of one frame."""
        if self.several_frames:
            return self.images[0], int(self.order[place]) + 1
        return self.images[place], None


def read(path: pathlib.Path) -> SourceImages:
    """Reads what the objects of a prediction take over from its images.

    Args:
      path: a DICOM file, a folder with one series, or `FOLDER/series=3`.

    Raises:
      InputError: the path is no DICOM image; the images lack an identifier that others could refer to.
    """
    slices = dicom_series.read_slices(path)
    several = len(slices.order) > len(slices.headers)
    if several and len(slices.headers) > 1:
        raise InputError(f'{path}: {len(slices.headers)} files with several frames each in one series; expected one '
                         'file, or one slice in each')
    images = [copy.deepcopy(header) for header in (slices.headers if several
                                                   else [slices.headers[number] for number in slices.order])]
    for image in images:
        for name in REQUIRED + (('FrameOfReferenceUID',) if len(slices.order) > 1 else ()):
            if not image.get(name):
                raise InputError(f'{path}: no {name} {_number(name)}; expected it, since the objects of a prediction '
                                 'refer to their images by it')
        for name in PATIENT_STUDY:
            if name not in image:
                setattr(image, name, None)
    if len({image.SOPInstanceUID for image in images}) < len(images):
        raise InputError(f'{path}: several images with one SOPInstanceUID (0008,0018); expected different ones')
    if len({image.StudyInstanceUID for image in images}) > 1:
        raise InputError(f'{path}: one series in several studies (0020,000D); expected one')
    return SourceImages(path, images, slices.frames, slices.order, slices.affine)


def _number(name: str) -> str:
    tag = pydicom.datadict.tag_for_keyword(name)
    return f'({tag >> 16:04X},{tag & 0xFFFF:04X})'


def identifier(*parts: Any) -> str:
    """A UID that is equal for equal parts, so that a prediction that is made or sent again replaces itself.

    Args:
      *parts: arrays, bytes, or what has a text.

    Returns:
      A UID below 2.25, for numbers of 128 bits (PS3.5, B.2).
    """
    digest = hashlib.sha256()
    for part in parts:
        content = part if isinstance(part, bytes) else (
            np.ascontiguousarray(part).tobytes() if isinstance(part, np.ndarray) else str(part).encode())
        digest.update(len(content).to_bytes(8, 'little') + content)
    return f'2.25.{int.from_bytes(digest.digest()[:16], "big")}'


def item(**elements: Any) -> Dataset:
    """An item of a sequence."""
    out = Dataset()
    for name, value in elements.items():
        setattr(out, name, value)
    return out
