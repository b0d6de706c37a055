"""An image that was computed from a series as a derived series, with a file for each file of the series."""

import copy
import datetime
from collections.abc import Sequence

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medjax.clinic.identity import Identity
from medjax.clinic.options import Code
from medjax.clinic.segmentation import concept
from medjax.clinic.source import PATIENT_STUDY, SourceImages, identifier, item
from medjax.core.contracts import Findings
from medjax.errors import InputError

NUMBER = 9020  # of the series
SCALED = ('1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.5.1.4.1.1.4', '1.2.840.10008.5.1.4.1.1.128')  # CT, MR, PET
# What describes the pixels of the source, or how they were computed, and not those of the derived image.
PIXELS = ('SmallestImagePixelValue', 'LargestImagePixelValue', 'PixelPaddingValue', 'PixelPaddingRangeLimit',
          'RealWorldValueMappingSequence', 'ModalityLUTSequence', 'VOILUTSequence', 'WindowCenterWidthExplanation',
          'VOILUTFunction', 'IconImageSequence', 'SourceImageSequence', 'DerivationCodeSequence', 'RescaleType',
          'ReferencedImageSequence', 'ReferencedSeriesSequence',
          'StudiesContainingOtherReferencedInstancesSequence', 'PresentationLUTShape', 'RedPaletteColorLookupTableData',
          'GreenPaletteColorLookupTableData', 'BluePaletteColorLookupTableData')
# Of a registered image, what is that of the fixed image: the patient, study and place; all else is the moving image's.
FIXED = (*PATIENT_STUDY, 'SpecificCharacterSet', 'StudyInstanceUID', 'StudyDescription', 'PatientAge', 'PatientWeight',
         'PatientSize', 'FrameOfReferenceUID', 'PositionReferenceIndicator', 'PatientPosition', 'ImagePositionPatient',
         'ImageOrientationPatient', 'PixelSpacing', 'SliceThickness', 'SpacingBetweenSlices', 'SliceLocation', 'Rows',
         'Columns', 'Laterality')
PURPOSE = ('121322', 'DCM', 'Source image for image processing operation')
LEVELS = 2**16 - 1


def series(source: SourceImages, found: Findings, identity: Identity,
           moving: SourceImages | None = None) -> list[pydicom.Dataset]:
    """The files of a derived series, in the order of the slices.

    Each has the elements of the slice that it was computed from, but private ones and those about its pixels, and a
    reference to it. Values are stored with 16 bits and a slope for the range of the whole image.

    Args:
      source: the images on whose grid the derived image is.
      found: with `image`.
      identity: of the run.
      moving: of a registered image, the images that its values are from. The files then have the elements of the first
        of these but for patient, study and place, and refer to all of them.

    Raises:
      InputError: the images are not slices of CT, MR or PET in a file each, or those of two patients.
    """
    _check(source, moving)
    planes = source.planes(found.image)
    slope, low = _scale(planes)
    everything = [*source.images, *(moving.images if moving else [])]
    uid = identifier('derived', identity.digest, planes, *[image.SOPInstanceUID for image in everything])
    step, now = float(np.linalg.norm(source.affine[:3, 2])), datetime.datetime.now()
    out = []
    for number, (image, plane) in enumerate(zip(source.images, planes), 1):
        made = _placed(moving.images[0], image) if moving else _copy(image)
        _describe(made, f'{found.image_name} by {identity.name}', identity, now)
        made.SeriesInstanceUID, made.SOPInstanceUID = uid, identifier(uid, number)
        made.InstanceNumber = number
        made.SeriesDescription = f'{found.image_name}: {identity.name}'[:64]
        made.SourceImageSequence = [_reference(one) for one in (moving.images if moving else [image])]
        if moving:
            made.ReferencedImageSequence = [_reference(image, None)]
        _refer(made, everything if moving else [image])
        if 'SpacingBetweenSlices' in made:  # often that of a plan; see `segmentation`
            made.SpacingBetweenSlices = pydicom.valuerep.format_number_as_ds(round(step, 6))
        made.RescaleSlope, made.RescaleIntercept = slope, low
        made.WindowCenter, made.WindowWidth = (f'{value:.6g}' for value in _window(planes))
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, 'MONOCHROME2'
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
        stored = np.clip(np.rint((plane.astype(np.float64) - float(low)) / float(slope)), 0, LEVELS)
        made.PixelData = stored.astype('<u2').tobytes()
        made['PixelData'].VR = 'OW'
        if made.SOPClassUID == SCALED[0]:
            made.RescaleType = (moving.images[0] if moving else image).get('RescaleType') or 'HU'
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        out.append(made)
    return out


def _check(source: SourceImages, moving: SourceImages | None) -> None:
    """Checks that a derived series can be made of images; see `series`."""
    for images in (source, *([moving] if moving else [])):
        if images.several_frames or any(image.SOPClassUID not in SCALED for image in images.images):
            raise InputError(f'{images.path}: {images.images[0].SOPClassUID.name}; expected CT, MR or PET images with '
                             'a file for each slice, of which a derived series is made')
    if moving and (not moving.images[0].PatientID or moving.images[0].PatientID != source.images[0].PatientID):
        raise InputError(f'{moving.path}: another PatientID (0010,0020) than {source.path}, or none; expected images '
                         'of one patient, since a registered image is part of the study of the fixed one')


def _describe(made: pydicom.Dataset, how: str, identity: Identity, now: datetime.datetime) -> None:
    """Says of a file what it is and what made it."""
    made.ImageType = ['DERIVED', 'SECONDARY', *list(made.get('ImageType') or ())[2:]]
    made.SeriesNumber, made.DerivationDescription = NUMBER, f'{how}, {identity.version}'
    made.Manufacturer, made.ManufacturerModelName = 'medjax', identity.name[:64]
    made.SoftwareVersions, made.DeviceSerialNumber = identity.version, identity.digest[:16]
    made.SeriesDate = made.ContentDate = made.InstanceCreationDate = f'{now:%Y%m%d}'
    made.SeriesTime = made.ContentTime = made.InstanceCreationTime = f'{now:%H%M%S}'


def _placed(moving: pydicom.Dataset, fixed: pydicom.Dataset) -> pydicom.Dataset:
    """The elements of a moving image with the patient, study and place of a fixed one."""
    made = _copy(moving)
    for name in FIXED:
        if name in made:
            del made[pydicom.datadict.tag_for_keyword(name)]
        if name in fixed:
            made.add(copy.deepcopy(fixed[name]))
    return made


def _refer(made: pydicom.Dataset, images: Sequence[pydicom.Dataset]) -> None:
    """Lists the series, and other studies, of images that a file refers to (PS3.3, C.12.2)."""
    studies: dict[str, dict[str, list[Dataset]]] = {}
    for image in images:
        series_of = studies.setdefault(image.StudyInstanceUID, {})
        series_of.setdefault(image.SeriesInstanceUID, []).append(_reference(image, None))
    items = {study: [item(SeriesInstanceUID=uid, ReferencedInstanceSequence=found) for uid, found in of.items()]
             for study, of in studies.items()}
    own = items.pop(made.StudyInstanceUID, None)
    if own:
        made.ReferencedSeriesSequence = own
    if items:
        made.StudiesContainingOtherReferencedInstancesSequence = [
            item(StudyInstanceUID=study, ReferencedSeriesSequence=of) for study, of in items.items()]


def _copy(image: pydicom.Dataset) -> pydicom.Dataset:
    """The elements of a slice that hold for an image that was computed from it."""
    made, meta = pydicom.dataset.FileDataset('', {}, preamble=bytes(128)), FileMetaDataset()
    for element in image:
        if not element.tag.is_private and element.keyword not in PIXELS and element.tag.group != 0x7FE0:
            made.add(copy.deepcopy(element))  # an element that is set later is changed in place
    meta.MediaStorageSOPClassUID, meta.TransferSyntaxUID = image.SOPClassUID, ExplicitVRLittleEndian
    made.file_meta = meta
    return made


def _scale(planes: np.ndarray) -> tuple[str, str]:
    """Slope and intercept of the range of values as decimal strings: 1 where they are whole numbers that fit."""
    low, high = float(planes.min()), float(planes.max())
    if high - low <= LEVELS and (planes == np.rint(planes)).all():
        return '1', f'{low:.0f}'
    slope = f'{max((high - low) / (LEVELS - 2), 1e-12):.9e}'
    # The intercept is a multiple of the slope, so that 0 stays 0.
    return slope, f'{np.floor(low / float(slope)) * float(slope):.8e}'


def _window(planes: np.ndarray) -> tuple[float, float]:
    """Centre and width of the middle 99 % of the values."""
    low, high = (float(value) for value in np.percentile(planes, [0.5, 99.5]))
    return (low + high) / 2, max(high - low, 1e-6)


def _reference(image: pydicom.Dataset, purpose: Code | None = PURPOSE) -> Dataset:
    out = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    if purpose:
        out.PurposeOfReferenceCodeSequence = [concept(purpose)]
    return out
