"""A DICOM series as a volume: where its slices say it lies, and what is refused."""

import struct

import numpy as np
import pytest
import SimpleITK as sitk

from medjax.data.io import geometry, image_files
from tests.data.samples import AXIAL, CORONAL, LPS, ORIGIN, SPACING, VOXELS, refused, slices


@pytest.mark.parametrize('rows', [AXIAL, CORONAL])
@pytest.mark.parametrize('names', [None, ['d', 'c', 'b', 'a'], ['2.dcm', '10.dcm', '1.dcm', '03.dcm']])
@pytest.mark.parametrize('down', [False, True])
def test_a_dicom_series_lies_where_its_slices_say(tmp_path, rows, names, down):
    normal, array = np.cross(*rows), VOXELS[:, :, ::-1] if down else VOXELS
    places = (ORIGIN + np.arange(4)[:, None] * SPACING[2] * normal)[::-1 if down else 1]
    slices(tmp_path / 'a', places, rows, names, array)
    got = image_files.read(tmp_path / 'a')
    assert got.array.dtype.kind in 'if'
    np.testing.assert_array_equal(got.array, VOXELS)  # in HU, and sorted by place, whatever the files' names
    wanted = np.eye(4)
    wanted[:3, :3] = np.stack([*rows, normal], 1) * SPACING
    wanted[:3, 3] = ORIGIN
    np.testing.assert_allclose(got.affine, LPS @ wanted, atol=1e-4)


def test_one_dicom_slice_is_a_volume_of_one(tmp_path):
    slices(tmp_path / 'a', [ORIGIN], SliceThickness=3.0)
    got = image_files.read(tmp_path / 'a')
    np.testing.assert_array_equal(got.array, VOXELS[:, :, :1])
    np.testing.assert_allclose(got.affine[:, 3], LPS @ [*ORIGIN, 1])


def test_dicom_distances_are_those_of_the_slices_not_of_the_header(tmp_path):
    slices(tmp_path / 'a', SpacingBetweenSlices=9.0, SliceThickness=0.1)
    assert geometry.spacing(image_files.read(tmp_path / 'a').affine) == pytest.approx(SPACING, abs=1e-5)


PLACES = ORIGIN + np.arange(4)[:, None] * SPACING[2] * np.array([0.0, 0.0, 1.0])


@pytest.mark.parametrize('places, found', [
    (PLACES + [[0, 0, 0], [0, 0, 0], [0, 0, 2.5], [0, 0, 2.5]], 'slice distances from 2.500 to 5.000 mm'),
    (PLACES + [[0, 0, 0], [0, 0, 0.2], [0, 0, 0], [0, 0, 0]], 'slice distances from 2.300 to 2.700 mm'),
    (PLACES[[0, 1, 1, 2]], 'slice distances from 0.000 to 2.500 mm'),
    (PLACES[[0, 0, 0, 0]], 'slice distances from 0.000 to 0.000 mm'),
    (PLACES + np.arange(4)[:, None] * [0.0, 0.5, 0.0], 'each slice is shifted 0.500 mm sideways of the one before'),
], ids=['missing', 'uneven', 'twice', 'all at one place', 'tilted'])
def test_slices_off_an_even_grid_are_refused(tmp_path, places, found):
    slices(tmp_path / 'a', places)
    refused(tmp_path / 'a', found)


def test_rounded_places_are_even_enough(tmp_path):
    slices(tmp_path / 'a', PLACES + [[0, 0, 0], [0, 0, 0.03], [0, 0, -0.03], [0, 0, 0]])
    assert geometry.spacing(image_files.read(tmp_path / 'a').affine)[2] == pytest.approx(2.5)


def test_two_series_or_none_are_refused(tmp_path):
    slices(tmp_path / 'a')
    slices(tmp_path / 'a', names=[f'b{n}' for n in range(4)], series='2')
    refused(tmp_path / 'a', '2 DICOM series')
    (tmp_path / 'b').mkdir()
    refused(tmp_path / 'b', '0 DICOM series')
    (tmp_path / 'b' / 'a.txt').write_text('no DICOM')
    refused(tmp_path / 'b', '0 DICOM series')


def test_turned_slices_and_slices_without_place_are_refused(tmp_path):
    slices(tmp_path / 'a', PLACES[:2])
    slices(tmp_path / 'a', PLACES[2:], ((0.9, np.sqrt(1 - 0.81), 0), (-np.sqrt(1 - 0.81), 0.9, 0)), names=['c', 'd'])
    refused(tmp_path / 'a')
    slices(tmp_path / 'b', ImagePositionPatient=None)
    refused(tmp_path / 'b')
    slices(tmp_path / 'c', ImageOrientationPatient=None)
    refused(tmp_path / 'c')


@pytest.mark.parametrize('name', ['000.dcm', '002.dcm', '003.dcm'])
@pytest.mark.parametrize('cut', [1, 60, 132, 300, 600])
def test_a_slice_cut_short_is_refused_and_not_left_out(tmp_path, name, cut):
    slices(tmp_path / 'a')
    path = tmp_path / 'a' / name
    path.write_bytes(path.read_bytes()[:-cut])
    refused(tmp_path / 'a', name)


def test_a_slice_without_pixels_is_refused_and_other_objects_are_left_out(tmp_path):
    slices(tmp_path / 'a')
    slices(tmp_path / 'a', PLACES[:1], names=['report'], series='2', PixelData=None)
    slices(tmp_path / 'a', PLACES[:1], names=['DICOMDIR'], MediaStorageSOPClassUID='1.2.840.10008.1.3.10',
           PixelData=None, SeriesInstanceUID=None)
    for name, content in (('.hidden', b'DICM'), ('notes.txt', b'text'), ('empty', b'')):
        (tmp_path / 'a' / name).write_bytes(content)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS)
    slices(tmp_path / 'a', PLACES[3:], names=['003.dcm'], PixelData=None)
    refused(tmp_path / 'a', '003.dcm: no PixelData')
    slices(tmp_path / 'a', PLACES[3:], names=['003.dcm'], SeriesInstanceUID=None)
    refused(tmp_path / 'a', '003.dcm: no SeriesInstanceUID')


def test_a_slice_larger_than_its_file_is_refused(tmp_path):
    slices(tmp_path / 'a', Rows=2**16 - 1, Columns=2**16 - 1)
    refused(tmp_path / 'a', 'declares 4294836225 bytes')


@pytest.mark.parametrize('meta', [True, False])
def test_old_dicom_files_without_preamble(tmp_path, meta):
    for path in slices(tmp_path / 'a'):
        raw = path.read_bytes()
        path.write_bytes(raw[132:] if meta else raw[raw.index(b'\x08\0\x16\0UI'):])  # with and without group 2
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS)


@pytest.mark.parametrize('inner', ['defined', 'undefined', 'unknown'])
def test_elements_within_elements_are_passed_over(tmp_path, inner):
    for number, path in enumerate(slices(tmp_path / 'a')):
        uid = b'1.%d\0' % number  # of another series, such as one that is referred to
        item = struct.pack('<HH2sH', 0x20, 0xE, b'UI', 4) + uid
        if inner == 'unknown':  # elements of unknown type and length name no types in themselves
            item = struct.pack('<HHI', 0x20, 0xE, 4) + uid
        if inner == 'defined':
            body = struct.pack('<HHI', 0xFFFE, 0xE000, len(item)) + item
            body = struct.pack('<HH2sHI', 0x20, 0x1115, b'SQ', 0, len(body)) + body
        else:
            ends = struct.pack('<HHI', 0xFFFE, 0xE00D, 0) + struct.pack('<HHI', 0xFFFE, 0xE0DD, 0)
            body = struct.pack('<HH2sHI', 0x20, 0x1115, b'UN' if inner == 'unknown' else b'SQ', 0, 2**32 - 1)
            body += struct.pack('<HHI', 0xFFFE, 0xE000, 2**32 - 1) + item + ends
        raw = path.read_bytes()
        at = raw.index(b'\x28\0\x02\0US')
        path.write_bytes(raw[:at] + body + raw[at:])
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS)


def test_elements_of_no_type_are_refused(tmp_path):
    path = slices(tmp_path / 'a')[1]
    path.write_bytes(path.read_bytes().replace(b'\x18\0\x50\0DS', b'\x18\0\x50\0D-'))
    refused(tmp_path / 'a', "001.dcm: an element of type b'D-'")


@pytest.mark.parametrize('count', [1, 5001])  # a scanner's files had 2.5 MB of zeros
def test_padding_after_the_pixels_is_none_of_them(tmp_path, count):
    for path in slices(tmp_path / 'a'):
        path.write_bytes(path.read_bytes() + bytes(count))
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS)


@pytest.mark.parametrize('modes', [('>', True), ('<', False)], ids=['big-endian', 'implicit'])
def test_dicom_of_other_transfer_syntaxes(tmp_path, modes):
    order, explicit = modes
    for path in slices(tmp_path / 'a', TransferSyntaxUID='1.2.840.10008.1.2' + ('.2' if explicit else '')):
        raw = path.read_bytes()
        at = raw.index(b'\x08\0\x16\0UI')
        out, words = raw[:at], {b'US': 'H', b'OW': 'H'}
        while at < len(raw):  # element by element from explicit little-endian
            group, element, kind, size = struct.unpack_from('<HH2sH', raw, at)
            at += 8
            if kind == b'OW':
                size, at = struct.unpack_from('<I', raw, at)[0], at + 4
            value = raw[at: at + size]
            value = np.frombuffer(value, '<u2').astype(order + 'u2').tobytes() if kind in words else value
            at += size
            out += struct.pack(order + 'HH', group, element)
            if explicit:
                out += kind + struct.pack(*((order + 'HI', 0) if kind == b'OW' else (order + 'H',)), size)
            else:
                out += struct.pack('<I', size)
            out += value
        path.write_bytes(out)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a').array, VOXELS)


def test_slices_are_read_by_itk_as_well(tmp_path):
    slices(tmp_path / 'a', rows=CORONAL)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / 'a')))
    image = reader.Execute()
    got = image_files.read(tmp_path / 'a')
    np.testing.assert_array_equal(got.array, sitk.GetArrayFromImage(image).T)
    place = image.TransformIndexToPhysicalPoint((5, 3, 2))
    np.testing.assert_allclose(got.affine @ [5, 3, 2, 1], LPS @ [*place, 1], atol=1e-4)
