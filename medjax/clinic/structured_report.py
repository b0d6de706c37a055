"""Measurements, classes and boxes as a structured report by template TID 1500 (PS3.16), written by highdicom."""

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any

import highdicom as hd
import numpy as np
import pydicom
from highdicom.sr import CodedConcept, Measurement, TrackingIdentifier
from pydicom.sr.codedict import codes

from medjax.clinic.identity import Identity
from medjax.clinic.options import SCHEME, TISSUE, DicomOptions
from medjax.clinic.segmentation import concept
from medjax.clinic.source import SourceImages, identifier
from medjax.core.contracts import Findings
from medjax.data.io.geometry import Image, spacing, to_canonical
from medjax.metrics.lesions import connected_parts, diameters

NUMBER = 9010  # of the series
PROCEDURE = ('363679005', 'SCT', 'Imaging procedure')
PROBABILITY = ('PROBABILITY', SCHEME, 'Probability')
SCORE = ('SCORE', SCHEME, 'Score of the detector')
PREDICTED = ('PREDICTED', SCHEME, 'Most probable class')
MILLILITRE, MILLIMETRE = ('ml', 'UCUM', 'milliliter'), ('mm', 'UCUM', 'millimeter')
COUNT = ('246205007', 'SCT', 'Quantity')
NO_UNIT = ('1', 'UCUM', 'no units')
LONGEST, SHORT = ('103339001', 'SCT', 'Long Axis'), ('103340004', 'SCT', 'Short Axis')


def report(source: SourceImages, found: Findings, segmentation: pydicom.Dataset | None, options: DicomOptions,
           identity: Identity) -> pydicom.Dataset:
    """A report of what was found.

    Args:
      source: the images.
      found: labels, class_probs or boxes. Labels give each class's volume in ml, and the diameters of lesions in mm;
        classes their probabilities; boxes a rectangle on each slice that they contain the centre of, and their score.
      segmentation: of the labels; the volumes refer to its segments.
      options: the classes' codes, and which classes are lesions.
      identity: of the run.
    """
    uids = [identifier('sr', part, identity.digest, repr(options), found.line, *_content(found),
                       *[image.SOPInstanceUID for image in source.images]) for part in ('series', 'instance')]
    make = _Groups(source, found, options, uids[1], identity)
    if found.labels is not None and segmentation is not None:
        groups = list(make.segments(segmentation))
    else:
        groups = list(make.boxes() if found.boxes is not None else make.classes())
    device = hd.sr.ObserverContext(
        observer_type=codes.DCM.Device, observer_identifying_attributes=hd.sr.DeviceObserverIdentifyingAttributes(
            uid=identifier('device', identity.digest), name=identity.name, manufacturer_name='medjax',
            model_name=identity.name))
    content = hd.sr.MeasurementReport(
        observation_context=hd.sr.ObservationContext(observer_device_context=device),
        procedure_reported=concept(PROCEDURE), imaging_measurements=groups)
    evidence = [*source.images, *([] if segmentation is None else [segmentation])]
    equipment = {name: value for name, value in identity.equipment.items() if name != 'manufacturer'}
    return hd.sr.Comprehensive3DSR(
        evidence=evidence, content=content[0], series_instance_uid=uids[0], series_number=NUMBER,
        sop_instance_uid=uids[1], instance_number=1, manufacturer='medjax', is_complete=True, is_final=False,
        series_description=f'{identity.name}: report'[:64], **equipment)


def class_concept(name: str, options: DicomOptions) -> CodedConcept:
    """The code of a class: that of the config, else its name in this software's private scheme."""
    value = name if len(name) <= 16 else hashlib.sha256(name.encode()).hexdigest()[:16]
    return concept(options.codes.get(name, (value, SCHEME, name[:64])))


def _content(found: Findings) -> Iterator[Any]:
    """The arrays of findings that a report says something about."""
    for array in (found.labels, found.class_probs, found.boxes, found.box_labels, found.scores):
        if array is not None:
            yield np.asarray(array)


class _Groups:
    """The measurement groups of a report."""

    def __init__(self, source: SourceImages, found: Findings, options: DicomOptions, uid: str, identity: Identity):
        self.source, self.found, self.options, self.uid = source, found, options, uid
        self.algorithm = hd.sr.AlgorithmIdentification(name=identity.name, version=identity.version)

    def segments(self, segmentation: pydicom.Dataset) -> Iterator[Any]:
        """The volume of each segment, and the diameters of each lesion."""
        image = to_canonical(Image(self.found.labels, self.source.affine))
        steps = spacing(image.affine)
        for number, name in enumerate(self.found.classes[1:], 1):
            mask = image.array == number
            yield self._segment(segmentation, number, name, name, [_volume(np.count_nonzero(mask), steps)])
            if name not in self.options.lesions:
                continue
            for part, (_, voxels) in enumerate(connected_parts(mask), 1):
                longest, short = diameters(voxels, steps)
                yield self._segment(segmentation, number, name, f'{name} {part}', [
                    _volume(len(voxels), steps), _measurement(LONGEST, longest, MILLIMETRE),
                    _measurement(SHORT, short, MILLIMETRE)])

    def _segment(self, segmentation: pydicom.Dataset, number: int, name: str, label: str,
                 measurements: Sequence[Measurement]) -> Any:
        reference = hd.sr.ReferencedSegment(
            segmentation.SOPClassUID, segmentation.SOPInstanceUID, number,
            source_series=hd.sr.SourceSeriesForSegmentation(self.source.images[0].SeriesInstanceUID))
        return hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
            self._tracking(label), referenced_segment=reference, algorithm_id=self.algorithm,
            finding_type=concept(self.options.codes.get(name, TISSUE)), measurements=measurements)

    def _of_image(self, label: str, **content: Any) -> Any:
        """A group about all images together."""
        images = [hd.sr.SourceImageForMeasurementGroup(image.SOPClassUID, image.SOPInstanceUID)
                  for image in self.source.images]
        return hd.sr.MeasurementsAndQualitativeEvaluations(self._tracking(label), algorithm_id=self.algorithm,
                                                           source_images=images, **content)

    def classes(self) -> Iterator[Any]:
        """The most probable class, and the probability of each one."""
        probs, names = self.found.class_probs, self.found.classes
        best = hd.sr.QualitativeEvaluation(concept(PREDICTED), class_concept(names[int(np.argmax(probs))],
                                                                             self.options))
        yield self._of_image('image', qualitative_evaluations=[best])
        for name, prob in zip(names, probs):
            yield self._of_image(name, finding_type=class_concept(name, self.options),
                                 measurements=[_measurement(PROBABILITY, prob, NO_UNIT)])

    def boxes(self) -> Iterator[Any]:
        """The number of boxes of each class, 0 too, and each box as rectangles on its slices, with its score."""
        for number, name in enumerate(self.found.classes):
            count = np.count_nonzero(np.asarray(self.found.box_labels) == number)
            yield self._of_image(f'{name}: all', finding_type=class_concept(name, self.options),
                                 measurements=[_measurement(COUNT, count, NO_UNIT)])
        for number, (box, label, score) in enumerate(zip(self.found.boxes, self.found.box_labels, self.found.scores),
                                                     1):
            name = self.found.classes[int(label)]
            regions = [self._rectangle(box, place) for place in self._slices(box)]
            arguments = dict(tracking_identifier=self._tracking(f'{name} {number}'), algorithm_id=self.algorithm,
                             finding_type=class_concept(name, self.options),
                             measurements=[_measurement(SCORE, score, NO_UNIT)])
            if len(box) == 4:
                yield hd.sr.PlanarROIMeasurementsAndQualitativeEvaluations(referenced_region=regions[0], **arguments)
            else:
                yield hd.sr.VolumetricROIMeasurementsAndQualitativeEvaluations(referenced_regions=regions, **arguments)

    def _slices(self, box: np.ndarray) -> range:
        """The slices whose centre a box contains; the nearest one where it contains none."""
        if len(box) == 4:
            return range(1)
        most = len(self.source.frames) - 1
        low, high = (int(np.ceil(box[end] - 0.5)) for end in (2, 5))
        nearest = min(max(int(np.floor((box[2] + box[5]) / 2)), 0), most)
        return range(max(low, 0), min(high, most + 1)) if max(low, 0) < min(high, most + 1) else range(nearest,
                                                                                                      nearest + 1)

    def _rectangle(self, box: np.ndarray, place: int) -> Any:
        image, frame = self.source.image_of(place)
        (top, left, bottom, right) = box if len(box) == 4 else (box[1], box[0], box[4], box[3])
        left, right = np.clip([left, right], 0, image.Columns)
        top, bottom = np.clip([top, bottom], 0, image.Rows)
        corners = np.array([[left, top], [right, top], [right, bottom], [left, bottom], [left, top]], float)
        where = hd.sr.SourceImageForRegion(image.SOPClassUID, image.SOPInstanceUID, None if frame is None else [frame])
        return hd.sr.ImageRegion('POLYLINE', corners, where)

    def _tracking(self, label: str) -> TrackingIdentifier:
        return TrackingIdentifier(uid=identifier(self.uid, label), identifier=label)


def _volume(count: int, steps: Sequence[float]) -> Measurement:
    return _measurement(('118565006', 'SCT', 'Volume'), count * float(np.prod(steps)) / 1000, MILLILITRE)


def _measurement(name: Sequence[str], value: float, unit: Sequence[str]) -> Measurement:
    return Measurement(concept(name), float(f'{float(value):.9g}'), concept(unit))
