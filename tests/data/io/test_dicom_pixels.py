"""Values of DICOM pixels: encodings, bits, tables, mappings and photometric interpretations."""

import numpy as np
import pydicom
import pytest
from pydicom import uid

from medjax.data.io import image_files
from medjax.errors import InputError
from tests.data.samples import ORIGIN, SPACING, VOXELS, add_group, add_palette, multi_frame, slices

STORED = VOXELS[:, :, 0].T.astype(int) + 1024  # rows, columns
PLACES = ORIGIN + np.arange(4)[:, None] * SPACING[2] * np.array([0.0, 0.0, 1.0])


def one(folder, **elements):
    """Writes a file with one slice of 12 bits, and elements that pydicom encodes."""
    path = slices(folder, PLACES[:1], RescaleIntercept=None, RescaleSlope=None, BitsStored=12, HighBit=11)[0]
    data = pydicom.dcmread(path)
    for name, value in elements.items():
        setattr(data, name, value)
        if data[name].VR == 'US or SS':
            data[name].VR = 'US'
    data.save_as(path)
    return path


def values(path):
    return image_files.read(path).array[:, :, 0]


def refused(path, found):
    with pytest.raises(InputError, match='expected') as error:
        image_files.read(path)
    assert found in str(error.value), error.value


@pytest.mark.parametrize('modality', ['DX', 'CR', 'MG', 'OT', 'CT', 'PT', 'MR'])
def test_low_values_that_are_white_are_inverted_where_values_have_no_unit(tmp_path, modality):
    path = one(tmp_path / 'a', PhotometricInterpretation='MONOCHROME1', Modality=modality)
    np.testing.assert_array_equal(values(path), (STORED if modality in ('CT', 'PT', 'MR') else 4095 - STORED).T)


def test_inverted_values_keep_slope_and_sign(tmp_path):
    path = one(tmp_path / 'a', PhotometricInterpretation='MONOCHROME1', Modality='DX', RescaleSlope=2,
               RescaleIntercept=-10)
    np.testing.assert_array_equal(values(path), (2 * (4095 - STORED) - 10).T)
    path = one(tmp_path / 'a', PhotometricInterpretation='MONOCHROME1', Modality='DX', PixelRepresentation=1,
               PixelData=((STORED - 2048) & 0xFFF).astype('<u2').tobytes())
    np.testing.assert_array_equal(values(path), (-1 - (STORED - 2048)).T)


def test_bits_beside_the_stored_ones_are_none_of_the_value(tmp_path):
    path = one(tmp_path / 'a', PixelData=(STORED | 0xA000).astype('<u2').tobytes())  # such as an overlay
    np.testing.assert_array_equal(values(path), STORED.T)


def test_high_bits_above_the_stored_ones_are_refused(tmp_path):
    refused(one(tmp_path / 'a', HighBit=13), 'HighBit (0028,0102) is 13; expected 11')


@pytest.mark.parametrize('kind, samples', [('HSV', 3), ('YBR_PARTIAL_422', 3), ('MONOCHROME2', 3), ('RGB', 1)])
def test_other_kinds_of_colour_are_refused(tmp_path, kind, samples):
    path = one(tmp_path / 'a', PhotometricInterpretation=kind, SamplesPerPixel=samples, PlanarConfiguration=0,
               PixelData=np.zeros((samples, *STORED.shape), '<u2').tobytes())
    refused(path, f'PhotometricInterpretation (0028,0004) {kind}; expected')


def test_the_modality_table_replaces_stored_values(tmp_path):
    table = (np.arange(4096) ** 2 // 400).astype('<u2')
    path = one(tmp_path / 'a')
    data = pydicom.dcmread(path)
    add_group(data, 'ModalityLUTSequence', LUTDescriptor=[4096, 0, 16], LUTData=table.tobytes(), ModalityLUTType='OD')
    data.ModalityLUTSequence[0]['LUTDescriptor'].VR = 'US'
    data.ModalityLUTSequence[0]['LUTData'].VR = 'OW'
    data.save_as(path)
    np.testing.assert_array_equal(values(path), table[STORED].T)


@pytest.mark.parametrize('bits', [8, 16])
def test_palettes_are_colours(tmp_path, bits):
    tables, stored = np.random.default_rng(1).integers(0, 2 ** bits, (3, 256)), (STORED % 256).astype(np.uint8)
    path = one(tmp_path / 'a', Modality='US', BitsAllocated=8, BitsStored=8, HighBit=7, PixelData=stored.tobytes())
    add_palette(path, tables, bits)
    got = values(path)
    assert got.dtype == f'u{bits // 8}'
    np.testing.assert_array_equal(got, tables[:, stored].transpose(2, 1, 0))


def test_padding_is_a_value_like_others(tmp_path):
    path = one(tmp_path / 'a', PixelPaddingValue=0, RescaleSlope=1, RescaleIntercept=-1024)
    data = pydicom.dcmread(path)
    stored = STORED.astype('<u2')
    stored[0] = 0
    data.PixelData = stored.tobytes()
    data.save_as(path)
    np.testing.assert_array_equal(values(path), (stored.astype(int) - 1024).T)


def mapped(path, *mappings, **more):
    """A series of four frames with real world value mappings."""
    path = multi_frame(path, **more)
    data = pydicom.dcmread(path)
    items = []
    for slope, intercept, unit in mappings:
        code, item = pydicom.Dataset(), pydicom.Dataset()
        code.CodeValue = unit
        item.RealWorldValueSlope, item.RealWorldValueIntercept = slope, intercept
        item.MeasurementUnitsCodeSequence = pydicom.Sequence([code])
        items.append(item)
    data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence = pydicom.Sequence(items)
    data.save_as(path)
    return path


def test_real_world_values_are_those_of_images_without_rescaling(tmp_path):
    got = image_files.read(mapped(tmp_path / 'a' / 'e.dcm', (0.5, 3, 'ms'))).array
    np.testing.assert_allclose(got, VOXELS * 0.5 + 3)
    got = image_files.read(mapped(tmp_path / 'b' / 'e.dcm', (0.5, 3, 'ms'), slopes=[1, 1, 2, 1])).array
    np.testing.assert_array_equal(got, VOXELS * np.array([1, 1, 2, 1]) + 5)
    refused(mapped(tmp_path / 'c' / 'e.dcm', (0.5, 3, 'ms'), (1, 0, '1')), '2 real world value mappings')
    path = mapped(tmp_path / 'd' / 'e.dcm', (0.5, 3, 'ms'))
    data = pydicom.dcmread(path)
    del data.SharedFunctionalGroupsSequence[0].RealWorldValueMappingSequence[0].RealWorldValueSlope
    data.save_as(path)
    refused(path, 'a real world value mapping (0040,9096) by a table')


@pytest.mark.parametrize('dtype, name', [('<f4', 'FloatPixelData'), ('<f8', 'DoubleFloatPixelData')])
def test_floating_point_pixels(tmp_path, dtype, name):
    path = multi_frame(tmp_path / 'a' / 'e.dcm')
    data = pydicom.dcmread(path)
    wanted = (VOXELS / 7).astype(np.float32)
    for gone in ('PixelData', 'BitsStored', 'HighBit', 'PixelRepresentation'):
        del data[gone]
    data.BitsAllocated = 8 * np.dtype(dtype).itemsize
    setattr(data, name, wanted.transpose(2, 1, 0).astype(dtype).tobytes())
    data.save_as(path)
    np.testing.assert_array_equal(image_files.read(path.parent).array, wanted)


@pytest.mark.parametrize('slope, intercept', [(0, 0), ('nan', 0), (1, 'inf')])
def test_slopes_that_lose_the_values_are_refused(tmp_path, slope, intercept):
    path = slices(tmp_path / 'a', RescaleSlope=slope, RescaleIntercept=intercept)[0]
    refused(path.parent, 'slopes and intercepts')


def test_more_pixels_than_a_colour_has_are_refused(tmp_path):
    refused(one(tmp_path / 'a', SamplesPerPixel=4, PixelData=bytes(240)), 'SamplesPerPixel (0028,0002) is 4')


def test_run_length_encoded_colours_of_16_bits(tmp_path):
    array = np.random.default_rng(2).integers(0, 2 ** 16, (5, 6, 3)).astype('<u2')
    path = one(tmp_path / 'a', SamplesPerPixel=3, PhotometricInterpretation='RGB', PlanarConfiguration=0,
               BitsStored=16, HighBit=15, PixelData=array.tobytes())
    data = pydicom.dcmread(path)
    data.compress(uid.RLELossless)
    data.save_as(path)
    np.testing.assert_array_equal(values(path), array.transpose(1, 0, 2))


def test_a_lossless_jpeg_without_its_end_is_refused(tmp_path):
    path = tmp_path / 'a.dcm'
    data = pydicom.dcmread(pydicom.data.get_testdata_file('SC_rgb_jpeg_gdcm.dcm'))
    frame, = pydicom.encaps.generate_frames(data.PixelData, number_of_frames=1)
    data.PixelData = pydicom.encaps.encapsulate([frame[:-600]])
    data.save_as(path)
    refused(path, 'the JPEG of frame 1 has no end')
    data.PhotometricInterpretation = 'YBR_FULL'
    data.save_as(path)
    refused(path, 'colours as YBR_FULL')
