"""DICOM segmentations: what the standard's validator, dcmqi, highdicom and medjax's own reader find in them."""

import json
import subprocess

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

hd = pytest.importorskip('highdicom')

from medjax.clinic import segmentation, source  # noqa: E402
from medjax.clinic.identity import Identity  # noqa: E402
from medjax.clinic.options import DicomOptions  # noqa: E402
from medjax.clinic.predictor import encoded  # noqa: E402
from medjax.data.io import image_files  # noqa: E402
from medjax.data.io.geometry import embedded  # noqa: E402
from medjax.errors import InputError  # noqa: E402
from tests.clinic import scans  # noqa: E402
from tests.data import samples  # noqa: E402

IDENTITY = Identity('medjax segmentation unet', 12, 'ab' * 32)
LIVER = ('10200004', 'SCT', 'Liver')
VOXEL = 0.7 * 0.9 * 5 / 1000  # ml


def write(path, kind, scan, found, **options):
    made = segmentation.segmentation(kind, source.read(scan), found, DicomOptions(**options), IDENTITY)
    path.write_bytes(encoded(made))
    return pydicom.dcmread(path)


@pytest.mark.parametrize('kind', segmentation.KINDS)
def test_a_segmentation_is_valid_and_refers_to_all_its_images(tmp_path, scan, found, kind):
    data = write(tmp_path / 'seg.dcm', kind, scan, found, codes={'liver': LIVER})
    scans.check(tmp_path / 'seg.dcm')
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in scan.iterdir()]
    assert {one.ReferencedSOPInstanceUID for one in data.ReferencedSeriesSequence[0].ReferencedInstanceSequence} == {
        one.SOPInstanceUID for one in slices}
    for name in ('StudyInstanceUID', 'FrameOfReferenceUID', 'PatientID', 'PatientName', 'PatientBirthDate',
                 'AccessionNumber', 'StudyDate'):
        assert data[name].value == slices[0][name].value
    assert data.SeriesInstanceUID != slices[0].SeriesInstanceUID and data.SegmentationType == segmentation.KINDS[kind]
    first, second = data.SegmentSequence[-2:]  # a label map has its background too
    assert first.SegmentedPropertyTypeCodeSequence[0].CodeValue == '10200004' and first.SegmentLabel == 'liver'
    generic = second.SegmentedPropertyTypeCodeSequence[0]
    assert (generic.CodeValue, generic.CodingSchemeDesignator) == ('85756007', 'SCT')
    assert second.SegmentLabel == 'tumour'
    # Each frame refers to the slice at its position.
    place = {one.SOPInstanceUID: one.ImagePositionPatient for one in slices}
    for group in data.PerFrameFunctionalGroupsSequence:
        of = group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
        assert np.allclose(group.PlanePositionSequence[0].ImagePositionPatient, place[of])


@pytest.mark.parametrize('kind', ['seg', 'labelmap'])
def test_medjax_reads_its_segmentation_on_the_grid_of_the_image(tmp_path, scan, found, kind):
    write(tmp_path / 'seg.dcm', kind, scan, found)
    label = embedded(image_files.read(tmp_path / 'seg.dcm'), image_files.read(scan))
    np.testing.assert_array_equal(label.array, found.labels)


@pytest.mark.parametrize('kind', ['seg', 'labelmap'])
def test_dcmqi_measures_the_volume_by_the_positions_of_the_slices(tmp_path, scan, found, kind):
    write(tmp_path / 'seg.dcm', kind, scan, found)
    subprocess.run([scans.program('dcmqi', 'segimage2itkimage'), '--inputDICOM', tmp_path / 'seg.dcm',
                    '--outputDirectory', tmp_path, '-t', 'nii'], check=True, capture_output=True)
    volumes = np.zeros(3)
    for path in tmp_path.glob('*.nii.gz'):
        image = sitk.ReadImage(str(path))
        array = sitk.GetArrayViewFromImage(image)
        for number in np.unique(array[array > 0]):
            of = int(number) if kind == 'labelmap' else int(path.name.split('.')[0])
            volumes[of] += (array == number).sum() * np.prod(image.GetSpacing()) / 1000
    np.testing.assert_allclose(volumes[1:], [(found.labels == number).sum() * VOXEL for number in (1, 2)], rtol=1e-5)
    assert json.loads((tmp_path / 'meta.json').read_text())


def test_the_library_alone_copies_the_wrong_distance_of_the_images(scan, found, monkeypatch):
    # If this ends, the correction may go.
    monkeypatch.setattr(segmentation, '_correct_spacing', lambda *_: None)
    made = segmentation.segmentation('seg', source.read(scan), found, DicomOptions(), IDENTITY)
    assert made.SharedFunctionalGroupsSequence[0].PixelMeasuresSequence[0].SpacingBetweenSlices == 2


def test_a_fractional_segmentation_has_the_probabilities(tmp_path, scan, found):
    data = write(tmp_path / 'seg.dcm', 'fractional', scan, found)
    read = hd.seg.Segmentation.from_dataset(data)
    stored = read.get_pixels_by_source_instance([image.SOPInstanceUID for image in source.read(scan).images],
                                                rescale_fractional=True)
    np.testing.assert_allclose(stored.transpose(2, 1, 0, 3), found.probs[..., 1:], atol=0.5 / 255 + 1e-6)


def test_an_empty_segmentation_is_valid_and_empty(tmp_path, scan, found):
    found.labels[:] = 0
    write(tmp_path / 'seg.dcm', 'seg', scan, found)
    scans.check(tmp_path / 'seg.dcm')
    assert not image_files.read(tmp_path / 'seg.dcm').array.any()


def test_equal_predictions_have_equal_identifiers(tmp_path, scan, found):
    first, second = (write(tmp_path / f'{number}.dcm', 'seg', scan, found) for number in range(2))
    found.labels[0, 0, 0] = 1
    third = write(tmp_path / '3.dcm', 'seg', scan, found)
    assert first.SOPInstanceUID == second.SOPInstanceUID != third.SOPInstanceUID


def test_the_frames_of_an_image_with_several_keep_their_order(tmp_path, found):
    order = np.array([4, 0, 2, 1, 3])
    places = samples.ORIGIN + order[:, None] * np.array([0, 0, 2.5])
    samples.multi_frame(tmp_path / 'image.dcm', places, np.zeros((6, 5, 5), np.int16))
    data = pydicom.dcmread(tmp_path / 'image.dcm')
    data.StudyInstanceUID, data.FrameOfReferenceUID = '1.2.3', '1.2.3.4'
    data.save_as(tmp_path / 'image.dcm')
    label = np.zeros((6, 5, 5), np.uint8)
    label[1:3, 2, 1], label[4, 1:4, 3] = 1, 2
    write(tmp_path / 'seg.dcm', 'seg', tmp_path / 'image.dcm', type(found)(found.classes, '', label))
    back = embedded(image_files.read(tmp_path / 'seg.dcm'), image_files.read(tmp_path / 'image.dcm'))
    np.testing.assert_array_equal(back.array, label)


def test_a_radiograph_without_a_place_in_the_patient(tmp_path, found):
    scans.series(tmp_path / 'image', np.zeros((20, 16, 1), np.int16), Modality='CR', FrameOfReferenceUID=None,
                 SOPClassUID='1.2.840.10008.5.1.4.1.1.1', ImagePositionPatient=None, ImageOrientationPatient=None,
                 SliceThickness=None, SpacingBetweenSlices=None, PositionReferenceIndicator=None)
    label = found.labels[:, :, 2:3]
    data = write(tmp_path / 'seg.dcm', 'seg', tmp_path / 'image', type(found)(found.classes, '', label))
    scans.check(tmp_path / 'seg.dcm')
    np.testing.assert_array_equal(data.pixel_array.T, label[:, :, 0] == 1)
    assert 'FrameOfReferenceUID' not in data


@pytest.mark.parametrize('name', ['FrameOfReferenceUID', 'StudyInstanceUID'])
def test_images_without_an_identifier_are_refused(tmp_path, name):
    scans.series(tmp_path, np.zeros((4, 4, 3), np.int16), **{name: None})
    with pytest.raises(InputError, match=f'no {name} .*refer to their images'):
        source.read(tmp_path)
