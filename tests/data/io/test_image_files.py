"""Files of every kind: what is read back, what is refused and in which line; writing is whole or not at all."""

import errno
import gzip
import io
import os
import struct

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk
from PIL import Image as Picture

from medjax import atomic_files
from medjax.data.io import geometry, image_files
from medjax.data.io.geometry import Image
from medjax.errors import InputError
from tests.data.samples import AXIAL, CORONAL, OBLIQUE, ORIGIN, SPACING, VOXELS, picture, slices, volume

rng = np.random.default_rng(0)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])
UPRIGHT = LPS @ np.array([[0.7, 0, 0, -5.0], [0, 0.8, 0, 6.0], [0, 0, 2.5, 7.0], [0, 0, 0, 1]])


def refused(path, *parts):
    """Reads a file that must be refused in one line that has its path and the given parts."""
    with pytest.raises(InputError) as error:
        image_files.read(path)
    line = str(error.value)
    assert str(path) in line and 'expected' in line and '\n' not in line, line
    for part in parts:
        assert part in line


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz', '.mgz', '.mgh', '.nrrd', '.mha', '.mhd', '.NII.GZ'])
@pytest.mark.parametrize('dtype', [np.uint8, np.int16, np.int32, np.float32])
def test_volumes_are_read_as_written(tmp_path, suffix, dtype):
    array = (VOXELS % 250).astype(dtype)
    path = volume(tmp_path / f'a{suffix.lower()}', array).rename(tmp_path / f'a{suffix}')
    got = image_files.read(path)
    np.testing.assert_array_equal(got.array, array)
    assert got.array.dtype == dtype and got.path == str(path)
    wanted = UPRIGHT if 'm' in suffix and 'g' not in suffix or suffix == '.nrrd' else nib.load(path).affine
    np.testing.assert_allclose(got.affine, wanted, atol=1e-5)


@pytest.mark.parametrize('suffix', ['.nrrd', '.mha'])
def test_packed_volumes_are_read_as_written(tmp_path, suffix):
    path = volume(tmp_path / f'a{suffix}', VOXELS, packed=True)
    np.testing.assert_array_equal(image_files.read(path).array, VOXELS)


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
@pytest.mark.parametrize('array', [
    VOXELS, VOXELS.astype(np.float32) / 7, VOXELS.astype(np.float64) / 7, VOXELS > 0, VOXELS.astype(np.int64),
    VOXELS.astype('>i4'), np.stack([VOXELS, -VOXELS], -1), VOXELS.astype(np.uint16)[::2, ::-1],
], ids=['int16', 'float32', 'float64', 'bool', 'int64', 'big-endian', 'channels', 'strided'])
def test_written_files_are_read_back(tmp_path, suffix, array):
    path = tmp_path / 'new' / f'a{suffix}'
    image_files.write(path, array, OBLIQUE)
    got = image_files.read(path)
    np.testing.assert_array_equal(got.array, array.astype(np.float32) if array.dtype.kind == 'f' else array)
    np.testing.assert_allclose(got.affine, OBLIQUE, atol=1e-5)
    assert os.listdir(path.parent) == [path.name]


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_the_same_array_gives_the_same_bytes(tmp_path, suffix):
    for name in ('a', 'another'):
        image_files.write(tmp_path / f'{name}{suffix}', VOXELS, OBLIQUE)
    content = (tmp_path / f'a{suffix}').read_bytes()
    assert content == (tmp_path / f'another{suffix}').read_bytes()
    assert suffix == '.nii' or content[4:8] == bytes(4)  # gzip's time of writing


@pytest.mark.parametrize('slope, intercept', [(0.5, -7.0), (1.0, -1024.0), (3.0, 0.0)])
@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_slope_and_intercept(tmp_path, suffix, slope, intercept):
    file = nib.Nifti1Image(VOXELS, OBLIQUE)
    raw = bytearray(file.to_bytes())
    raw[112:120] = np.array([slope, intercept], '<f4').tobytes()
    (tmp_path / f'a{suffix}').write_bytes(gzip.compress(raw) if suffix == '.nii.gz' else raw)
    got = image_files.read(tmp_path / f'a{suffix}')
    assert got.array.dtype == np.float32
    np.testing.assert_allclose(got.array, VOXELS * slope + intercept)


@pytest.mark.parametrize('slope, intercept', [(0.0, 9.0), (np.nan, 9.0), (1.0, 0.0)])
def test_an_identity_slope_keeps_integers(tmp_path, slope, intercept):
    raw = bytearray(nib.Nifti1Image(VOXELS, OBLIQUE).to_bytes())
    raw[112:120] = np.array([slope, intercept], '<f4').tobytes()
    (tmp_path / 'a.nii').write_bytes(raw)
    got = image_files.read(tmp_path / 'a.nii').array
    np.testing.assert_array_equal(got, VOXELS)
    assert got.dtype == np.int16


@pytest.mark.parametrize('unit, times', [('meter', 1e3), ('mm', 1.0), ('micron', 1e-3), ('unknown', 1.0)])
def test_units_of_length(tmp_path, unit, times):
    file = nib.Nifti1Image(VOXELS, OBLIQUE)
    file.header.set_xyzt_units(unit)
    nib.save(file, tmp_path / 'a.nii')
    np.testing.assert_allclose(image_files.read(tmp_path / 'a.nii').affine[:3], OBLIQUE[:3] * times, rtol=1e-5)


def test_a_unit_that_is_not_in_the_standard_counts_as_mm(tmp_path):
    raw = bytearray(nib.Nifti1Image(VOXELS, OBLIQUE).to_bytes())
    raw[123] = 7
    (tmp_path / 'a.nii').write_bytes(raw)
    np.testing.assert_allclose(image_files.read(tmp_path / 'a.nii').affine, OBLIQUE, atol=1e-5)


@pytest.mark.parametrize('shape, wanted', [
    ((6, 5), (6, 5, 1)), ((6, 5, 4, 1), (6, 5, 4)), ((6, 5, 4, 1, 3), (6, 5, 4, 3)), ((6, 5, 1, 1), (6, 5, 1))])
def test_axes_of_one_are_dropped_or_made(tmp_path, shape, wanted):
    array = np.arange(np.prod(shape), dtype=np.int16).reshape(shape)
    nib.save(nib.Nifti1Image(array, OBLIQUE), tmp_path / 'a.nii')
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a.nii').array, array.reshape(wanted))


def test_nifti_2_big_endian_and_analyze(tmp_path):
    nib.save(nib.Nifti2Image(VOXELS, OBLIQUE), tmp_path / 'two.nii')
    swapped = nib.Nifti1Header(endianness='>')
    swapped.set_data_dtype(np.int16)
    (tmp_path / 'big.nii').write_bytes(nib.Nifti1Image(VOXELS, OBLIQUE, swapped).to_bytes())
    nib.save(nib.Nifti1Pair(VOXELS, OBLIQUE), tmp_path / 'pair.hdr')
    assert (tmp_path / 'big.nii').read_bytes()[:4] == (348).to_bytes(4, 'big')
    for name in ('two.nii', 'big.nii', 'pair.hdr', 'pair.img'):
        got = image_files.read(tmp_path / name)
        np.testing.assert_array_equal(got.array, VOXELS)
        np.testing.assert_allclose(got.affine, OBLIQUE, atol=1e-5)
        assert got.array.dtype == np.int16 and got.array.dtype.isnative


GREY8, GREY16 = rng.integers(0, 256, (7, 9)).astype(np.uint8), rng.integers(0, 2**16, (7, 9)).astype(np.uint16)
COLOUR8, COLOUR16 = (rng.integers(0, 256, (7, 9, 3)).astype(np.uint8),
                     rng.integers(0, 2**16, (7, 9, 3)).astype(np.uint16))


@pytest.mark.parametrize('suffix, array', [
    *(('.png', array) for array in (GREY8, GREY16, COLOUR8, COLOUR16)),
    *(('.tif', array) for array in (GREY8, GREY16, COLOUR8, COLOUR16, GREY16 / np.float32(7))),
    ('.bmp', GREY8), ('.bmp', COLOUR8)])
def test_pictures_are_columns_rows_and_one_slice(tmp_path, suffix, array):
    got = image_files.read(picture(tmp_path / f'a{suffix}', array))
    np.testing.assert_array_equal(got.array, np.swapaxes(array, 0, 1)[:, :, None])
    assert got.array.dtype == array.dtype
    np.testing.assert_array_equal(got.affine, np.eye(4))


@pytest.mark.parametrize('most', [2, 255, 256, 2**16 - 1])
def test_a_label_is_written_as_png_and_read_back(tmp_path, most):
    label = rng.integers(0, most + 1, (9, 7, 1))
    label[0, 0] = most
    image_files.write(tmp_path / 'a.png', label, np.eye(4))
    got = image_files.read(tmp_path / 'a.png').array
    np.testing.assert_array_equal(got, label)
    assert got.dtype == (np.uint8 if most < 256 else np.uint16)
    with Picture.open(tmp_path / 'a.png') as file:
        assert file.size == (9, 7)


def test_transparency_is_left_out_and_palettes_are_colours_or_numbers(tmp_path):
    Picture.fromarray(np.dstack([COLOUR8, GREY8])).save(tmp_path / 'rgba.png')
    np.testing.assert_array_equal(image_files.read(tmp_path / 'rgba.png').array[:, :, 0], COLOUR8.swapaxes(0, 1))
    Picture.fromarray(np.dstack([GREY8, GREY8 // 2])).save(tmp_path / 'la.png')
    np.testing.assert_array_equal(image_files.read(tmp_path / 'la.png').array[:, :, 0], GREY8.T)
    palette = Picture.fromarray(GREY8 % 3, 'P')
    palette.putpalette([0, 0, 0, 255, 0, 0, 0, 0, 255])
    palette.save(tmp_path / 'p.png')
    np.testing.assert_array_equal(image_files.read(tmp_path / 'p.png', indices=True).array[:, :, 0], GREY8.T % 3)
    colours = np.array([[0, 0, 0], [255, 0, 0], [0, 0, 255]])
    np.testing.assert_array_equal(image_files.read(tmp_path / 'p.png').array[:, :, 0], colours[GREY8.T % 3])


def test_pages_are_refused(tmp_path):
    Picture.fromarray(GREY8).save(tmp_path / 'a.tif', save_all=True, append_images=[Picture.fromarray(GREY8)] * 2)
    refused(tmp_path / 'a.tif', '3 pages')


def test_a_tiff_with_pixels_for_a_part_is_refused(tmp_path):
    path = picture(tmp_path / 'a.tif', GREY8)
    raw = path.read_bytes()
    height = struct.pack('<HHII', 257, 4, 1, 7)  # ImageLength, which Pillow would fill up with black
    assert raw.count(height) == 1
    path.write_bytes(raw.replace(height, struct.pack('<HHII', 257, 4, 1, 7000)))
    refused(path, '63 pixels of 9×7000')


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


def test_padding_after_the_pixels_is_none_of_them(tmp_path):
    for path in slices(tmp_path / 'a'):
        path.write_bytes(path.read_bytes() + b'\0')
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


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz', '.nrrd', '.mha', '.mgz', '.png'])
@pytest.mark.parametrize('share', [0.0, 0.02, 0.5, 0.97])
def test_files_cut_short_are_refused(tmp_path, suffix, share):
    path = tmp_path / f'a{suffix}'
    big = rng.integers(0, 2**15, (16, 15, 14)).astype(np.int16)
    picture(path, big[0].astype(np.uint16)) if suffix == '.png' else volume(path, big)
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    refused(path)


@pytest.mark.parametrize('suffix', ['.nrrd', '.mha'])
def test_packed_files_cut_short_are_refused(tmp_path, suffix):
    path = volume(tmp_path / f'a{suffix}', VOXELS, packed=True)
    whole = path.read_bytes()
    for cut in (1, 5, 40):
        path.write_bytes(whole[:-cut])
        refused(path)


def test_the_checksum_is_read_even_where_more_follows_the_voxels(tmp_path):
    packed = bytearray(gzip.compress(nib.Nifti1Image(VOXELS, OBLIQUE).to_bytes() + rng.bytes(2**20)))
    (tmp_path / 'a.nii.gz').write_bytes(packed)
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a.nii.gz').array, VOXELS)
    packed[-6] ^= 4
    (tmp_path / 'a.nii.gz').write_bytes(packed)
    refused(tmp_path / 'a.nii.gz')


def test_fewer_voxels_than_the_header_says_are_counted(tmp_path):
    raw = nib.Nifti1Image(VOXELS, OBLIQUE).to_bytes()
    (tmp_path / 'a.nii.gz').write_bytes(gzip.compress(raw[:-10]))
    refused(tmp_path / 'a.nii.gz', 'cut short: 230 of 240 bytes of voxels')


@pytest.mark.parametrize('suffix, at', [*((suffix, -40) for suffix in ('.nii.gz', '.nrrd', '.mha', '.mgz', '.png')),
                                        ('.nii.gz', -6), ('.mgz', -6)])  # the checksum itself
def test_a_flipped_bit_in_a_packed_file_is_refused(tmp_path, suffix, at):
    path = tmp_path / f'a{suffix}'
    big = rng.integers(0, 2**15, (64, 64, 64)).astype(np.int16)  # more than is read ahead
    picture(path, big[0].astype(np.uint16)) if suffix == '.png' else volume(path, big, packed=True)
    whole = bytearray(path.read_bytes())
    whole[at] ^= 4
    path.write_bytes(whole)
    refused(path)


def header(**fields):
    """A NIfTI file with some header fields overwritten, which nibabel would refuse to write."""
    raw = bytearray(nib.Nifti1Image(VOXELS, OBLIQUE).to_bytes())
    whole = np.frombuffer(raw, nib.nifti1.header_dtype, 1)
    for name, value in fields.items():
        whole[name] = value
    return bytes(raw)


@pytest.mark.parametrize('fields, found', [
    (dict(dim=(3, 6, 0, 4, 1, 1, 1, 1)), 'shape (6, 0, 4)'),
    (dict(dim=(3, -6, 5, 4, 1, 1, 1, 1)), 'shape (-6, 5, 4)'),
    (dict(dim=(3, 30000, 30000, 30000, 1, 1, 1, 1)), 'declares 54000000000352 bytes'),
    (dict(dim=(9, 6, 5, 4, 1, 1, 1, 1)), ''),
    (dict(dim=(5, 2, 2, 2, 3, 5, 1, 1)), 'shape (2, 2, 2, 3, 5)'),
    (dict(datatype=32, bitpix=64, dim=(3, 1, 5, 4, 1, 1, 1, 1)), 'complex64'),
    (dict(datatype=77), ''),
    (dict(vox_offset=-1), 'offset -1'),
    (dict(magic=b'ni1\0'), 'in another file'),
    (dict(magic=b'abcd'), ''),
    (dict(srow_x=(np.nan, 0, 0, 0)), 'its affine'),
    (dict(srow_x=(0, 0, 0, 0)), 'its affine'),
    (dict(srow_y=(0.8, -0.36, 0.1, 0)), 'its affine'),  # parallel to x
    (dict(srow_x=(1e20, 0, 0, 0)), 'its affine'),
    (dict(sform_code=0, qform_code=1, pixdim=(1, 0, 1, 1, 1, 1, 1, 1)), 'pixdim [0.0, 1.0, 1.0]'),
])
def test_invalid_headers_are_refused(tmp_path, fields, found):
    (tmp_path / 'a.nii').write_bytes(header(**fields))
    refused(tmp_path / 'a.nii', found)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    refused(tmp_path / 'none.nii', 'no such file')
    (tmp_path / 'a.txt').write_text('text')
    refused(tmp_path / 'a.txt', 'not an image file')
    (tmp_path / 'a.nii').write_text('text')
    refused(tmp_path / 'a.nii', 'not NIfTI')
    (tmp_path / 'a.nii.gz').write_bytes((tmp_path / 'a.nii').read_bytes())
    refused(tmp_path / 'a.nii.gz')
    picture(tmp_path / 'a.png', GREY8).rename(tmp_path / 'b.nrrd')
    refused(tmp_path / 'b.nrrd')
    refused(tmp_path / f'{"a" * 300}.nii', 'no such file')
    (tmp_path / 'link.nii').symlink_to(tmp_path / 'none')
    refused(tmp_path / 'link.nii', 'no such file')


def test_unreadable_files_are_refused(tmp_path, monkeypatch):
    path = volume(tmp_path / 'a.nii')

    def deny(*args, **kwargs):
        raise PermissionError(errno.EACCES, 'Permission denied')
    monkeypatch.setattr(type(path), 'open', deny)
    refused(path, 'Permission denied')


def test_nan_and_infinite_voxels_are_counted(tmp_path):
    array = VOXELS.astype(np.float32)
    array[1, 2, 3], array[5, 4, 3] = np.nan, -np.inf
    image_files.write(tmp_path / 'a.nii', array, OBLIQUE)
    with pytest.raises(InputError, match=r'a\.nii: 2 voxels are NaN or infinite, the first at \(1, 2, 3\)'):
        image_files.check_finite(image_files.read(tmp_path / 'a.nii'))
    image_files.check_finite(Image(VOXELS, OBLIQUE))
    image_files.check_finite(Image(VOXELS.astype(np.float32), OBLIQUE))


def test_doubles_beyond_float32_are_infinite(tmp_path):
    nib.save(nib.Nifti1Image(np.full((2, 2, 2), 1e300), OBLIQUE), tmp_path / 'a.nii')
    with pytest.raises(InputError, match='8 voxels are NaN or infinite'):
        image_files.check_finite(image_files.read(tmp_path / 'a.nii'))


@pytest.mark.parametrize('value, dtype, shown', [
    (3, np.uint8, '3; expected whole numbers 0 to 2'), (-1, np.int16, '-1; expected whole numbers 0 to 2'),
    (254, np.uint8, '254; expected'), (2**40 + 1, np.int64, '1099511627777; expected'),
    (3.0001, np.float32, '3; expected whole numbers 0 to 2'), (1e30, np.float32, '1e\\+30; expected'),
    (0.5, np.float32, '0.5, in 1 of 27 voxels; expected whole numbers'), (np.nan, np.float32, 'nan, in 1 of 27')])
def test_label_values_that_name_no_class_are_refused(value, dtype, shown):
    label = np.zeros((3, 3, 3), dtype)
    label[1, 1, 1] = value
    with pytest.raises(InputError, match=rf'a\.nii: label value {shown}'):
        image_files.check_label(Image(label, np.eye(4), 'a.nii'), 3)


def test_labels_become_uint8():
    label = np.array([0, 1, 2.0], np.float32)[:, None, None]
    got = image_files.check_label(Image(label, np.eye(4), 'a.nii'), 3)
    assert got.array.dtype == np.uint8 and got.path == 'a.nii'
    np.testing.assert_array_equal(got.array, label)
    with pytest.raises(InputError, match='expected a label image'):
        image_files.check_label(Image(label[..., None], np.eye(4), 'a.nii'), 3)


def test_a_label_on_another_grid_prints_both_geometries(tmp_path):
    image_files.write(tmp_path / 'image.nii', VOXELS, UPRIGHT)
    image_files.write(tmp_path / 'label.nii', VOXELS[:, :, 1:], UPRIGHT)
    with pytest.raises(InputError) as error:
        geometry.check_pair(image_files.read(tmp_path / 'image.nii'), image_files.read(tmp_path / 'label.nii'))
    assert str(error.value) == (
        f'{tmp_path}/label.nii: not on the grid of its image {tmp_path}/image.nii: '
        '6×5×3 voxels of 0.7×0.8×2.5 mm, axes LPS, origin (5, -6, 7); '
        'expected 6×5×4 voxels of 0.7×0.8×2.5 mm, axes LPS, origin (5, -6, 7)')


@pytest.mark.parametrize('name', ['a.nii.gz', 'a.png'])
@pytest.mark.parametrize('step', ['replace', 'write'])
def test_a_write_that_fails_leaves_the_file_as_it_was(tmp_path, monkeypatch, name, step):
    label = np.zeros((4, 3, 1), np.uint8)
    image_files.write(tmp_path / name, label, np.eye(4))
    before = (tmp_path / name).read_bytes()

    def full(*args):
        raise OSError(errno.ENOSPC, 'No space left on device')
    class Full(io.BufferedWriter):
        write = full
    if step == 'replace':
        monkeypatch.setattr(os, 'replace', full)
    else:
        monkeypatch.setattr(atomic_files, 'open', lambda path, mode, opener: Full(
            io.FileIO(path, mode.replace('b', ''), opener=opener)), raising=False)
    with pytest.raises(InputError, match=f'{name}: cannot be written: no space left'):
        image_files.write(tmp_path / name, label + 1, np.eye(4))
    assert (tmp_path / name).read_bytes() == before and os.listdir(tmp_path) == [name]


def test_a_file_where_a_folder_should_be_is_named(tmp_path):
    (tmp_path / 'a').write_text('')
    with pytest.raises(InputError, match='b.nii: cannot be written'):
        image_files.write(tmp_path / 'a' / 'b.nii', VOXELS, OBLIQUE)
    (tmp_path / 'c.nii').mkdir()
    with pytest.raises(InputError, match='c.nii: cannot be written'):
        image_files.write(tmp_path / 'c.nii', VOXELS, OBLIQUE)
    assert sorted(os.listdir(tmp_path)) == ['a', 'c.nii']


@pytest.mark.parametrize('name', ['a.nrrd', 'a', 'a.jpg', 'a.mgz'])
def test_other_kinds_are_not_written(tmp_path, name):
    with pytest.raises(InputError, match='expected .nii, .nii.gz or .png'):
        image_files.write(tmp_path / name, VOXELS, OBLIQUE)
    assert not os.listdir(tmp_path)


def test_names_without_their_suffix(tmp_path):
    for name, suffix, stem in (('a.nii.gz', '.nii.gz', 'a'), ('b.1.NII', '.nii', 'b.1'), ('c.gz', '', 'c.gz'),
                               ('d.nhdr', '.nhdr', 'd'), ('e.tiff', '.tiff', 'e'), ('f', '', 'f')):
        assert (image_files.suffix(tmp_path / name), image_files.stem(tmp_path / name)) == (suffix, stem)
    for name in ('a.nii', '.a.nii', 'a.txt', 'a.hdr', 'a.img'):
        (tmp_path / name).write_text('')
    (tmp_path / 'folder.nii').mkdir()
    assert {path.name for path in tmp_path.iterdir() if image_files.is_image(path)} == {'a.nii', 'a.hdr'}


def test_slices_are_read_by_itk_as_well(tmp_path):
    slices(tmp_path / 'a', rows=CORONAL)
    reader = sitk.ImageSeriesReader()
    reader.SetFileNames(reader.GetGDCMSeriesFileNames(str(tmp_path / 'a')))
    image = reader.Execute()
    got = image_files.read(tmp_path / 'a')
    np.testing.assert_array_equal(got.array, sitk.GetArrayFromImage(image).T)
    place = image.TransformIndexToPhysicalPoint((5, 3, 2))
    np.testing.assert_allclose(got.affine @ [5, 3, 2, 1], LPS @ [*place, 1], atol=1e-4)
