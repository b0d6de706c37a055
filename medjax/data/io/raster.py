"""2D images as volumes of one slice: `[column, row, 1]`, or `[column, row, 1, channel]` in colour.

The first axis is the image's column, from left to right, the second its row, from top to bottom, as a viewer shows
them: an orientation tag (EXIF 2.32, tag 0x0112) is applied, to images and to labels. The affine is the identity: these
formats do not store a position in the body, nor a reliable pixel size, so a pixel is 1 mm unless a config gives another
spacing.
"""

import pathlib
from typing import BinaryIO

import numpy as np
import SimpleITK as sitk
from PIL import Image as Picture
from PIL import TiffImagePlugin, UnidentifiedImageError

from medjax.data.io.tables import PACKED, check_fits
from medjax.errors import InputError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp', '.gif')
PLAIN = ('L', 'RGB', 'F', 'I', 'I;16', 'I;16B', 'I;16L')  # modes that numpy converts without loss
CONVERTED = {'LA': 'L', 'P': 'RGB', 'PA': 'RGB', 'RGBA': 'RGB', 'RGBX': 'RGB', 'RGBa': 'RGB', 'CMYK': 'RGB',
             'YCbCr': 'RGB'}
PIXELS = 2**29  # most pixels of an image
KINDS = 'grey of 1 to 16 bits or of 32-bit numbers, or colour of 8 or 16 bits'
WHITE_IS_ZERO = 0  # PhotometricInterpretation of TIFF
UNSIGNED, SIGNED, FLOAT = 1, 2, 3  # SampleFormat of TIFF

Picture.MAX_IMAGE_PIXELS = PIXELS  # Pillow's own limit, 89 million pixels, is exceeded by slides


def read(path: pathlib.Path, indices: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Reads a 2D image, grey or in colour; an alpha channel is dropped.

    Values are those that a viewer shows: black and white of one bit are 0 and 255, grey of 2 or 4 bits is scaled to 0
    to 255, colours of a palette and CMYK become red, green and blue, and a TIFF in which white is zero is inverted. 16
    bits stay 16 bits. Of a JPEG with several pictures (MPO) the first is read.

    Args:
      path: PNG, JPEG, TIFF, BMP or GIF.
      indices: read the numbers that are stored instead of the values that a viewer shows, as masks use them: the
        indices of a palette, 0 and 1 of one bit, 0 to 3 of two bits, 0 to 15 of four.

    Returns:
      The array `[column, row, 1]` or `[column, row, 1, 3]`, and the identity affine.

    Raises:
      InputError: several pages, missing pixels, too many pixels, or pixels of another kind.
    """
    with path.open('rb') as file, _open(path, file) as picture:
        if picture.format != 'MPO' and getattr(picture, 'n_frames', 1) != 1:
            raise InputError(f'{path}: {picture.n_frames} pages; expected one image')
        pieces = [(x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1), *_ in picture.tile]
        if sum(pieces) < picture.width * picture.height:
            raise InputError(f'{path}: {sum(pieces)} pixels of {picture.width}×{picture.height}; expected all of them')
        if picture.format == 'PNG':
            with Picture.open(path) as whole:
                whole.verify()  # checksums and the end of the file, which decoding the pixels does not check
        if picture.format != 'TIFF':  # its codecs have no maximal compression ratio
            check_fits(path, -(-picture.width * picture.height // 8), PACKED * path.stat().st_size)
        array = _read_tiff(path, picture) if picture.format == 'TIFF' else _read_deep_png(path, picture)
        if array is None:
            array = _pixels(path, picture, indices)
        picture.load()  # a PNG may have its orientation after its pixels; a TIFF is upright once loaded
        array = upright(array, picture.getexif().get(TiffImagePlugin.ExifTags.Base.Orientation, 1))
    if array.dtype in (np.int32, np.uint32) and array.min() >= 0 and array.max() < 2**16:
        array = array.astype(np.uint16)  # Pillow reads some 16-bit files as 32-bit ones
    return np.swapaxes(array, 0, 1)[:, :, None], np.eye(4)


def stores_indices(path: pathlib.Path) -> bool:
    """Whether the stored numbers of an image are others than the values that a viewer shows; see `read`."""
    with path.open('rb') as file, _open(path, file) as picture:
        return picture.mode in ('1', 'P', 'PA') or (picture.mode == 'L' and _depth(path, picture) < 8)


def upright(array: np.ndarray, orientation: int) -> np.ndarray:
    """Applies an orientation tag to an image as stored.

    Args:
      array: `[row, column, …]`.
      orientation: 1 to 8 (EXIF 2.32, tag 0x0112); other numbers mean nothing.

    Returns:
      The image as it is to be shown; rows and columns are exchanged for 5 to 8.
    """
    array = np.swapaxes(array, 0, 1) if orientation in (5, 6, 7, 8) else array
    array = array[:, ::-1] if orientation in (2, 3, 6, 7) else array
    return array[::-1] if orientation in (3, 4, 7, 8) else array


def _open(path: pathlib.Path, file: BinaryIO) -> Picture.Image:
    """An image as Pillow opens it: given a path, it would map a TIFF of orientation 5 to 8 with extents exchanged."""
    try:
        picture = Picture.open(file)
    except (Picture.DecompressionBombError, Picture.DecompressionBombWarning) as error:
        raise InputError(f'{path}: too large: {error}; expected at most {PIXELS} pixels: split it into tiles'
                         ) from error
    except UnidentifiedImageError as error:
        tags = _tiff_tags(path)
        if not tags:
            raise
        raise InputError(f'{path}: a TIFF with {tags}, which is not supported; expected {KINDS}') from error
    if picture.width * picture.height > PIXELS:
        raise InputError(f'{path}: too large: {picture.width}×{picture.height} pixels; expected at most {PIXELS}: '
                         'split it into tiles')
    return picture


def _tiff_tags(path: pathlib.Path) -> str:
    """The tags of a TIFF that say what its pixels are, for a message; '' for what is no TIFF."""
    with path.open('rb') as file:
        head = file.read(8)
        if head[:4] not in (b'II*\0', b'MM\0*'):
            return ''
        try:
            tags = TiffImagePlugin.ImageFileDirectory_v2(head)
            file.seek(tags.next)
            tags.load(file)
        except Exception:  # on damaged files Pillow raises exceptions of any type
            return ''
        return ', '.join(f'{name} {tags.get(tag)}' for tag, name in (
            (258, 'BitsPerSample'), (339, 'SampleFormat'), (262, 'PhotometricInterpretation'), (338, 'ExtraSamples'))
            if tags.get(tag) is not None)


def _depth(path: pathlib.Path, picture: Picture.Image) -> int:
    """The bits of each channel as stored; for a palette those of an index."""
    if picture.format == 'PNG':
        with path.open('rb') as file:
            return file.read(25)[24]  # IHDR
    if picture.format == 'TIFF':
        return max(picture.tag_v2.get(258, (1,)))
    return 1 if picture.mode == '1' else 8


def _read_tiff(path: pathlib.Path, picture: Picture.Image) -> np.ndarray | None:
    """The pixels `[row, column, …]` of a TIFF that Pillow would read with loss; None for others."""
    depth, tags = _depth(path, picture), picture.tag_v2
    kind, white_is_zero = max(tags.get(339, (UNSIGNED,))), tags.get(262) == WHITE_IS_ZERO
    colour = picture.mode in ('RGB', 'RGBA')
    if (white_is_zero and kind == FLOAT) or (depth == 16 and (picture.mode == 'CMYK' or 1 in tags.get(338, ()))):
        raise InputError(f'{path}: a TIFF with {_tiff_tags(path)}, which is not supported; expected {KINDS}')
    if white_is_zero and depth == 16:
        return np.iinfo(np.uint16).max - np.asarray(picture)  # Pillow inverts 8 bits only
    if depth == 8 and kind == SIGNED:
        return np.asarray(picture).view(np.int8)
    if depth == 32 and kind == UNSIGNED:
        return np.asarray(picture).view(np.uint32)
    if depth == 16 and colour:
        orientation = tags.get(TiffImagePlugin.ExifTags.Base.Orientation, 1)
        if orientation not in (0, 1):
            raise InputError(f'{path}: orientation {orientation} of a TIFF with {_tiff_tags(path)}; expected 1: save '
                             'it upright')
        return _read_by_itk(path, picture)
    return None


def _read_deep_png(path: pathlib.Path, picture: Picture.Image) -> np.ndarray | None:
    """The pixels `[row, column, …]` of a PNG of 16 bits that Pillow would read as 8 bits; None for others."""
    if picture.format != 'PNG' or picture.mode not in ('RGB', 'RGBA') or _depth(path, picture) != 16:
        return None
    if picture.tile[0].args != 'LA;16B':
        return _read_by_itk(path, picture)
    # Grey with alpha, which ITK does not read: the four bytes of a pixel are decoded as if they were four channels.
    picture.tile = [tile._replace(args='RGBA') for tile in picture.tile]
    high, low = (np.asarray(picture)[..., channel].astype(np.uint16) for channel in (0, 1))
    return high << 8 | low


def _read_by_itk(path: pathlib.Path, picture: Picture.Image) -> np.ndarray:
    picture.load()  # Pillow detects damage that ITK ignores
    return sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[..., :3]


def _pixels(path: pathlib.Path, picture: Picture.Image, indices: bool) -> np.ndarray:
    """The pixels `[row, column, …]` as Pillow reads them."""
    mode, depth = picture.mode, _depth(path, picture)
    if indices and mode in ('P', 'PA'):
        return np.asarray(picture.getchannel(0))
    if mode == '1' or (mode == 'L' and depth < 8):
        array = np.asarray(picture.convert('L'))
        return array // (255 // (2**depth - 1)) if indices else array
    if mode not in PLAIN and mode not in CONVERTED:
        raise InputError(f'{path}: pixels of the kind {mode}; expected {KINDS}')
    if mode in ('P', 'PA') and picture.palette:
        colours = len(picture.palette.palette) // len(picture.palette.mode)
        largest = int(np.asarray(picture.getchannel(0)).max())
        if largest >= colours:
            raise InputError(f'{path}: index {largest} in a palette of {colours} colours; expected indices below that')
    return np.asarray(picture if mode in PLAIN else picture.convert(CONVERTED[mode]))


def encode(array: np.ndarray) -> Picture.Image:
    """A label as an image, rows from top to bottom.

    Args:
      array: `[column, row, 1]` of whole numbers, grey of 8 or 16 bits, or `[column, row, 1, 3]` uint8 of colours.

    Raises:
      InputError: a number below 0 or above 65535.
    """
    if array.ndim == 4 and array.shape[2:] == (1, 3) and array.dtype == np.uint8:
        return Picture.fromarray(np.ascontiguousarray(array[:, :, 0].swapaxes(0, 1)))
    if array.ndim != 3 or array.shape[2] != 1 or array.dtype.kind not in 'iub':
        raise ValueError(f'{array.dtype} {array.shape} is not a label of one slice')
    if array.min() < 0 or array.max() >= 2**16:
        raise InputError(f'label values {array.min()} to {array.max()}; expected 0 to 65535 in a PNG')
    return Picture.fromarray(array[:, :, 0].T.astype(np.uint8 if array.max() < 256 else np.uint16))
