"""Damaged files of every kind: `nifti.read` gives an image or an InputError, and nothing else."""

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image as Picture

from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.errors import InputError
from tests.data.samples import VOXELS, picture, slices, volume

GREY = (VOXELS[:, :, 0] & 255).astype(np.uint8)
COLOUR = (VOXELS[:, :, :3] + 1000).astype(np.uint16)


def turned(path, array):
    """Writes an image with an orientation tag."""
    exif = Picture.Exif()
    exif[0x112] = 6
    Picture.fromarray(array).save(path, exif=exif)
    return path


KINDS = {  # by name: the part of the file in which a header lies, which half of the damage goes to
    'a.nii': (volume, VOXELS, 352), 'a.nii.gz': (volume, VOXELS, 100), 'a.mgz': (volume, VOXELS, 60),
    'a.nrrd': (volume, VOXELS, 400), 'a.mha': (volume, VOXELS, 300), 'packed.nrrd': (volume, VOXELS, 400),
    'packed.mha': (volume, VOXELS, 300), 'grey.png': (picture, GREY, 60), 'colour.png': (picture, COLOUR, 60),
    'a.tif': (picture, GREY, 200), 'colour.tif': (picture, COLOUR, 200), 'a.jpg': (picture, GREY, 200),
    'a.bmp': (picture, GREY, 60), 'a.mhd': (volume, VOXELS, 300), 'a.nhdr': (volume, VOXELS, 300),
    'a.hdr': (volume, VOXELS, 348), 'a.gif': (picture, GREY, 100), 'bit.png': (picture, GREY > 100, 60),
    'turned.jpg': (turned, GREY, 120),
}


def valid(folder, name):
    """Writes a valid file; gives its bytes and how many of them are its header."""
    write, array, header = KINDS[name]
    more = {'packed': True} if name.startswith('packed') else {}
    content = write(folder / name, array, **more).read_bytes()
    return content, min(header, len(content))


@st.composite
def damage(draw, size, header):
    """What to do to a file: bytes set, a piece taken out or put in, and the end cut off."""
    at = st.one_of(st.integers(0, header - 1), st.integers(0, size - 1))
    value = st.one_of(st.sampled_from([0, 1, 127, 128, 255, ord('9'), ord('-'), ord('\n')]), st.integers(0, 255))
    return (draw(st.lists(st.tuples(at, value), max_size=8)),
            draw(st.one_of(st.none(), st.tuples(at, st.integers(0, 16), st.binary(max_size=16)))),
            draw(st.one_of(st.none(), st.integers(0, size))))


def damaged(content, changes):
    flips, piece, end = changes
    content = bytearray(content)
    for at, value in flips:
        content[at] = value
    if piece:
        at, taken, put = piece
        content[at: at + taken] = put
    return bytes(content[:end])


def check(path):
    """Reads what may be damaged: the one of two outcomes that it has."""
    try:
        image = image_files.read(path)
    except InputError as error:
        line = str(error)
        assert 'expected' in line and line.isprintable() and len(line) < 800, line
        return
    assert isinstance(image, Image) and image.array.ndim in (3, 4) and image.array.size
    assert image.array.dtype.kind in 'iuf' and np.isfinite(image.affine).all()


FEW = settings(max_examples=100, deadline=None, derandomize=True, database=None,
               suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


@pytest.mark.filterwarnings('ignore')  # Pillow's, of what it mends in a TIFF header
@pytest.mark.parametrize('name', KINDS)
def test_a_damaged_file_is_read_or_refused(tmp_path, name):
    content, header = valid(tmp_path, name)
    assert image_files.read(tmp_path / name).array.shape[:2] in (VOXELS.shape[:2], VOXELS.shape[1::-1])

    @FEW
    @given(damage(len(content), header))
    def run(changes):
        path = tmp_path / name
        path.write_bytes(damaged(content, changes))
        check(path)
    run()


def test_a_damaged_dicom_series_is_read_or_refused(tmp_path):
    paths = slices(tmp_path / 'a')
    contents = [path.read_bytes() for path in paths]
    size = min(map(len, contents))

    @settings(FEW, max_examples=60)
    @given(st.integers(0, 3), damage(size, size - VOXELS[:, :, 0].nbytes))
    def run(number, changes):
        for path, content in zip(paths, contents):
            path.write_bytes(content)
        paths[number].write_bytes(damaged(contents[number], changes))
        check(tmp_path / 'a')
    run()
