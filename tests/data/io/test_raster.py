"""2D images pixel by pixel: depths, palettes, inverted grey, several pictures in a file, size and orientation.

The files are written byte by byte after the PNG and TIFF specifications, or by Pillow.
"""

import struct
import zlib

import numpy as np
import pytest
from PIL import Image as Picture
from PIL import ImageOps

from medjax.data.io import image_files, raster
from medjax.errors import InputError

rng = np.random.default_rng(0)
BITS = np.array([[0, 1, 1, 0, 1, 0, 0, 1], [1, 1, 0, 0, 0, 1, 0, 1]], np.uint8)
GREY8 = rng.integers(0, 256, (7, 9)).astype(np.uint8)
GREY16 = rng.integers(0, 2**16, (7, 9)).astype(np.uint16)
COLOUR16 = rng.integers(0, 2**16, (7, 9, 3)).astype(np.uint16)
ALPHA16 = rng.integers(0, 2**16, (7, 9, 2)).astype(np.uint16)
FLOATS = (GREY16 / np.float32(7)).astype(np.float32)
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # SampleFormat of TIFF


def rows_of(path, indices=False):
    """The image as `[row, column, …]`."""
    return image_files.read(path, indices).array[:, :, 0].swapaxes(0, 1)


def png(path, rows, depth, colour_type, width, exif=b'', palette=b''):
    """Writes a PNG from the bytes of its rows (PNG 2003): header, rows without filter, an orientation after them."""
    def chunk(name, content):
        return struct.pack('>I', len(content)) + name + content + struct.pack('>I', zlib.crc32(name + content))
    head = struct.pack('>IIBBBBB', width, len(rows), depth, colour_type, 0, 0, 0)
    content = zlib.compress(b''.join(b'\0' + row for row in rows))
    path.write_bytes(b'\x89PNG\r\n\x1a\n' + chunk(b'IHDR', head) + (chunk(b'PLTE', palette) if palette else b'')
                     + chunk(b'IDAT', content)
                     + (chunk(b'eXIf', exif) if exif else b'') + chunk(b'IEND', b''))
    return path


def test_an_index_beyond_the_palette(tmp_path):
    path = png(tmp_path / 'a.png', [bytes([0, 1, 2, 7])], 8, 3, 4, palette=bytes([10, 20, 30, 200, 100, 50]))
    with pytest.raises(InputError, match='a.png: index 7 in a palette of 2 colours; expected'):
        rows_of(path)
    np.testing.assert_array_equal(rows_of(path, indices=True), [[0, 1, 2, 7]])


def tiff(path, array, bits, kind=UNSIGNED, white_is_zero=False, colour=False, orientation=1, more=()):
    """Writes an uncompressed TIFF of one strip (TIFF 6.0), `[row, column]` or `[row, column, channel]`."""
    count, content = array.shape[2] if array.ndim == 3 else 1, array.tobytes()
    tags = {256: array.shape[1], 257: array.shape[0], 258: [bits] * count, 259: 1,
            262: 2 if colour else int(not white_is_zero), 273: 0, 274: orientation, 277: count, 278: array.shape[0],
            279: len(content), 339: [kind] * count, **dict(more)}
    start = 8 + 2 + 12 * len(tags) + 4
    entries, lists = b'', b''
    for tag, value in sorted(tags.items()):
        values = value if isinstance(value, list) else [value]
        if tag == 273:
            entries += b'STRIP'
        elif tag == 279:
            entries += struct.pack('<HHII', tag, 4, 1, value)
        elif len(values) > 2:
            entries += struct.pack('<HHII', tag, 3, len(values), start + len(lists))
            lists += struct.pack(f'<{len(values)}H', *values)
        else:
            entries += struct.pack('<HHI4s', tag, 3, len(values), struct.pack(f'<{len(values)}H', *values))
    entries = entries.replace(b'STRIP', struct.pack('<HHII', 273, 4, 1, start + len(lists)))
    path.write_bytes(struct.pack('<2sHIH', b'II', 42, 8, len(tags)) + entries + struct.pack('<I', 0) + lists + content)
    return path


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.bmp', '.gif'])
def test_one_bit_is_black_and_white_as_in_eight_bits(tmp_path, suffix):
    Picture.fromarray(BITS * np.uint8(255)).convert('1').save(tmp_path / f'bit{suffix}')
    Picture.fromarray(BITS * np.uint8(255)).save(tmp_path / f'byte{suffix}')
    found = [rows_of(tmp_path / f'{name}{suffix}') for name in ('bit', 'byte')]
    for array in found:
        assert array.dtype == np.uint8
        np.testing.assert_array_equal(array if array.ndim == 2 else array[..., 0], BITS * 255)


@pytest.mark.parametrize('suffix', ['.png', '.tif', '.bmp'])
def test_one_bit_is_zero_and_one_as_a_label(tmp_path, suffix):
    Picture.fromarray(BITS > 0).save(tmp_path / f'a{suffix}')
    np.testing.assert_array_equal(rows_of(tmp_path / f'a{suffix}', indices=True), BITS)
    assert raster.stores_indices(tmp_path / f'a{suffix}')


@pytest.mark.parametrize('depth', [2, 4])
def test_two_and_four_bits_are_scaled_grey_and_plain_labels(tmp_path, depth):
    most = 2**depth - 1
    numbers = np.arange(16).reshape(2, 8) % (most + 1)
    rows = [int(''.join(f'{n:0{depth}b}' for n in row), 2).to_bytes(depth, 'big') for row in numbers]
    path = png(tmp_path / 'a.png', rows, depth, 0, 8)
    np.testing.assert_array_equal(rows_of(path), numbers * (255 // most))
    np.testing.assert_array_equal(rows_of(path, indices=True), numbers)
    assert raster.stores_indices(path)
    for name, white_is_zero, wanted in (('b.tif', False, numbers), ('w.tif', True, most - numbers)):
        packed = np.frombuffer(b''.join(rows), np.uint8).reshape(2, -1)
        tiff(tmp_path / name, packed, depth, white_is_zero=white_is_zero, more={256: 8})
        np.testing.assert_array_equal(rows_of(tmp_path / name), wanted * (255 // most))
        np.testing.assert_array_equal(rows_of(tmp_path / name, indices=True), wanted)


def test_grey_of_16_bits_with_alpha_keeps_16_bits(tmp_path):
    path = png(tmp_path / 'a.png', [row.astype('>u2').tobytes() for row in ALPHA16], 16, 4, 9)
    for indices in (False, True):
        found = rows_of(path, indices)
        np.testing.assert_array_equal(found, ALPHA16[..., 0])
        assert found.dtype == np.uint16
    label = np.stack([np.eye(4), np.full((4, 4), 2**16 - 1)], -1)  # a mask of 0 and 1, opaque
    path = png(tmp_path / 'label.png', [row.astype('>u2').tobytes() for row in label], 16, 4, 4)
    np.testing.assert_array_equal(rows_of(path, True), np.eye(4))


@pytest.mark.parametrize('array, bits, kind, wanted', [
    (GREY16, 16, UNSIGNED, 65535 - GREY16.astype(int)), (GREY8, 8, UNSIGNED, 255 - GREY8.astype(int))])
def test_a_tiff_in_which_white_is_zero_is_inverted(tmp_path, array, bits, kind, wanted):
    found = rows_of(tiff(tmp_path / 'a.tif', array, bits, kind, white_is_zero=True))
    np.testing.assert_array_equal(found, wanted)
    assert found.dtype == array.dtype


def test_a_tiff_of_one_bit_in_which_white_is_zero_is_inverted(tmp_path):
    path = tiff(tmp_path / 'a.tif', np.packbits(BITS, 1), 1, white_is_zero=True, more={256: 8})
    np.testing.assert_array_equal(rows_of(path), 255 - BITS * 255)
    np.testing.assert_array_equal(rows_of(path, indices=True), 1 - BITS)


@pytest.mark.parametrize('array, bits, kind', [
    (GREY8.view(np.int8), 8, SIGNED), (GREY16.view(np.int16), 16, SIGNED), (GREY16, 16, UNSIGNED),
    (GREY16.astype(np.uint32) * 65537, 32, UNSIGNED), (GREY16.astype(np.int32) * -32767, 32, SIGNED),
    (FLOATS, 32, FLOAT)], ids=['int8', 'int16', 'uint16', 'uint32', 'int32', 'float32'])
@pytest.mark.parametrize('orientation', [1, 6])
def test_numbers_of_a_tiff(tmp_path, array, bits, kind, orientation):
    found = rows_of(tiff(tmp_path / 'a.tif', array, bits, kind, orientation=orientation))
    np.testing.assert_array_equal(found, array if orientation == 1 else np.rot90(array, -1))
    assert found.dtype.kind == array.dtype.kind


@pytest.mark.parametrize('array, bits, kind, options', [
    (FLOATS.astype(np.float64), 64, FLOAT, {}), (GREY16.astype(np.float16), 16, FLOAT, {}),
    (FLOATS, 32, FLOAT, dict(white_is_zero=True)), (GREY16.astype(np.uint64), 64, UNSIGNED, {}),
    (COLOUR16.astype(np.float32), 32, FLOAT, dict(colour=True)), (ALPHA16, 16, UNSIGNED, dict(more={338: 2})),
    (COLOUR16, 16, UNSIGNED, dict(colour=True, orientation=3)),
    (np.dstack([COLOUR16, GREY16]), 16, UNSIGNED, dict(more={262: 5})),  # CMYK
    (np.dstack([COLOUR16, GREY16]), 16, UNSIGNED, dict(colour=True, more={338: 1}))],  # multiplied by its alpha
    ids=['float64', 'float16', 'inverted float', 'uint64', 'float colour', 'alpha', 'turned', 'CMYK', 'multiplied'])
def test_kinds_of_tiff_that_are_not_supported_are_named_and_not_called_damaged(tmp_path, array, bits, kind, options):
    path = tiff(tmp_path / 'a.tif', array, bits, kind, **options)
    with pytest.raises(InputError, match=rf'a\.tif: .*BitsPerSample \({bits},.*; expected') as error:
        image_files.read(path)
    assert 'damaged' not in str(error.value)


def test_colours_of_16_bits(tmp_path):
    np.testing.assert_array_equal(rows_of(tiff(tmp_path / 'a.tif', COLOUR16, 16, colour=True)), COLOUR16)
    path = png(tmp_path / 'a.png', [row.astype('>u2').tobytes() for row in COLOUR16], 16, 2, 9)
    np.testing.assert_array_equal(rows_of(path), COLOUR16)


def test_cmyk_becomes_red_green_and_blue(tmp_path):
    cmyk = rng.integers(0, 256, (7, 9, 4)).astype(np.uint8)
    Picture.fromarray(cmyk, 'CMYK').save(tmp_path / 'a.tif')
    wanted = 255 * (1 - cmyk[..., :3] / 255) * (1 - cmyk[..., 3:] / 255)
    np.testing.assert_allclose(rows_of(tmp_path / 'a.tif'), wanted, atol=1)


def test_the_one_frame_of_a_gif_is_read_and_more_are_refused(tmp_path):
    palette = Picture.fromarray(BITS, 'P')
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.save(tmp_path / 'a.gif')
    np.testing.assert_array_equal(rows_of(tmp_path / 'a.gif'), np.array([[10, 20, 30], [200, 100, 50]])[BITS])
    np.testing.assert_array_equal(rows_of(tmp_path / 'a.gif', indices=True), BITS)
    Picture.fromarray(GREY8).save(tmp_path / 'b.gif', save_all=True, append_images=[Picture.fromarray(255 - GREY8)])
    with pytest.raises(InputError, match=r'b\.gif: 2 pages; expected one image'):
        image_files.read(tmp_path / 'b.gif')


def test_the_first_picture_of_a_jpeg_with_two_is_read(tmp_path):
    first = Picture.fromarray(np.full((16, 24, 3), 77, np.uint8))
    first.save(tmp_path / 'a.jpg', 'MPO', save_all=True, append_images=[first.resize((8, 8)).point(lambda v: 200)])
    with Picture.open(tmp_path / 'a.jpg') as file:
        assert file.format == 'MPO' and file.n_frames == 2
    np.testing.assert_array_equal(rows_of(tmp_path / 'a.jpg'), np.full((16, 24, 3), 77))


def test_an_image_of_200_million_pixels_is_read_and_a_larger_one_refused_with_its_size(tmp_path, monkeypatch):
    assert raster.PIXELS >= 2e8 and Picture.MAX_IMAGE_PIXELS == raster.PIXELS
    path = tmp_path / 'a.png'
    Picture.fromarray(GREY8).save(path)
    for most, found in ((62, '9×7 pixels; expected at most 62'), (20, r'exceeds limit.*; expected at most 20')):
        monkeypatch.setattr(raster, 'PIXELS', most)
        monkeypatch.setattr(Picture, 'MAX_IMAGE_PIXELS', 63 if most == 62 else most)
        with pytest.raises(InputError, match=rf'a\.png: too large: .*{found}') as error:
            image_files.read(path)
        assert 'damaged' not in str(error.value)


@pytest.mark.slow
def test_a_slide_of_200_million_pixels(tmp_path):
    array = np.zeros((10000, 20000), np.uint8)
    array[100:400, 100:700] = 200
    Picture.fromarray(array).save(tmp_path / 'a.png')
    np.testing.assert_array_equal(rows_of(tmp_path / 'a.png'), array)


@pytest.mark.parametrize('orientation', range(10))
def test_orientation_tags_turn_an_image_as_pillow_does(tmp_path, orientation):
    exif = Picture.Exif()
    exif[0x112] = orientation
    for suffix, array in (('.jpg', np.dstack([GREY8] * 3)), ('.png', GREY8), ('.png', GREY16), ('.png', BITS)):
        path = tmp_path / f'a{suffix}'
        Picture.fromarray(array if array is not BITS else BITS > 0).save(path, exif=exif)
        with Picture.open(path) as file:
            wanted = np.asarray(ImageOps.exif_transpose(file))
        np.testing.assert_array_equal(rows_of(path), wanted * np.uint8(255) if wanted.dtype == bool else wanted)
    if orientation == 6:  # by hand: the first stored row is the right column, from top to bottom
        path = png(tmp_path / 'hand.png', [bytes([1, 2, 3]), bytes([4, 5, 6])], 8, 0, 3,
                   b'MM\0*\0\0\0\x08' + struct.pack('>HHHIHHI', 1, 0x112, 3, 1, 6, 0, 0))
        np.testing.assert_array_equal(rows_of(path), [[4, 1], [5, 2], [6, 3]])
    path = png(tmp_path / 'deep.png', [row.astype('>u2').tobytes() for row in COLOUR16], 16, 2, 9,
               b'MM\0*\0\0\0\x08' + struct.pack('>HHHIHHI', 1, 0x112, 3, 1, orientation, 0, 0))
    wanted = {2: COLOUR16[:, ::-1], 3: COLOUR16[::-1, ::-1], 4: COLOUR16[::-1], 5: COLOUR16.swapaxes(0, 1),
              6: np.rot90(COLOUR16, -1), 7: np.rot90(COLOUR16, 2).swapaxes(0, 1), 8: np.rot90(COLOUR16)}
    np.testing.assert_array_equal(rows_of(path), wanted.get(orientation, COLOUR16))
