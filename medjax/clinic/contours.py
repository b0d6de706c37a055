"""Predicted labels as contours of radiotherapy: a structure set (PS3.3, A.19), written by pydicom.

A contour follows the edges of the pixels, so that it encloses exactly the area of a slice's pixels, and the centres of
these pixels alone. Where a region has holes, all contours of its ROI are combined by exclusive or (CLOSEDPLANAR_XOR).
"""

import datetime

import numpy as np
import pydicom
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import ExplicitVRLittleEndian, RTStructureSetStorage

from medjax.clinic.identity import Identity
from medjax.clinic.segmentation import COLOURS
from medjax.clinic.source import PATIENT_STUDY, SourceImages, identifier, item
from medjax.core.contracts import Findings
from medjax.errors import InputError

NUMBER = 9004  # of the series
CLOSED, EXCLUSIVE = 'CLOSED_PLANAR', 'CLOSEDPLANAR_XOR'
DIGITS = 4  # decimals of mm


def structure_set(source: SourceImages, found: Findings, identity: Identity) -> pydicom.Dataset:
    """A structure set with an ROI for each class but the background; an absent class has an ROI without contours.

    Args:
      source: the images.
      found: with `labels`.
      identity: of the run.

    Raises:
      InputError: the images have no frame of reference.
    """
    first = source.images[0]
    if not source.placed:
        raise InputError(f'{source.path}: no FrameOfReferenceUID (0020,0052); expected it, since contours are in mm of '
                         'the patient')
    uids = [identifier('rtstruct', part, identity.digest, found.labels, found.classes,
                       *[image.SOPInstanceUID for image in source.images]) for part in ('series', 'instance')]
    now = datetime.datetime.now()
    out = _new(source, uids, now)
    out.Manufacturer, out.ManufacturerModelName = 'medjax', identity.name[:64]
    out.SoftwareVersions, out.DeviceSerialNumber = identity.version, identity.digest[:16]
    out.SeriesDescription, out.SeriesNumber = f'{identity.name}: contours'[:64], NUMBER
    out.StructureSetLabel, out.StructureSetName = 'CONTOURS', identity.name[:64]
    out.ReferencedFrameOfReferenceSequence = [_referenced_images(source)]
    rois, contours, observations = [], [], []
    for number, name in enumerate(found.classes[1:], 1):
        rois.append(item(ROINumber=number, ReferencedFrameOfReferenceUID=first.FrameOfReferenceUID, ROIName=name[:64],
                          ROIGenerationAlgorithm='AUTOMATIC', ROIGenerationDescription=identity.version))
        items = _contours(source, found.labels == number)
        colour = COLOURS[(number - 1) % len(COLOURS)]
        contour = item(ROIDisplayColor=[int(colour[at:at + 2], 16) for at in (1, 3, 5)], ReferencedROINumber=number)
        if items:
            contour.ContourSequence = items
        contours.append(contour)
        observations.append(item(ObservationNumber=number, ReferencedROINumber=number, RTROIInterpretedType='',
                                  ROIInterpreter=''))
    out.StructureSetROISequence, out.ROIContourSequence = rois, contours
    out.RTROIObservationsSequence = observations
    return out


def outlines(mask: np.ndarray) -> list[np.ndarray]:
    """The borders of the regions of a mask along the edges of its pixels.

    Args:
      mask: `[rows, columns]` bool. Pixels that share a corner alone are different regions.

    Returns:
      For each border the corners `[N, 2]` where it turns, column and row, where (0, 0) is the centre of the first
      pixel; clockwise around regions and anticlockwise around holes, as an image is shown.
    """
    padded = np.pad(mask, 1)
    # Edges by their start, as (row, column) of corners; the region is to the right of each edge.
    edges: dict[tuple[int, int], list[tuple[int, int]]] = {}
    for (row, column), start, end in (((-1, 0), (0, 0), (0, 1)), ((0, 1), (0, 1), (1, 1)),
                                      ((1, 0), (1, 1), (1, 0)), ((0, -1), (1, 0), (0, 0))):
        beside = np.roll(padded, (-row, -column), (0, 1))
        for r, c in np.argwhere(padded & ~beside):
            edges.setdefault((r + start[0], c + start[1]), []).append((r + end[0], c + end[1]))
    out = []
    while edges:
        begin = at = next(iter(edges))
        way: tuple[int, int] | None = None
        corners = []
        while True:
            ends = edges[at]
            # Where two regions touch at a corner, turn to the right: around the region that the border is of.
            to = ends[0] if len(ends) == 1 or way is None else next(
                end for end in ends if (end[0] - at[0], end[1] - at[1]) == (way[1], -way[0]))
            ends.remove(to)
            if not ends:
                del edges[at]
            step = to[0] - at[0], to[1] - at[1]
            if step != way:
                corners.append((at[1] - 1.5, at[0] - 1.5))
            at, way = to, step
            if at == begin:
                break
        out.append(np.array(corners))
    return out


def _contours(source: SourceImages, mask: np.ndarray) -> list[Dataset]:
    """The contours of a mask `[X, Y, Z]`, slice by slice."""
    found = [(place, border) for place in np.flatnonzero(mask.any((0, 1))) for border in outlines(mask[:, :, place].T)]
    # A border around a hole has the other direction: its area is negative.
    kind = EXCLUSIVE if any(_area(border) < 0 for _, border in found) else CLOSED
    items = []
    for place, border in found:
        frame = source.frames[place]
        points = frame.position + (border * frame.spacing) @ frame.axes[:, :2].T
        items.append(item(ContourImageSequence=[_reference(source, int(place))], ContourGeometricType=kind,
                           NumberOfContourPoints=len(points),
                           ContourData=[f'{value:.{DIGITS}f}' for value in points.ravel()]))
    return items


def _area(border: np.ndarray) -> float:
    """The area within a border `[N, 2]`, above 0 where it is clockwise as an image is shown (shoelace formula)."""
    x, y = border.T
    return float((x * np.roll(y, -1) - np.roll(x, -1) * y).sum()) / 2


def _reference(source: SourceImages, place: int) -> Dataset:
    """A reference to the image of a slice."""
    image, frame = source.image_of(place)
    out = item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
    if frame is not None:
        out.ReferencedFrameNumber = frame
    return out


def _referenced_images(source: SourceImages) -> Dataset:
    """The frame of reference, study, series and images."""
    first = source.images[0]
    images = [item(ReferencedSOPClassUID=image.SOPClassUID, ReferencedSOPInstanceUID=image.SOPInstanceUID)
              for image in source.images]
    series = item(SeriesInstanceUID=first.SeriesInstanceUID, ContourImageSequence=images)
    study = item(ReferencedSOPClassUID='1.2.840.10008.3.1.2.3.1', ReferencedSOPInstanceUID=first.StudyInstanceUID,
                  RTReferencedSeriesSequence=[series])
    return item(FrameOfReferenceUID=first.FrameOfReferenceUID, RTReferencedStudySequence=[study])


def _new(source: SourceImages, uids: list[str], now: datetime.datetime) -> FileDataset:
    """A data set with the patient and study of the images."""
    first, meta = source.images[0], FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = RTStructureSetStorage, uids[1]
    meta.TransferSyntaxUID = ExplicitVRLittleEndian
    out = FileDataset('', {}, file_meta=meta, preamble=bytes(128))
    if first.get('SpecificCharacterSet'):
        out.SpecificCharacterSet = first.SpecificCharacterSet
    for name in (*PATIENT_STUDY, 'StudyInstanceUID', 'FrameOfReferenceUID', 'StudyDescription', 'PatientAge',
                 'PatientWeight', 'PatientSize'):
        if name in first:
            out[name] = first[name]
    out.SOPClassUID, out.SeriesInstanceUID, out.SOPInstanceUID = RTStructureSetStorage, *uids
    out.Modality, out.InstanceNumber, out.OperatorsName = 'RTSTRUCT', 1, ''
    out.PositionReferenceIndicator, out.ApprovalStatus = first.get('PositionReferenceIndicator') or '', 'UNAPPROVED'
    out.StructureSetDate = out.InstanceCreationDate = out.SeriesDate = f'{now:%Y%m%d}'
    out.StructureSetTime = out.InstanceCreationTime = out.SeriesTime = f'{now:%H%M%S}'
    return out
