"""The pixels that headers declare, before they are decoded."""

import gzip
import io
import zlib

import nibabel as nib
import numpy as np
import pydicom
import pytest
from PIL import Image

from medjax.data.io import declared_sizes
from medjax.errors import InputError
from tests.data import samples

COUNT = samples.VOXELS.size


@pytest.mark.parametrize('name', ['a.nii', 'a.nii.gz', 'a.hdr', 'a.mgz', 'a.nrrd', 'a.mha', 'a.mhd'])
def test_volumes_declare_their_voxels(tmp_path, name):
    path = samples.volume(tmp_path / name, samples.VOXELS.astype(np.float32))
    assert declared_sizes.check(path, COUNT) == COUNT
    message = f'{name}: {COUNT} pixels by its header; expected at most 9'
    with pytest.raises(declared_sizes.TooLargeError, match=message):
        declared_sizes.check(path, 9)


def test_pictures_and_dicom_files_declare_their_pixels(tmp_path):
    path = samples.picture(tmp_path / 'a.png', np.zeros((7, 5, 3), np.uint8))
    assert declared_sizes.check(path, 105) == 105
    one, *_ = samples.slices(tmp_path / 'series')
    assert declared_sizes.check(one, COUNT) == samples.VOXELS[:, :, 0].size
    samples.multi_frame(tmp_path / 'b.dcm')
    assert declared_sizes.check(tmp_path / 'b.dcm', COUNT) == COUNT
    (tmp_path / 'c.csv').write_text('id\n1\n')
    assert declared_sizes.check(tmp_path / 'c.csv', 0) == 0


def test_a_header_that_declares_more_than_the_file_has_is_refused(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((30000, 30000, 30000))
    (tmp_path / 'a.nii').write_bytes(header.binaryblock + bytes(100))
    elements = pydicom.dcmread(samples.slices(tmp_path / 'series')[0])
    elements.NumberOfFrames = 10**8
    elements.save_as(tmp_path / 'b.dcm')
    for name in ('a.nii', 'b.dcm'):
        with pytest.raises(declared_sizes.TooLargeError, match='pixels by its header; expected at most 1000000'):
            declared_sizes.check(tmp_path / name, 10**6)


def test_bombs_are_not_unpacked_beyond_the_limit(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((2, 2, 2))
    content = header.binaryblock + bytes(10**7)
    (tmp_path / 'a.nii.gz').write_bytes(gzip.compress(content))
    (tmp_path / 'b.nii.gz').write_bytes(gzip.compress(content[:400]) + gzip.compress(content[400:]))  # two members
    plain, *_ = samples.slices(tmp_path / 'series')
    dataset = pydicom.dcmread(plain)
    dataset.add_new(0x00091010, 'OB', bytes(10**7))
    dataset.file_meta.TransferSyntaxUID = pydicom.uid.DeflatedExplicitVRLittleEndian
    packed = io.BytesIO()
    dataset.save_as(packed, enforce_file_format=True)
    (tmp_path / 'c.dcm').write_bytes(packed.getvalue())
    for name in ('a.nii.gz', 'b.nii.gz', 'c.dcm'):
        with pytest.raises(declared_sizes.TooLargeError, match='unpacks to more than 1848576 bytes'):
            declared_sizes.check(tmp_path / name, 10**5)
        assert declared_sizes.check(tmp_path / name, 10**8) in (8, samples.VOXELS[:, :, 0].size)


@pytest.mark.parametrize('name', ['a.png', 'a.nii', 'a.nii.gz', 'a.nrrd', 'a.mha', 'a.mgz', 'a.hdr', 'a.tif'])
def test_damaged_headers_are_refused(tmp_path, name):
    (tmp_path / name).write_bytes(b'DICM damaged' * 20)
    with pytest.raises(InputError, match=name):
        declared_sizes.check(tmp_path / name, 10**6)


def test_a_picture_beyond_every_limit_is_too_large(tmp_path):
    start = b'\x89PNG\r\n\x1a\n'
    chunk = b'IHDR' + (10**5).to_bytes(4, 'big') * 2 + bytes([8, 0, 0, 0, 0])
    chunks = [(13).to_bytes(4, 'big') + chunk + zlib.crc32(chunk).to_bytes(4, 'big'), bytes(4) + b'IDAT' + bytes(4)]
    (tmp_path / 'a.png').write_bytes(b''.join([start, *chunks]))
    with pytest.raises(declared_sizes.TooLargeError, match='expected at most 100 pixels'):
        declared_sizes.check(tmp_path / 'a.png', 100)
    assert Image.MAX_IMAGE_PIXELS < 10**10
