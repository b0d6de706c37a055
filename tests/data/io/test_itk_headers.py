"""Headers of NRRD and MetaImage that ITK would read otherwise than they say."""

import gzip
import re
import zlib

import numpy as np
import pytest

from medjax.data.io import image_files, itk_headers
from medjax.errors import InputError
from tests.data.samples import VOXELS

RAW = VOXELS.tobytes(order='F')
PACKED = zlib.compress(RAW)
META = ['ObjectType = Image', 'NDims = 3', 'BinaryData = True', 'BinaryDataByteOrderMSB = False', 'DimSize = 6 5 4',
        'ElementType = MET_SHORT']
NRRD = ['NRRD0005', 'type: int16', 'dimension: 3', 'sizes: 6 5 4', 'endian: little']
FLIPPED = bytearray(PACKED)
FLIPPED[30] ^= 16


def meta(path, *fields, data=RAW):
    """Writes MetaImage; the voxels of .mhd are in a file of their own."""
    local = path.suffix == '.mha'
    text = '\n'.join([*META, *fields, f'ElementDataFile = {"LOCAL" if local else "voxels"}', ''])
    path.write_bytes(text.encode() + (data if local else b''))
    if not local:
        (path.parent / 'voxels').write_bytes(data)
    return path


def nrrd(path, *fields, data=RAW, encoding='raw'):
    path.write_bytes('\n'.join([*NRRD, f'encoding: {encoding}', *fields, '', '']).encode() + data)
    return path


@pytest.mark.parametrize('space', ['3D-right-handed', '3D-left-handed', 'scanner-xyz'])
def test_a_space_without_anatomical_directions(tmp_path, space):
    places = ['space directions: (1,0,0) (0,1,0) (0,0,2)', 'space origin: (1,2,3)']
    refused(nrrd(tmp_path / 'a.nrrd', f'space: {space}', *places), f'space {space}')
    unnamed = image_files.read(nrrd(tmp_path / 'b.nrrd', 'space dimension: 3', *places))  # LPS, as ITK has it
    np.testing.assert_array_equal(unnamed.affine @ [0, 0, 1, 1], [-1, -2, 5, 1])


def refused(path, found):
    with pytest.raises(InputError, match=f'{re.escape(found)}.*; expected'):
        image_files.read(path)


@pytest.mark.parametrize('fields, found', [
    (['ElementSpacing = -1 2 3'], 'elementspacing -1 2 3'), (['ElementSize = 1 0 3'], 'elementsize 1 0 3'),
    (['ElementSpacing = nan 2 3'], 'elementspacing nan 2 3'),
    (['ElementToIntensityFunctionSlope = 2'], 'elementtointensityfunctionslope 2'),
    (['ElementToIntensityFunctionOffset = 7'], 'elementtointensityfunctionoffset 7'),
    (['HeaderSize = 4'], 'HeaderSize 4 with voxels in the same file')])
def test_fields_of_metaimage_that_itk_ignores(tmp_path, fields, found):
    refused(meta(tmp_path / 'a.mha', *fields), found)


@pytest.mark.parametrize('fields', [
    ['ElementSpacing = 1 2 3', 'ElementToIntensityFunctionSlope = 1'], ['HeaderSize = -1'], ['HeaderSize = 0']])
def test_fields_of_metaimage_that_change_nothing(tmp_path, fields):
    np.testing.assert_array_equal(image_files.read(meta(tmp_path / 'a.mha', *fields)).array, VOXELS)


@pytest.mark.parametrize('suffix, size, data, found', [
    ('.mha', None, PACKED, 'CompressedDataSize none'), ('.mha', 0, PACKED, 'CompressedDataSize 0'),
    ('.mha', len(PACKED) + 9, PACKED, f'CompressedDataSize {len(PACKED) + 9} of {len(PACKED)} bytes'),
    ('.mha', len(PACKED) - 9, PACKED, 'bytes in its compressed voxels'),
    ('.mha', len(zlib.compress(RAW[:-9])), zlib.compress(RAW[:-9]), '231 bytes in its compressed voxels'),
    ('.mhd', None, PACKED[:-9], 'bytes in its compressed voxels'), ('.mhd', None, bytes(FLIPPED), 'cannot be read'),
    ('.mhd', len(PACKED), PACKED[:-9], f'CompressedDataSize {len(PACKED)} of')])
def test_compressed_voxels_of_metaimage_are_whole(tmp_path, suffix, size, data, found):
    fields = ['CompressedData = True', *([] if size is None else [f'CompressedDataSize = {size}'])]
    refused(meta(tmp_path / f'a{suffix}', *fields, data=data), found)


@pytest.mark.parametrize('suffix, fields', [('.mha', [f'CompressedDataSize = {len(PACKED)}']), ('.mhd', [])])
def test_whole_compressed_voxels_of_metaimage(tmp_path, suffix, fields):
    path = meta(tmp_path / f'a{suffix}', 'CompressedData = True', *fields, data=PACKED)
    np.testing.assert_array_equal(image_files.read(path).array, VOXELS)


@pytest.mark.parametrize('fields, found', [
    (['spacings: -1 2 3'], 'spacings -1 2 3'), (['spacings: nan 2 3'], 'spacings nan 2 3'),
    (['axis mins: 0 0 0', 'axis maxs: 6 10 12'], 'axis mins and axis maxs'),
    (['spacings: 1 2 3', 'units: "um" "um" "um"'], 'units um, um, um'),
    (['space: left-posterior-superior', 'space directions: (1,0,0) (0,2,0) (0,0,3)', 'space units: "mm" "mm" "m"'],
     'units m')])
def test_fields_of_nrrd_that_itk_ignores(tmp_path, fields, found):
    refused(nrrd(tmp_path / 'a.nrrd', *fields), found)


def test_fields_of_nrrd_that_change_nothing(tmp_path):
    path = nrrd(tmp_path / 'a.nrrd', 'spacings: 1 2 3', 'axis mins: 0 0 0', 'units: "mm" "mm" "mm"',
                data=gzip.compress(RAW), encoding='gzip')
    np.testing.assert_array_equal(image_files.read(path).array, VOXELS)
    path.write_bytes(path.read_bytes()[:-12])
    refused(path, 'bytes in its compressed voxels')
    (tmp_path / 'b.nrrd').write_bytes(b'\n'.join([
        b'NRRD0005', b'type: uint8', b'dimension: 4', b'sizes: 3 6 5 4', b'kinds: vector domain domain domain',
        b'encoding: raw', b'spacings: nan 1 2 3', b'', bytes(360)]))
    assert image_files.read(tmp_path / 'b.nrrd').array.shape == (6, 5, 4, 3)


def test_names_of_fields(tmp_path):
    path = nrrd(tmp_path / 'a.nrrd', 'axis mins: 0 0 0', 'units:="um"', '# note: no field')
    assert itk_headers.read_fields(path)['axismins'] == '0 0 0'
    assert not {'note', 'units'} & set(itk_headers.read_fields(path))
