"""Damaged and unreadable image files: refused in one line that says what is wrong."""

import errno
import gzip

import nibabel as nib
import numpy as np
import pytest

from medjax.data.io import image_files
from tests.data.samples import (
    OBLIQUE,
    VOXELS,
    picture,
    refused,
    volume,
)

rng = np.random.default_rng(0)


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
    picture(tmp_path / 'a.png', np.zeros((7, 9), np.uint8)).rename(tmp_path / 'b.nrrd')
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
