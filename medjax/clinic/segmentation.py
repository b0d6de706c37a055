"""Predicted labels as a DICOM segmentation (PS3.3, A.51), written by highdicom."""

from collections.abc import Sequence
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import CodedConcept

from medjax.clinic.identity import Identity
from medjax.clinic.options import TISSUE, Code, DicomOptions
from medjax.clinic.source import SourceImages, identifier
from medjax.core.contracts import Findings
from medjax.errors import InputError

KINDS = {'seg': 'BINARY', 'fractional': 'FRACTIONAL', 'labelmap': 'LABELMAP'}
NUMBERS = {'seg': 9001, 'fractional': 9002, 'labelmap': 9003}  # of the series
FULL = 255  # the stored value of probability 1
COLOURS = ('#56B4E9', '#E69F00', '#009E73', '#0072B2', '#F0E442', '#D55E00', '#CC79A7')  # Okabe & Ito 2008


def segmentation(kind: str, source: SourceImages, found: Findings, options: DicomOptions,
                 identity: Identity) -> pydicom.Dataset:
    """A DICOM segmentation with a segment for each class but the background.

    Args:
      kind: one of KINDS.
      source: the images.
      found: with `labels`, and for 'fractional' `probs`.
      options: the classes' codes.
      identity: of the run.

    Returns:
      The data set. Frames without a segment are left out of a binary or fractional one. The distance of the slices is
      that of their positions, whatever the images' own element says.

    Raises:
      InputError: the images are of a kind that the library knows no segmentation of.
    """
    array = source.planes(found.labels)
    names = found.classes[1:]
    if kind == 'fractional':
        array = source.planes(np.asarray(found.probs, np.float32)[..., 1:]).clip(0, 1)
    elif kind == 'seg':
        array = array.astype(np.uint8 if len(names) < 256 else np.uint16)
    uids = [identifier(kind, part, array, identity.digest, sorted(options.codes.items()), names,
                       *[image.SOPInstanceUID for image in source.images]) for part in ('series', 'instance')]
    empty = not (found.labels.any() if kind != 'fractional' else (np.rint(array * FULL) > 0).any())
    try:
        out = hd.seg.Segmentation(
            source_images=source.images, pixel_array=array, segmentation_type=KINDS[kind],
            segment_descriptions=[_segment(number, name, options, identity, uids[1])
                                  for number, name in enumerate(names, 1)],
            series_instance_uid=uids[0], series_number=NUMBERS[kind], sop_instance_uid=uids[1], instance_number=1,
            max_fractional_value=FULL, omit_empty_frames=not empty, content_label='SEGMENTATION',
            content_description=f'Segmentation by {identity.name}'[:64],
            series_description=f'{identity.name}: segmentation'[:64], **identity.equipment)
    except (ValueError, AttributeError, KeyError, TypeError) as error:  # what the library raises for odd images
        raise InputError(f'{source.path}: no DICOM segmentation can be made for these images: '
                         f'{" ".join(str(error).split())[:200]}') from error
    out.ContentCreatorName = None  # nobody, but the element has to be there
    if not source.placed:  # the library leaves it out, but the element has to be there
        out.PatientOrientation = source.images[0].get('PatientOrientation')
    _correct_spacing(out, source)
    return out


def _segment(number: int, name: str, options: DicomOptions, identity: Identity, uid: str) -> Any:
    """The description of a segment."""
    return hd.seg.SegmentDescription(
        segment_number=number, segment_label=name[:64],
        segmented_property_category=concept(options.categories.get(name, TISSUE)),
        segmented_property_type=concept(options.codes.get(name, TISSUE)), algorithm_type='AUTOMATIC',
        algorithm_identification=identity.algorithm, tracking_id=name[:64],
        tracking_uid=identifier(uid, number, name),
        display_color=hd.color.CIELabColor.from_string(COLOURS[(number - 1) % len(COLOURS)]))


def concept(code: Code) -> CodedConcept:
    """A code as highdicom has it."""
    value, scheme, meaning = code
    return CodedConcept(value=value, scheme_designator=scheme, meaning=meaning)


def uncoded(names: Sequence[str], options: DicomOptions) -> list[str]:
    """The classes without a code."""
    return [name for name in names if name not in options.codes]


def _correct_spacing(dataset: pydicom.Dataset, source: SourceImages) -> None:
    """Sets SpacingBetweenSlices (0018,0088) by the slices' positions; the library copies that of the images.

    Scanners write the distance of a plan, or of another direction, into it. Programs that fill the gaps of frames which
    are left out take it for the distance of the slices, and measure volumes by it.
    """
    distance = round(float(np.linalg.norm(source.affine[:3, 2])), 6)  # positions are rounded in files
    for group in dataset.get('SharedFunctionalGroupsSequence', ()):
        for measures in group.get('PixelMeasuresSequence', ()):
            measures.SpacingBetweenSlices = pydicom.valuerep.format_number_as_ds(distance)
