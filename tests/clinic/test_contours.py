"""Structure sets: contours that enclose the pixels of a mask, in mm of the patient."""

import numpy as np
import pydicom
import pytest
from matplotlib.path import Path

pytest.importorskip('highdicom')

from medjax.clinic import contours, source
from medjax.clinic.predictor import encoded
from tests.clinic import scans
from tests.clinic.test_segmentation import IDENTITY, VOXEL


def outline_area(border):
    """The polygon's area by its triangles about the origin."""
    following = np.roll(border, -1, 0)
    return 0.5 * sum(a[0] * b[1] - a[1] * b[0] for a, b in zip(border, following))


@pytest.mark.parametrize('seed', range(12))
def test_outlines_enclose_the_pixels_of_a_mask(seed):
    mask = np.random.default_rng(seed).random((9, 11)) < [0.3, 0.5, 0.8][seed % 3]
    borders = contours.outlines(mask)
    centres = np.argwhere(np.ones_like(mask))[:, ::-1]
    inside = np.logical_xor.reduce([Path(np.vstack([border, border[:1]])).contains_points(centres)
                                    for border in borders])
    np.testing.assert_array_equal(inside.reshape(mask.shape), mask)
    assert sum(map(outline_area, borders)) == pytest.approx(mask.sum())


@pytest.fixture
def written(tmp_path, scan, found):
    """A file with the structure set of the labels."""
    path = tmp_path / 'contours.dcm'
    path.write_bytes(encoded(contours.structure_set(source.read(scan), found, IDENTITY)))
    return path


def test_a_structure_set_is_valid_and_refers_to_its_images(scan, written):
    scans.check(written)
    data = pydicom.dcmread(written)
    slices = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, scan.iterdir())}
    series, = data.ReferencedFrameOfReferenceSequence[0].RTReferencedStudySequence[0].RTReferencedSeriesSequence
    assert {item.ReferencedSOPInstanceUID for item in series.ContourImageSequence} == set(slices)
    assert [roi.ROIName for roi in data.StructureSetROISequence] == ['liver', 'tumour']
    assert data.PatientID == 'P7' and data.StudyInstanceUID == next(iter(slices.values())).StudyInstanceUID
    for roi in data.ROIContourSequence:
        for contour in roi.ContourSequence:  # is in the plane of its slice
            of = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            normal = np.cross(*np.reshape(np.array(of.ImageOrientationPatient, float), (2, 3)))
            heights = (np.reshape(np.array(contour.ContourData, float), (-1, 3)) - of.ImagePositionPatient) @ normal
            assert np.abs(heights).max() < 1e-3
    kinds = [{contour.ContourGeometricType for contour in roi.ContourSequence} for roi in data.ROIContourSequence]
    assert kinds == [{'CLOSEDPLANAR_XOR'}, {'CLOSED_PLANAR'}]  # the first has a hole


def test_the_mask_comes_back_from_contours(scan, found, written):
    """By pydicom, the affine of each slice, and a test of points in polygons."""
    data = pydicom.dcmread(written)
    slices = {one.SOPInstanceUID: one for one in map(pydicom.dcmread, scan.iterdir())}
    places = sorted(slices, key=lambda uid: -slices[uid].InstanceNumber)  # the first slice has the highest number
    for number, roi in enumerate(data.ROIContourSequence, 1):
        mask, area = np.zeros(found.labels.shape, bool), 0.0
        for contour in roi.ContourSequence:
            of = slices[contour.ContourImageSequence[0].ReferencedSOPInstanceUID]
            axes = np.reshape(np.array(of.ImageOrientationPatient, float), (2, 3))
            points = np.reshape(np.array(contour.ContourData, float), (-1, 3)) - of.ImagePositionPatient
            border = points @ axes.T / [0.7, 0.9]
            centres = np.argwhere(np.ones((of.Columns, of.Rows)))
            inside = Path(np.vstack([border, border[:1]])).contains_points(centres).reshape(of.Columns, of.Rows)
            mask[:, :, places.index(of.SOPInstanceUID)] ^= inside
            area += outline_area(border)
        np.testing.assert_array_equal(mask, found.labels == number)
        assert area * VOXEL == pytest.approx((found.labels == number).sum() * VOXEL, rel=1e-3)
