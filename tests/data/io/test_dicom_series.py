"""DICOM series and files with several frames: values and positions of each, what is refused, choice of a series."""

import pathlib
import shutil

import numpy as np
import pydicom
import pytest
import SimpleITK as sitk

from medjax.data.io import geometry, image_files
from medjax.errors import InputError
from tests.data.samples import (
    AXIAL,
    CORONAL,
    ORIGIN,
    SPACING,
    UIDS,
    VOXELS,
    add_group,
    deflate,
    multi_frame,
    picture,
    slices,
)

LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
PLACES = ORIGIN + np.arange(4)[:, None] * SPACING[2] * np.array([0.0, 0.0, 1.0])
SLOPES = [1, 0.25, 0.003, 7.5]


def affine(rows=AXIAL, thickness=SPACING[2]):
    """Voxel to RAS+ of the samples."""
    out = np.eye(4)
    out[:3, :3] = np.stack([*rows, np.cross(*rows)], 1) * (*SPACING[:2], thickness)
    out[:3, 3] = ORIGIN
    return LPS @ out


def edit(path, **elements):
    """Sets elements of a file; None removes one."""
    data = pydicom.dcmread(path)
    for name, value in elements.items():
        if value is None:
            del data[name]
        else:
            setattr(data, name, value)
    data.save_as(path)


def refused(path, *found):
    with pytest.raises(InputError) as error:
        image_files.read(path)
    line = str(error.value)
    assert 'expected' in line and '\n' not in line and all(text in line for text in found), line
    return line


@pytest.mark.parametrize('slopes, intercepts', [
    (SLOPES, [0, 0, 0, 0]), ([1, 2.5e-5, 1.3e-5, 4e-5], [0, 0, 0, 0]), ([1, 1, 1, 1], [0, -1000, 40000, 0.5]),
], ids=['PET', 'SUV', 'intercepts'])
def test_each_slice_has_its_own_slope_and_intercept(tmp_path, slopes, intercepts):
    for path, slope, intercept in zip(slices(tmp_path / 'a'), slopes, intercepts):
        edit(path, RescaleSlope=slope, RescaleIntercept=intercept)
    got = image_files.read(tmp_path / 'a').array
    wanted = (VOXELS + 1024.0) * slopes + intercepts
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, wanted, rtol=2e-7)


@pytest.mark.parametrize('bits, slope, intercept, dtype', [
    (16, 1, -1024, np.int32), (12, 1, -1024, np.int16), (16, 1, 0, np.uint16), (12, 2, 0, np.uint16),
    (16, '1.0', '-0.0', np.uint16), (12, 1, 0.5, np.float32)])
def test_whole_slopes_and_intercepts_give_integers(tmp_path, bits, slope, intercept, dtype):
    paths = slices(tmp_path / 'a', array=VOXELS, BitsStored=bits, HighBit=bits - 1)
    for path in paths:
        edit(path, RescaleSlope=slope, RescaleIntercept=intercept)
    got = image_files.read(tmp_path / 'a').array
    assert got.dtype == dtype
    np.testing.assert_array_equal(got, (VOXELS + 1024.0) * float(slope) + float(intercept))


def test_deflated_slices_and_frames_are_those_that_were_deflated(tmp_path):
    for path in (paths := slices(tmp_path / 'a')):
        deflate(path)
    got = image_files.read(tmp_path / 'a')
    np.testing.assert_array_equal(got.array, VOXELS)
    np.testing.assert_allclose(got.affine, affine(), atol=1e-4)
    np.testing.assert_array_equal(image_files.read(paths[1]).array[..., 0], VOXELS[:, :, 1])
    np.testing.assert_array_equal(image_files.read(deflate(multi_frame(tmp_path / 'b' / 'e.dcm'))).array, VOXELS)
    whole = paths[2].read_bytes()
    at = 144 + pydicom.dcmread(paths[2]).file_meta.FileMetaInformationGroupLength  # where the deflated part begins
    for damaged, found in ((whole[:-9], 'no end'), (whole[:at], 'no SeriesInstanceUID'),
                           (whole[:at] + b'\xff' * 40, 'damaged')):
        paths[2].write_bytes(damaged)
        refused(tmp_path / 'a', paths[2].name, found)


def test_an_encoding_that_cannot_be_decoded_is_named(tmp_path):
    path = slices(tmp_path / 'a', PLACES[:1])[0]
    data = pydicom.dcmread(path)
    data.PixelData = pydicom.encaps.encapsulate([bytes(60)])
    data.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2.4.201'
    data.save_as(path)
    line = refused(path, 'encoded as High-Throughput JPEG 2000')
    assert 'damaged' not in line


@pytest.mark.parametrize('name, values', [
    ('PatientID', ['MRN1', 'MRN2']), ('Modality', ['CT', 'PT']), ('FrameOfReferenceUID', [f'{UIDS}5', f'{UIDS}6']),
    ('Units', ['BQML', 'CNTS'])])
def test_files_of_several_patients_or_kinds_of_values_are_no_series(tmp_path, name, values):
    paths = slices(tmp_path / 'a')
    edit(paths[2], **{name: values[0]})
    edit(paths[3], **{name: values[0]})
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS)  # some files do not name it
    edit(paths[3], **{name: values[1]})
    line = refused(tmp_path / 'a', 'one series with 2 values of ' + name)
    assert 'MRN' not in line


def test_slices_without_a_scale_among_scaled_ones_are_refused(tmp_path):
    paths = slices(tmp_path / 'a')
    edit(paths[1], RescaleSlope=None, RescaleIntercept='')
    refused(tmp_path / 'a', '1 of 4 slices without RescaleSlope')
    for path in paths[::2] + paths[3:]:
        edit(path, RescaleIntercept=0)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS.astype(int) + 1024)


@pytest.mark.parametrize('name', ['PixelSpacing', 'ImagerPixelSpacing'])
def test_pixel_distances_that_are_not_above_0_are_refused(tmp_path, name):
    path = slices(tmp_path / 'a', PLACES[:1], PixelSpacing=None)[0]
    edit(path, **{name: [0.8, -0.7]})
    refused(path, 'pixels -0.7 and 0.8 mm apart')


def test_signed_and_unsigned_slices_in_one_series(tmp_path):
    paths = slices(tmp_path / 'a', RescaleIntercept=0)
    edit(paths[2], PixelRepresentation=1, PixelData=VOXELS[:, :, 2].T.astype('<i2').tobytes(), RescaleIntercept=1024)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS.astype(int) + 1024)


@pytest.mark.parametrize('order', [[0, 1, 2, 3], [3, 2, 1, 0], [2, 0, 3, 1]], ids=['rising', 'falling', 'mixed'])
@pytest.mark.parametrize('rows', [AXIAL, CORONAL], ids=['axial', 'coronal'])
def test_frames_lie_where_their_functional_groups_say(tmp_path, order, rows):
    places = ORIGIN + np.arange(4)[:, None] * SPACING[2] * np.cross(*rows)
    path = multi_frame(tmp_path / 'a' / 'e.dcm', places[order], VOXELS[:, :, order], rows=rows)
    for got in (image_files.read(path), image_files.read(path.parent)):
        assert got.array.dtype == np.int16
        np.testing.assert_array_equal(got.array, VOXELS)
        np.testing.assert_allclose(got.affine, affine(rows), atol=1e-4)


def test_each_frame_has_its_own_slope(tmp_path):
    order = [2, 0, 3, 1]
    path = multi_frame(tmp_path / 'a' / 'e.dcm', PLACES[order], VOXELS[:, :, order], np.array(SLOPES)[order])
    np.testing.assert_allclose(image_files.read(path).array, VOXELS * np.array(SLOPES) + 5, rtol=3e-7)


def test_shared_functional_groups_hold_for_all_frames(tmp_path):
    path = multi_frame(tmp_path / 'a' / 'e.dcm')
    data = pydicom.dcmread(path)
    add_group(data.SharedFunctionalGroupsSequence[0], 'PixelValueTransformationSequence', RescaleSlope=3,
              RescaleIntercept=-7)
    add_group(data.PerFrameFunctionalGroupsSequence[1], 'PixelValueTransformationSequence', RescaleSlope=1,
              RescaleIntercept=0)
    data.save_as(path)
    np.testing.assert_array_equal(image_files.read(path).array,
                                  VOXELS * np.array([3, 1, 3, 3]) + np.array([-7, 0, -7, -7]))


@pytest.mark.parametrize('places, found', [
    (PLACES[[0, 1, 3]], 'slice distances from 2.500 to 5.000 mm'),
    (PLACES[[0, 1, 2, 3, 0, 1, 2, 3]], '8 at 4 positions'),
    (PLACES[[0, 0, 0]], '3 at 1 positions'),
    (PLACES + np.arange(4)[:, None] * [0.0, 0.5, 0.0], 'a tilted gantry'),
], ids=['missing', 'two time points', 'all at one place', 'tilted'])
def test_frames_off_a_regular_grid_are_refused(tmp_path, places, found):
    array = np.concatenate([VOXELS, VOXELS], 2)[:, :, : len(places)]
    refused(multi_frame(tmp_path / 'a' / 'e.dcm', places, array), found)


def test_frames_of_another_orientation_spacing_or_without_position_are_refused(tmp_path):
    for name, change, found in (
            ('b', lambda data: add_group(data.PerFrameFunctionalGroupsSequence[2], 'PlaneOrientationSequence',
                                         ImageOrientationPatient=list(np.ravel(CORONAL))), 'frame 3: its slice is rot'),
            ('c', lambda data: add_group(data.PerFrameFunctionalGroupsSequence[2], 'PixelMeasuresSequence',
                                         PixelSpacing=[2, 2]), 'frame 3: pixels 2 and 2 mm apart'),
            ('d', lambda data: delattr(data.PerFrameFunctionalGroupsSequence[2], 'PlanePositionSequence'),
             'frame 3: no ImagePositionPatient (0020,0032)'),
            ('e', lambda data: data.PerFrameFunctionalGroupsSequence.pop(), 'functional groups of 3 frames'),
            ('f', lambda data: setattr(data, 'NumberOfFrames', 5), 'functional groups of 4 frames'),
            ('g', lambda data: setattr(data, 'ImageType', ['ORIGINAL', 'PRIMARY', 'MOSAIC']), 'mosaic'),
            ('h', lambda data: setattr(data, 'NumberOfFrames', 0), 'NumberOfFrames (0028,0008) is 0')):
        path = multi_frame(tmp_path / name / 'e.dcm')
        data = pydicom.dcmread(path)
        change(data)
        data.save_as(path)
        refused(path, found)


def test_frames_without_functional_groups_are_no_volume(tmp_path):
    path = multi_frame(tmp_path / 'a' / 'e.dcm')
    edit(path, PerFrameFunctionalGroupsSequence=None, SharedFunctionalGroupsSequence=None, PixelSpacing=[1, 1])
    refused(path, 'frame 1: no ImagePositionPatient')


def test_frames_that_are_not_declared_are_refused(tmp_path):
    path = slices(tmp_path / 'a', PLACES[:1])[0]
    edit(path, PixelData=np.zeros((2, 5, 6), '<u2').tobytes())
    refused(path, '120 bytes of pixels; expected 60')


def test_the_parts_of_a_concatenation_are_one_volume(tmp_path):
    for part, which in enumerate(([0, 2], [3, 1]), 1):
        path = multi_frame(tmp_path / 'a' / f'{part}.dcm', PLACES[which], VOXELS[:, :, which])
        edit(path, ConcatenationUID=f'{UIDS}8', InConcatenationNumber=part, InConcatenationTotalNumber=2)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS)
    (tmp_path / 'a' / '2.dcm').unlink()
    refused(tmp_path / 'a', '1 parts of an image in 2 files')


def test_slices_of_other_pixel_spacing_or_size_are_refused(tmp_path):
    paths = slices(tmp_path / 'a')
    edit(paths[1], PixelSpacing=[0.8, 0.9])
    refused(tmp_path / 'a', '001.dcm: pixels 0.9 and 0.8 mm apart')
    edit(paths[1], PixelSpacing=[SPACING[1], SPACING[0]], Rows=3, PixelData=np.zeros((3, 6), '<u2').tobytes())
    refused(tmp_path / 'a', '001.dcm: a slice of (3, 6) pixels')


@pytest.mark.parametrize('value, found', [
    ([1, 0, 0, 0, 1], 'expected 6 finite numbers'), ([2, 0, 0, 0, 1, 0], 'perpendicular directions of length 1'),
    ([1, 0, 0, 1, 0, 0], 'perpendicular directions of length 1')])
def test_invalid_orientations_are_refused(tmp_path, value, found):
    edit(slices(tmp_path / 'a')[1], ImageOrientationPatient=value)
    refused(tmp_path / 'a', found)


def dose(path, offsets, places=ORIGIN, rows=AXIAL):
    """A dose distribution of four frames, in units of 0.002 Gy."""
    multi_frame(path, rows=rows, kind='RTDOSE')
    edit(path, PerFrameFunctionalGroupsSequence=None, SharedFunctionalGroupsSequence=None, BitsAllocated=32,
         BitsStored=32, HighBit=31, PixelRepresentation=0, ImagePositionPatient=list(places),
         ImageOrientationPatient=list(np.ravel(rows)), PixelSpacing=[SPACING[1], SPACING[0]], DoseGridScaling=0.002,
         GridFrameOffsetVector=list(offsets), DoseUnits='GY',
         PixelData=((VOXELS.astype(int) + 1000) * 1000).transpose(2, 1, 0).astype('<u4').tobytes())
    return path


@pytest.mark.parametrize('rows', [AXIAL, CORONAL], ids=['axial', 'coronal'])
@pytest.mark.parametrize('sign', [1, -1], ids=['rising', 'falling'])
def test_doses_are_scaled_and_lie_at_their_offsets(tmp_path, rows, sign):
    got = image_files.read(dose(tmp_path / 'a' / 'd.dcm', sign * SPACING[2] * np.arange(4), rows=rows))
    np.testing.assert_allclose(got.array, (VOXELS[:, :, ::sign].astype(int) + 1000) * 2.0, rtol=2e-7)
    wanted = affine(rows)
    if sign < 0:
        wanted[:3, 3] -= 3 * wanted[:3, 2]
    np.testing.assert_allclose(got.affine, wanted, atol=1e-4)


def test_offsets_of_doses_may_be_positions_along_z(tmp_path):
    z = ORIGIN[2] + SPACING[2] * np.arange(4)
    got = image_files.read(dose(tmp_path / 'a' / 'd.dcm', z))
    np.testing.assert_allclose(got.affine, affine(), atol=1e-4)
    refused(dose(tmp_path / 'a' / 'd.dcm', z, rows=CORONAL), 'GridFrameOffsetVector (3004,000C) starts at 7')
    refused(dose(tmp_path / 'a' / 'd.dcm', z + 1), 'GridFrameOffsetVector (3004,000C) starts at 8')
    refused(dose(tmp_path / 'a' / 'd.dcm', z[:3] - z[0]), '3 offsets of frames; expected 4')
    refused(dose(tmp_path / 'a' / 'd.dcm', [0, 2.5, 5, 10]), 'slice distances from 2.500 to 5.000 mm')


def nuclear(path, distance, **vectors):
    """A reconstruction of nuclear medicine with four slices."""
    multi_frame(path, kind='NM')
    edit(path, PerFrameFunctionalGroupsSequence=None, SharedFunctionalGroupsSequence=None,
         PixelSpacing=[SPACING[1], SPACING[0]], SpacingBetweenSlices=distance, **vectors)
    data = pydicom.dcmread(path)
    add_group(data, 'DetectorInformationSequence', ImagePositionPatient=list(ORIGIN),
              ImageOrientationPatient=list(np.ravel(AXIAL)))
    data.save_as(path)
    return path


def test_slices_of_nuclear_medicine_are_stacked_by_the_sign_of_their_distance(tmp_path):
    got = image_files.read(nuclear(tmp_path / 'a' / 'n.dcm', 2.5, SliceVector=[1, 2, 3, 4], DetectorVector=[1] * 4))
    np.testing.assert_array_equal(got.array, VOXELS)
    np.testing.assert_allclose(got.affine, affine(), atol=1e-4)
    got = image_files.read(nuclear(tmp_path / 'a' / 'n.dcm', -2.5, SliceVector=[1, 2, 3, 4]))
    np.testing.assert_array_equal(got.array, VOXELS[:, :, ::-1])
    np.testing.assert_allclose(got.affine[:3, 3], (LPS @ [*ORIGIN, 1])[:3] - [0, 0, 7.5], atol=1e-4)
    refused(nuclear(tmp_path / 'a' / 'n.dcm', 2.5, SliceVector=[1, 2, 1, 2], TimeSlotVector=[1, 1, 2, 2]),
            'frames that differ in TimeSlotVector')
    refused(nuclear(tmp_path / 'a' / 'n.dcm', 2.5, AngularViewVector=[1, 2, 3, 4]), 'AngularViewVector')
    refused(nuclear(tmp_path / 'a' / 'n.dcm', 0, SliceVector=[1, 2, 3, 4]), 'no SpacingBetweenSlices')


@pytest.mark.parametrize('name', [None, 'ImagerPixelSpacing', 'NominalScannedPixelSpacing', 'PixelAspectRatio'])
def test_the_spacing_of_a_radiograph_is_the_one_on_its_detector(tmp_path, name):
    path = slices(tmp_path / 'a', PLACES[:1], ImagePositionPatient=None, ImageOrientationPatient=None,
                  PixelSpacing=None, SliceThickness=None)[0]
    if name:
        edit(path, **{name: [3, 2] if name == 'PixelAspectRatio' else [0.3, 0.2]})
    wanted = {None: (1, 1, 1), 'PixelAspectRatio': (1, 1.5, 1)}.get(name, (0.2, 0.3, 1))
    assert geometry.spacing(image_files.read(path).affine) == pytest.approx(wanted)


def test_a_single_slice_lies_where_itk_reads_it(tmp_path):
    path = slices(tmp_path / 'a', PLACES[:1], CORONAL, SliceThickness=3)[0]
    image, got = sitk.ReadImage(str(path)), image_files.read(path)
    np.testing.assert_array_equal(got.array, sitk.GetArrayFromImage(image).T)
    place = image.TransformIndexToPhysicalPoint((5, 3, 0))
    np.testing.assert_allclose(got.affine @ [5, 3, 0, 1], LPS @ [*place, 1], atol=1e-4)
    assert geometry.spacing(got.affine)[2] == pytest.approx(3)


def archive(folder):
    """A folder as an archive exports it: a directory file at the top, and files without suffix in subfolders."""
    slices(folder, PLACES[:1], names=['DICOMDIR'], MediaStorageSOPClassUID='1.2.840.10008.1.3.10', PixelData=None,
           SeriesInstanceUID=None)
    (folder / 'README.TXT').write_text('viewer')
    place = folder / 'DICOM' / 'PAT0' / 'ST0' / 'SE0'
    place.parent.mkdir(parents=True)
    slices(place, names=['IM0', 'IM1', 'IM2', 'IM3'])
    slices(place.parent / 'REPORT', PLACES[:1], names=['IM0'], series='7', PixelData=None)
    return place


def test_an_export_of_one_series_is_an_image(tmp_path):
    archive(tmp_path / 'cd')
    np.testing.assert_array_equal(image_files.read(tmp_path / 'cd').array, VOXELS)
    assert len(image_files.files(tmp_path / 'cd')) == 7
    refused(tmp_path / 'cd' / 'DICOMDIR', 'the directory of other files')
    refused(tmp_path / 'cd' / 'DICOM' / 'PAT0' / 'ST0' / 'REPORT' / 'IM0', 'no DICOM image')


def test_one_of_several_series_is_chosen_by_number(tmp_path):
    place = archive(tmp_path / 'cd')
    slices(place.parent / 'SE1', array=VOXELS[:, :, :2], series='2')
    for path in place.iterdir():
        edit(path, SeriesNumber=12, SeriesDescription='Doe thorax, P-17 1.0')
    for path in (place.parent / 'SE1').iterdir():
        edit(path, SeriesNumber=3, PatientName='Doe^Jane', PatientID='P-17', SeriesDescription='Scout of jane doe\n')
    line = refused(tmp_path / 'cd', '2 DICOM series', '3 (CT Scout of … …, 2 files), 12 (CT', ', 4 files)',
                   f'such as {tmp_path}/cd/series=3')
    assert 'jane' not in line.lower() and 'doe' not in line.lower() and 'P-17' not in line and 'thorax' in line
    np.testing.assert_array_equal(image_files.read(tmp_path / 'cd' / 'series=12').array, VOXELS)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'cd' / 'series=3').array, VOXELS[:, :, :2])
    refused(tmp_path / 'cd' / 'series=4', '2 DICOM series')
    assert image_files.output_name(tmp_path / 'cd' / 'series=12') == 'cd_series=12.nii.gz'
    assert image_files.exists(tmp_path / 'cd' / 'series=12') and not image_files.exists(tmp_path / 'dc' / 'series=12')


def test_series_of_one_number_are_distinguished(tmp_path):
    slices(tmp_path / 'a')
    slices(tmp_path / 'a', array=VOXELS[:, :, :2], names=['x', 'y'], series='2')
    refused(tmp_path / 'a', '0.1 (CT, 4 files), 0.2 (CT, 2 files)')
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a' / 'series=0.2').array, VOXELS[:, :, :2])


def test_a_link_to_a_slice_that_is_not_there_is_refused(tmp_path):
    slices(tmp_path / 'a')[3].unlink()
    (tmp_path / 'a' / '003.dcm').symlink_to('../objects/003.dcm')
    refused(tmp_path / 'a', '003.dcm: a link to a file that is not there')
    (tmp_path / 'a' / '003.dcm').unlink()
    (tmp_path / 'a' / 'again').symlink_to('.')
    refused(tmp_path / 'a', 'does a link lead back')


@pytest.mark.parametrize('name', ['a.dcm', 'A.DCM', 'a.ima', 'a', '1.2.84'])
def test_a_single_file_is_an_image(tmp_path, name):
    path = tmp_path / name
    shutil.copy(slices(tmp_path / 's', PLACES[:1])[0], path)
    np.testing.assert_array_equal(image_files.read(path).array, VOXELS[:, :, :1])
    assert image_files.output_name(path).lower() == ('1.2.84.nii.gz' if name[0] == '1' else 'a.nii.gz')
    path.write_bytes(path.read_bytes()[:-4])
    refused(path, 'cut short?')
    picture(tmp_path / 'a.png', VOXELS[:, :, 0].astype(np.uint8)).rename(tmp_path / 'b.dcm')
    refused(tmp_path / 'b.dcm', 'not DICOM')


FILES = sorted((pathlib.Path(pydicom.__file__).parent / 'data' / 'test_files').glob('*.dcm'))
UNREAD = {  # of pydicom's own files with pixels
    'GDCMJ2K_TextGBR': 'broken data stream', 'JPEG2000-embedded-sequence-delimiter': 'cannot be read as DICOM',
    'JPEGLSNearLossless_08': 'no SeriesInstanceUID', 'JPEGLSNearLossless_16': 'no SeriesInstanceUID',
    'MR_truncated': 'expected a whole DICOM file', 'SC_rgb_jls_lossy_line': 'no SeriesInstanceUID',
    'SC_rgb_jls_lossy_sample': 'no SeriesInstanceUID', 'SC_rgb_jpeg': 'an element of type',
    'SC_rgb_rle_16bit_2frame': 'frame 1: no ImagePositionPatient', 'SC_rgb_rle_2frame': 'no ImagePositionPatient',
    'SC_rgb_rle_32bit_2frame': 'no ImagePositionPatient', 'badVR': 'invalid literal',
    'examples_ybr_color': 'no ImagePositionPatient',
    'liver_1frame': 'functional groups of 3 frames', 'liver_expb_1frame': 'functional groups of 3 frames',
    'meta_missing_tsyntax': 'no SeriesInstanceUID', 'nested_priv_SQ': 'no SeriesInstanceUID'}
OTHERS = {'JPEG-lossy', 'JPGExtended', 'MR_small_jpeg_ls_lossless', 'SC_rgb_jpeg_gdcm'}  # read by GDCM alone


@pytest.mark.filterwarnings('ignore')  # pydicom's, of its damaged files
def test_files_of_pydicom_have_the_values_that_it_reads_or_are_refused(tmp_path):
    equal = 0
    for path in FILES:
        folder = tmp_path / path.stem
        folder.mkdir()
        shutil.copy(path, folder)
        data = pydicom.dcmread(path, force=True)
        if path.stem in UNREAD:
            refused(folder, UNREAD[path.stem])
        elif 'PixelData' not in data:
            refused(folder)
        elif path.stem not in OTHERS:
            wanted = data.pixel_array
            if data.PhotometricInterpretation == 'PALETTE COLOR':
                wanted = pydicom.pixels.apply_color_lut(wanted, data)
            elif data.SamplesPerPixel == 1:
                wanted = pydicom.pixels.apply_modality_lut(wanted, data) * float(data.get('DoseGridScaling', 1))
            wanted = wanted.reshape(-1, data.Rows, data.Columns, *wanted.shape[wanted.ndim - (wanted.shape[-1] == 3):])
            np.testing.assert_allclose(image_files.read(folder).array, np.moveaxis(wanted, (0, 1, 2), (2, 1, 0)),
                                       rtol=1e-7, err_msg=path.stem)
            equal += 1
    assert equal >= 40


def test_jpeg_ls_lossless_is_what_was_encoded():
    names = {path.stem: path for path in FILES}
    np.testing.assert_array_equal(image_files.read(names['MR_small_jpeg_ls_lossless']).array[:, :, 0].T,
                                  pydicom.dcmread(names['MR_small']).pixel_array)
