"""Labels as class numbers, other numbers and colours: read from every kind of file, and written as they were stored."""

import gzip

import nibabel as nib
import numpy as np
import pytest
from PIL import Image as Picture

from medjax import build
from medjax.data.io import image_files
from medjax.data.io.label_codes import LabelCode
from medjax.errors import InputError

TWO, THREE = ('background', 'organ'), ('background', 'organ', 'tumour')
MASK = np.random.default_rng(0).integers(0, 2, (7, 9)).astype(np.uint8)
LABEL = np.random.default_rng(1).integers(0, 3, (7, 9)).astype(np.uint8)
COLOURS = {'background': (0, 0, 0), 'organ': (255, 0, 0), 'tumour': (0, 0, 255)}


def rows_of(label):
    assert label.array.dtype == np.uint8 and label.array.ndim == 3
    return label.array[:, :, 0].T


def palette(path, numbers, *greys):
    picture = Picture.fromarray(numbers, 'P')
    picture.putpalette([value for grey in greys for value in [grey] * 3])
    picture.save(path)
    return path


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.bmp', '.gif'])
@pytest.mark.parametrize('one_bit', [True, False])
def test_masks_of_one_bit_and_of_eight_bits_are_alike(tmp_path, suffix, one_bit):
    """GIF, as DRIVE has it, stores two values with a palette in either case."""
    mask = Picture.fromarray(MASK * np.uint8(255))
    (mask.convert('1') if one_bit else mask).save(tmp_path / f'a{suffix}')
    np.testing.assert_array_equal(rows_of(LabelCode(TWO, (0, 255)).read(tmp_path / f'a{suffix}')), MASK)
    np.testing.assert_array_equal(rows_of(LabelCode(TWO, (255, 0)).read(tmp_path / f'a{suffix}')), 1 - MASK)


def test_one_bit_is_a_class_number_where_no_values_are_given(tmp_path):
    Picture.fromarray(MASK > 0).save(tmp_path / 'a.png')
    for code in (LabelCode(TWO), LabelCode(TWO, (0, 1)), LabelCode(THREE)):
        np.testing.assert_array_equal(rows_of(code.read(tmp_path / 'a.png')), MASK)


def test_an_indexed_grey_label_is_read_by_the_numbers_that_fit(tmp_path):
    path = palette(tmp_path / 'a.png', LABEL, 0, 128, 255)
    for values in (None, (0, 1, 2), (0, 128, 255)):
        np.testing.assert_array_equal(rows_of(LabelCode(THREE, values).read(path)), LABEL)


@pytest.mark.parametrize('greys, values, found', [
    ((255, 0), None, 'shows higher numbers darker than lower ones'),
    ((1, 0), (0, 1), 'stored numbers and the grey values that they stand for are both among'),
    ((0, 2), (0, 1, 2), 'stored numbers and the grey values that they stand for are both among')])
def test_an_indexed_label_that_may_mean_two_classes_is_refused(tmp_path, greys, values, found):
    path = palette(tmp_path / 'a.png', MASK, *greys)
    with pytest.raises(InputError, match=rf'a\.png: .*{found}'):
        LabelCode(TWO if values in (None, (0, 1)) else THREE, values).read(path)


def test_a_mask_of_one_bit_with_values_for_both_readings_is_refused(tmp_path):
    Picture.fromarray(MASK > 0).save(tmp_path / 'a.png')
    with pytest.raises(InputError, match='are both among'):
        LabelCode(THREE, (0, 1, 255)).read(tmp_path / 'a.png')


def volume(path, array, slope=1.0):
    """Writes NIfTI whose values are `array * slope`, with the slope in the header."""
    raw = bytearray(nib.Nifti1Image(array, np.eye(4)).to_bytes())
    raw[112:116] = np.array([slope], '<f4').tobytes()
    path.write_bytes(gzip.compress(raw))
    return path


@pytest.mark.parametrize('stored, slope', [
    (LABEL.astype(np.float32) * np.float32(0.9999999), 1.0), (LABEL.astype(np.float64) * (1 - 2e-16), 1.0),
    (LABEL.astype(np.int16) * 3, 1 / 3), (LABEL.astype(np.int16) * 255, 1 / 255),
    (LABEL + np.float32(0.0009), 1.0), (LABEL - np.float32(0.0009), 1.0)])
def test_numbers_near_a_class_number_are_that_number(tmp_path, stored, slope):
    label = LabelCode(THREE).read(volume(tmp_path / 'a.nii.gz', stored[..., None], slope))
    np.testing.assert_array_equal(label.array[..., 0], LABEL)
    code = LabelCode(TWO, (0, 255))
    label = code.read(volume(tmp_path / 'a.nii.gz', (254.9995 * MASK[..., None]).astype(np.float32)))
    np.testing.assert_array_equal(label.array[..., 0], MASK)


@pytest.mark.parametrize('value, shown', [(0.9882, '0.9882'), (1.0011, '1.0011'), (0.5, '0.5'), (np.nan, 'nan')])
def test_other_numbers_are_refused_with_all_their_digits(tmp_path, value, shown):
    array = np.zeros((3, 3, 3), np.float32)
    array[1, 1, :2] = value
    with pytest.raises(InputError, match=rf'label value {shown}, in 2 of 27 voxels; expected whole numbers, to 0\.001'):
        LabelCode(THREE).read(volume(tmp_path / 'a.nii.gz', array))


@pytest.mark.parametrize('options',
                         [{}, dict(label_values=(0, 128, 255)), dict(label_values=(7, 3, 5)), dict(colours=COLOURS),
                          dict(label_values=(0, 300, 60000))])
@pytest.mark.parametrize('name', ['a.png', 'a.nii.gz'])
def test_predictions_are_written_in_the_code_of_the_labels(tmp_path, options, name):
    encode = build.label_encoder(dict(source=dict(name='segmentation_folder', classes=THREE, dir='none', **options)))
    image_files.write(tmp_path / name, encode(LABEL.T[:, :, None]), np.eye(4))
    if name == 'a.png':
        with Picture.open(tmp_path / name) as file:
            stored = np.asarray(file)
    else:
        stored = np.squeeze(np.asarray(nib.load(tmp_path / name).dataobj)).swapaxes(0, 1)
    wanted = [COLOURS[name] for name in THREE] if 'colours' in options else options.get('label_values', (0, 1, 2))
    np.testing.assert_array_equal(stored, np.array(wanted)[LABEL])
    np.testing.assert_array_equal(rows_of(LabelCode(THREE, **options).read(tmp_path / name)), LABEL)


def test_sources_without_a_code_of_their_own_write_class_numbers():
    encode = build.label_encoder(dict(source=dict(name='simulated_lesions')))
    assert encode(LABEL) is LABEL
    with pytest.raises(InputError, match='label values -1 to 0; expected 0 to 65535'):
        image_files.write('a.png', np.array([[[-1], [0]]]), np.eye(4))
