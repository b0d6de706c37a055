"""An image that was computed from a series as a derived series, with a file for each file of the series."""

import copy
import datetime

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian

from medjax.clinic.identity import Identity
from medjax.clinic.segmentation import concept
from medjax.clinic.source import SourceImages, identifier
from medjax.core.contracts import Findings
from medjax.errors import InputError

NUMBER = 9020  # of the series
SCALED = ('1.2.840.10008.5.1.4.1.1.2', '1.2.840.10008.5.1.4.1.1.4', '1.2.840.10008.5.1.4.1.1.128')  # CT, MR, PET
# What describes the pixels of the source, or how they were computed, and not those of the derived image.
PIXELS = ('SmallestImagePixelValue', 'LargestImagePixelValue', 'PixelPaddingValue', 'PixelPaddingRangeLimit',
          'RealWorldValueMappingSequence', 'ModalityLUTSequence', 'VOILUTSequence', 'WindowCenterWidthExplanation',
          'VOILUTFunction', 'IconImageSequence', 'SourceImageSequence', 'DerivationCodeSequence', 'RescaleType',
          'ReferencedImageSequence', 'PresentationLUTShape', 'RedPaletteColorLookupTableData',
          'GreenPaletteColorLookupTableData', 'BluePaletteColorLookupTableData')
PURPOSE = ('121322', 'DCM', 'Source image for image processing operation')
LEVELS = 2**16 - 1


def series(source: SourceImages, found: Findings, identity: Identity) -> list[pydicom.Dataset]:
    """The files of a derived series, in the order of the slices.

    Each has the elements of the slice that it was computed from, but private ones and those about its pixels, and a
    reference to it. Values are stored with 16 bits and a slope for the range of the whole image.

    Args:
      source: the images.
      found: with `image`.
      identity: of the run.

    Raises:
      InputError: the images are not slices of CT, MR or PET in a file each.
    """
    first = source.images[0]
    if source.several_frames or any(image.SOPClassUID not in SCALED for image in source.images):
        raise InputError(f'{source.path}: {first.SOPClassUID.name}; expected CT, MR or PET images with a file for each '
                         'slice, of which a derived series is made')
    planes = source.planes(found.image)
    slope, low = _scale(planes)
    uid = identifier('derived', identity.digest, planes, *[image.SOPInstanceUID for image in source.images])
    now = datetime.datetime.now()
    out = []
    for number, (image, plane) in enumerate(zip(source.images, planes), 1):
        made = _copy(image)
        made.ImageType = ['DERIVED', 'SECONDARY', *list(image.get('ImageType') or ())[2:]]
        made.SeriesInstanceUID, made.SOPInstanceUID = uid, identifier(uid, number)
        made.SeriesNumber, made.InstanceNumber = NUMBER, number
        made.SeriesDescription = f'{found.image_name}: {identity.name}'[:64]
        made.DerivationDescription = f'{found.image_name} by {identity.name}, {identity.version}'
        made.Manufacturer, made.ManufacturerModelName = 'medjax', identity.name[:64]
        made.SoftwareVersions, made.DeviceSerialNumber = identity.version, identity.digest[:16]
        made.SeriesDate = made.ContentDate = made.InstanceCreationDate = f'{now:%Y%m%d}'
        made.SeriesTime = made.ContentTime = made.InstanceCreationTime = f'{now:%H%M%S}'
        made.SourceImageSequence = [_reference(image)]
        made.RescaleSlope, made.RescaleIntercept = slope, low
        made.WindowCenter, made.WindowWidth = (f'{value:.6g}' for value in _window(planes))
        made.SamplesPerPixel, made.PhotometricInterpretation = 1, 'MONOCHROME2'
        made.BitsAllocated, made.BitsStored, made.HighBit, made.PixelRepresentation = 16, 16, 15, 0
        stored = np.clip(np.rint((plane.astype(np.float64) - float(low)) / float(slope)), 0, LEVELS)
        made.PixelData = stored.astype('<u2').tobytes()
        made['PixelData'].VR = 'OW'
        if image.SOPClassUID == SCALED[0]:
            made.RescaleType = image.get('RescaleType') or 'HU'
        made.file_meta.MediaStorageSOPInstanceUID = made.SOPInstanceUID
        out.append(made)
    return out


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


def _reference(image: pydicom.Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = image.SOPClassUID, image.SOPInstanceUID
    item.PurposeOfReferenceCodeSequence = [concept(PURPOSE)]
    return item
