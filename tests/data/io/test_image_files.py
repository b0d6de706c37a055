"""Image files of every kind: what is read back, which values mean what; writing is whole or not at all."""

import errno
import gzip
import io
import os
import struct

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax import atomic_files
from medjax.data.io import geometry, image_files
from medjax.data.io.geometry import Image
from medjax.errors import InputError
from tests.data.samples import (
    OBLIQUE,
    UPRIGHT,
    VOXELS,
    picture,
    refused,
    volume,
)

rng = np.random.default_rng(0)


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


def test_scaled_integers_of_32_bits_are_as_exact_as_the_result(tmp_path):
    stored = VOXELS.astype(np.int32) + 2**30
    raw = bytearray(nib.Nifti1Image(stored, OBLIQUE).to_bytes())
    head = nib.Nifti1Header(bytes(raw[:348]), check=False)
    head['scl_slope'], head['scl_inter'] = 1, -2**30
    (tmp_path / 'a.nii').write_bytes(head.binaryblock + raw[348:])
    np.testing.assert_array_equal(image_files.read(tmp_path / 'a.nii').array, VOXELS)


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
