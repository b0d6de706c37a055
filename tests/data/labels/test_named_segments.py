"""Labels that name their segments: as SimpleITK and a test of points in polygons have them, and what is refused."""

import nibabel as nib
import numpy as np
import pydicom
import pytest
import SimpleITK as sitk
from matplotlib.path import Path
from pydicom.dataset import Dataset, FileDataset, FileMetaDataset

from medjax.data.io import image_files
from medjax.data.labels import named_segments, polygons
from medjax.data.sources.segmentation_folder import source
from medjax.errors import InputError
from tests.data import samples

CLASSES = ('background', 'Liver', 'tumour')
LAYERS = np.zeros((2, 4, 5, 6), np.uint8)  # [layer, z, y, x]
LAYERS[0, 1:3, 1:4, 1:3], LAYERS[0, 0, :2, 4:] = 2, 1
LAYERS[1, 3, 2:, 2:5] = 1


def slicer(path, layers=LAYERS, names=('tumour', 'liver', 'Liver'), where=((1, 0), (2, 0), (1, 1))):
    """Writes a segmentation as 3D Slicer does: layers of numbers, and a header that names each segment."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(np.moveaxis(layers, 0, -1)), isVector=True)
    if len(layers) == 1:
        image = sitk.GetImageFromArray(layers[0])
    image.SetSpacing(samples.SPACING)
    image.SetOrigin(samples.ORIGIN)
    for number, (name, (value, layer)) in enumerate(zip(names, where)):
        for field, text in (('Name', name), ('LabelValue', value), ('Layer', layer)):
            image.SetMetaData(f'Segment{number}_{field}', str(text))
    sitk.WriteImage(image, str(path))
    return path


def rtstruct(path, rois, kind='CLOSED_PLANAR'):
    """Writes a structure set: for each name its contours `[N, 3]` in mm."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = pydicom.uid.RTStructureSetStorage, '1.2.3'
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    data = FileDataset('', {}, file_meta=meta, preamble=bytes(128))
    data.SOPClassUID, data.SOPInstanceUID, data.SeriesInstanceUID = meta.MediaStorageSOPClassUID, '1.2.3', '1.2'
    data.Modality, data.StructureSetROISequence, data.ROIContourSequence = 'RTSTRUCT', [], []
    for number, (name, contours) in enumerate(rois.items(), 1):
        roi, contour = Dataset(), Dataset()
        roi.ROINumber, roi.ROIName = number, name
        contour.ReferencedROINumber, contour.ContourSequence = number, []
        for points in contours:
            item = Dataset()
            item.ContourGeometricType, item.NumberOfContourPoints = kind, len(points)
            item.ContourData = [f'{value:.4f}' for value in np.ravel(points)]
            contour.ContourSequence.append(item)
        data.StructureSetROISequence.append(roi)
        data.ROIContourSequence.append(contour)
    data.save_as(path, enforce_file_format=True)
    return path


@pytest.fixture
def image(tmp_path):
    samples.slices(tmp_path / 'scan')
    return image_files.read(tmp_path / 'scan')


def test_segments_of_slicer_are_classes_by_name(tmp_path, image):
    path = slicer(tmp_path / 'a.seg.nrrd', names=('tumour', 'liver', 'other'))
    label = named_segments.read(path, image, CLASSES, True)
    theirs = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / 'a.seg.nrrd')))[..., 0].T
    np.testing.assert_array_equal(label.array, np.select([theirs == 1, theirs == 2], [2, 1]))
    np.testing.assert_allclose(label.affine, samples.UPRIGHT)
    path = slicer(tmp_path / 'b.seg.nrrd', LAYERS[:1], ('liver', 'TUMOUR'), ((1, 0), (2, 0)))
    plain = named_segments.read(path, image, CLASSES)
    np.testing.assert_array_equal(plain.array, LAYERS[0].T)


def polygon(radius, slice_number, corners=17, centre=(2.6, 2.2)):
    """A star around a point of a slice, mm in LPS."""
    angles = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    reach = radius * (1 + 0.3 * np.cos(3 * angles))
    x, y = centre[0] + reach * np.cos(angles), centre[1] + reach * np.sin(angles)
    voxels = np.stack([x, y, np.full(corners, slice_number), np.ones(corners)])
    return ((np.diag([-1, -1, 1, 1]) @ samples.UPRIGHT) @ voxels)[:3].T, np.stack([x, y], 1)


def test_contours_are_filled_by_the_centres_of_voxels(tmp_path, image):
    (outer, outer_px), (hole, hole_px), (other, other_px) = polygon(1.8, 1), polygon(0.7, 1), polygon(1.1, 3)
    path = rtstruct(tmp_path / 'rs.dcm', {'liver': [outer, hole], 'Tumour ': [other], 'BODY': [polygon(2, 0)[0]]})
    assert named_segments.names_segments(path)
    label = named_segments.read(path, image, CLASSES, True)
    centres = np.argwhere(np.ones((6, 5)))
    within = [Path(points).contains_points(centres).reshape(6, 5) for points in (outer_px, hole_px, other_px)]
    expected = np.zeros((6, 5, 4), np.uint8)
    expected[:, :, 1], expected[:, :, 3] = within[0] ^ within[1], 2 * within[2]
    np.testing.assert_array_equal(label.array, expected)
    assert within[0].sum() > within[1].sum() > 0


@pytest.mark.parametrize('seed', range(8))
def test_points_in_polygons(seed):
    corners = np.random.default_rng(seed).uniform(-2, 12, (9, 2))
    centres = np.argwhere(np.ones((10, 11)))
    expected = np.logical_xor.reduce([_in_triangle(centres, corners[0], *corners[k:k + 2]) for k in range(1, 8)])
    np.testing.assert_array_equal(polygons.inside(corners, (10, 11)).ravel(), expected)


def _in_triangle(points, a, b, c):
    """By the signs of areas: a polygon is the exclusive or of the triangles of a fan."""
    signs = [(q[0] - p[0]) * (points[:, 1] - p[1]) - (q[1] - p[1]) * (points[:, 0] - p[0]) > 0
             for p, q in ((a, b), (b, c), (c, a))]
    return (signs[0] == signs[1]) & (signs[1] == signs[2])


@pytest.mark.parametrize('make, message', [
    (lambda path: slicer(path / 'a.seg.nrrd', names=('tumour', 'liver', 'spleen')), 'segments spleen; expected names'),
    (lambda path: slicer(path / 'a.seg.nrrd', names=('tumour', 'liver', 'liver')), "two segments 'liver'"),
    (lambda path: slicer(path / 'a.seg.nrrd', np.stack([LAYERS[0], LAYERS[0]]), ('liver', 'tumour'), ((2, 0), (2, 1))),
     'segments Liver and tumour overlap in 12 voxels'),
    (lambda path: rtstruct(path / 'r.dcm', {'liver': [polygon(1, 0.5)[0]]}), 'is at slice 0.50 to 0.50'),
    (lambda path: rtstruct(path / 'r.dcm', {'liver': [polygon(1, 9)[0]]}), 'expected contours on its slices'),
    (lambda path: rtstruct(path / 'r.dcm', {'liver': [polygon(1, 1)[0]]}, 'POINT'), 'a contour of type POINT'),
    (lambda path: rtstruct(path / 'r.dcm', {}), 'no segment of the classes Liver, tumour')])
def test_segments_that_are_refused(tmp_path, image, make, message):
    with pytest.raises(InputError, match=message):
        named_segments.read(make(tmp_path), image, CLASSES)


def test_a_folder_has_labels_of_both_kinds(tmp_path, image):
    slicer(tmp_path / 'a.seg.nrrd', LAYERS[:1], ('tumour', 'liver'), ((1, 0), (2, 0)))
    rtstruct(tmp_path / 'rs.dcm', {'liver': [polygon(1.8, 1)[0]]})
    nib.save(nib.Nifti1Image(image.array, image.affine), tmp_path / 'image.nii')
    (tmp_path / 'table.csv').write_text('id,image,label,split\na,image.nii,a.seg.nrrd,train\nb,scan,rs.dcm,test\n')
    data = source(classes=CLASSES, dir=str(tmp_path), table='table.csv')
    labels = [case.read()[1].array for case in data.cases]
    np.testing.assert_array_equal(labels[0], np.select([LAYERS[0].T == 1, LAYERS[0].T == 2], [2, 1]))
    assert (labels[1][:, :, 1] == 1).sum() == labels[1].sum() > 0
