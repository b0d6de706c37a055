"""Structured reports: the values, codes and references that other programs find in them."""

import numpy as np
import pydicom
import pytest

hd = pytest.importorskip('highdicom')

from medjax.clinic import source, structured_report  # noqa: E402
from medjax.clinic.options import DicomOptions  # noqa: E402
from medjax.clinic.predictor import encoded  # noqa: E402
from medjax.core.contracts import Findings  # noqa: E402
from tests.clinic import scans  # noqa: E402
from tests.clinic.test_segmentation import IDENTITY, LIVER, VOXEL, write  # noqa: E402


def read(path, scan, found, segmentation=None, **options):
    """The groups of a report after it was written and checked, read by highdicom."""
    made = structured_report.report(source.read(scan), found, segmentation, DicomOptions(**options), IDENTITY)
    path.write_bytes(encoded(made))
    scans.check(path)
    return hd.sr.srread(path)


def values(group):
    return {item.name.meaning: (item.value, item.unit.value) for item in group.get_measurements()}


def test_volumes_and_diameters_refer_to_segments(tmp_path, scan, found):
    segmentation = write(tmp_path / 'seg.dcm', 'seg', scan, found)
    report = read(tmp_path / 'sr.dcm', scan, found, segmentation, codes={'liver': LIVER}, lesions=('tumour',))
    groups = report.content.get_volumetric_roi_measurement_groups()
    liver, tumour, lesion = groups
    assert liver.finding_type.value == '10200004' and tumour.finding_type.value == '85756007'
    assert values(liver) == {'Volume': (pytest.approx((found.labels == 1).sum() * VOXEL), 'ml')}
    assert values(tumour)['Volume'][0] == pytest.approx((found.labels == 2).sum() * VOXEL)
    assert values(lesion).keys() == {'Volume', 'Long Axis', 'Short Axis'}
    assert values(lesion)['Volume'] == values(tumour)['Volume']
    assert values(lesion)['Long Axis'][0] == pytest.approx(np.hypot(4 * 0.7, 3 * 0.9))
    numbers = [item.ReferencedSOPSequence[0].ReferencedSegmentNumber for group in groups
               for item in group[0].ContentSequence if item.ConceptNameCodeSequence[0].CodeValue == '121191']
    assert numbers == [1, 2, 2]
    data = pydicom.dcmread(tmp_path / 'sr.dcm')
    evidence = {item.ReferencedSOPInstanceUID for study in data.CurrentRequestedProcedureEvidenceSequence
                for series in study.ReferencedSeriesSequence for item in series.ReferencedSOPSequence}
    slices = {pydicom.dcmread(path).SOPInstanceUID for path in scan.iterdir()}
    assert evidence == {*slices, segmentation.SOPInstanceUID}
    assert (data.PatientID, data.StudyInstanceUID) == ('P7', f'{scans.UIDS}.1')


def test_classes_have_their_probabilities(tmp_path, scan):
    found = Findings(('normal', 'a class with a name of many letters'), '', class_probs=np.array([0.25, 0.75]))
    report = read(tmp_path / 'sr.dcm', scan, found)
    image, normal, other = report.content.get_image_measurement_groups()
    assert image.get_qualitative_evaluations()[0].value.meaning == 'a class with a name of many letters'
    assert values(normal) == {'Probability': (0.25, '1')} and values(other) == {'Probability': (0.75, '1')}
    assert (normal.finding_type.value, normal.finding_type.scheme_designator) == ('normal', '99MEDJAX')


def test_boxes_in_a_volume_are_rectangles_on_their_slices(tmp_path, scan):
    boxes = np.array([[2.0, 3.0, 1.0, 8.5, 6.0, 4.0], [0.0, 0.0, 6.6, 3.0, 4.0, 6.9]])
    found = Findings(('nodule',), '', boxes=boxes, box_labels=np.array([0, 0]), scores=np.array([0.9, 0.4]))
    report = read(tmp_path / 'sr.dcm', scan, found, codes={'nodule': ('27925004', 'SCT', 'Nodule')})
    groups = report.content.get_volumetric_roi_measurement_groups()
    assert [values(group)['Score of the detector'][0] for group in groups] == [0.9, 0.4]
    count, = report.content.get_image_measurement_groups()
    assert count.finding_type.value == '27925004' and values(count) == {'Quantity': (2, '1')}
    place = {pydicom.dcmread(path).SOPInstanceUID: pydicom.dcmread(path).InstanceNumber for path in scan.iterdir()}
    for group, slices in zip(groups, ((1, 2, 3), (6,))):
        regions = group.roi
        found_at = [9 - place[region.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID]
                    for region in regions]
        assert tuple(found_at) == slices
    corners = groups[0].roi[0].value
    assert corners.min(0).tolist() == [2, 3] and corners.max(0).tolist() == [8.5, 6] and len(corners) == 5


def test_an_image_without_boxes_has_a_report_that_says_so(tmp_path, scan):
    found = Findings(('nodule', 'mass'), '', boxes=np.zeros((0, 6)), box_labels=np.zeros(0, int), scores=np.zeros(0))
    report = read(tmp_path / 'sr.dcm', scan, found)
    assert [(group.finding_type.value, values(group)) for group in report.content.get_image_measurement_groups()] == [
        ('nodule', {'Quantity': (0, '1')}), ('mass', {'Quantity': (0, '1')})]
    assert not report.content.get_volumetric_roi_measurement_groups()


def test_a_box_in_a_radiograph_is_a_region_of_it(tmp_path):
    scans.series(tmp_path / 'image', np.zeros((12, 10, 1), np.int16))
    found = Findings(('mass',), '', boxes=np.array([[1.0, 2.0, 5.0, 9.0]]), box_labels=np.array([0]),
                     scores=np.array([0.5]))
    report = read(tmp_path / 'sr.dcm', tmp_path / 'image', found)
    group, = report.content.get_planar_roi_measurement_groups()
    assert group.roi.value.min(0).tolist() == [2, 1] and group.roi.value.max(0).tolist() == [9, 5]  # column and row
