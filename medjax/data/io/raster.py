"""2D images as volumes of one slice: `[column, row, 1]`, or `[column, row, 1, channel]` in colour.

The first axis is the image's column, from left to right, the second its row, from top to bottom. The affine is the
identity: these formats do not store a position in the body, nor a reliable pixel size, so a pixel is 1 mm unless a
config gives another spacing. Orientation tags (EXIF) are not applied, neither to images nor to labels.
"""

import pathlib

import numpy as np
import SimpleITK as sitk
from PIL import Image as Picture

from medjax.data.io.tables import PACKED, check_fits
from medjax.errors import InputError

SUFFIXES = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.bmp')
PLAIN = ('1', 'L', 'RGB', 'F', 'I', 'I;16', 'I;16B', 'I;16L')  # modes that numpy converts without loss


def read(path: pathlib.Path, indices: bool = False) -> tuple[np.ndarray, np.ndarray]:
    """Reads a 2D image of 8 or 16 bits, grey or in colour; an alpha channel is dropped.

    Args:
      path: PNG, JPEG, TIFF or BMP.
      indices: read the palette indices of an image with a palette, which masks use, instead of its colours.

    Returns:
      The array `[column, row, 1]` or `[column, row, 1, 3]`, and the identity affine.
    """
    with Picture.open(path) as picture:
        if getattr(picture, 'n_frames', 1) != 1:
            raise InputError(f'{path}: {picture.n_frames} pages; expected one image')
        pieces = [(x1 - x0) * (y1 - y0) for _, (x0, y0, x1, y1), *_ in picture.tile]
        if sum(pieces) < picture.width * picture.height:
            raise InputError(f'{path}: {sum(pieces)} pixels of {picture.width}×{picture.height}; expected all of them')
        if picture.format == 'PNG':
            with Picture.open(path) as whole:
                whole.verify()  # checksums and the end of the file, which decoding the pixels does not check
        if picture.format != 'TIFF':  # its codecs have no maximal compression ratio
            check_fits(path, -(-picture.width * picture.height // 8), PACKED * path.stat().st_size)
        if picture.mode not in ('L', 'I;16', 'I;16B') and _has_16_bits(path, picture):
            picture.load()  # Pillow detects damage that ITK ignores, but returns 8 bits
            array = sitk.GetArrayFromImage(sitk.ReadImage(str(path)))[..., :3]
        elif picture.mode in PLAIN or (indices and picture.mode == 'P'):
            array = np.asarray(picture)
        else:
            array = np.asarray(picture.convert('L' if picture.mode in ('LA', 'La') else 'RGB'))
    if array.dtype == np.int32 and array.min() >= 0 and array.max() < 2**16:
        array = array.astype(np.uint16)  # Pillow reads some 16-bit files in mode I
    return np.swapaxes(array, 0, 1)[:, :, None], np.eye(4)


def _has_16_bits(path: pathlib.Path, picture: Picture.Image) -> bool:
    """Whether a colour image has 16 bits a channel."""
    if picture.format == 'PNG':
        with path.open('rb') as file:
            head = file.read(26)
        return head[24] == 16 and head[25] & 2 == 2  # IHDR: bit depth, colour type
    return picture.format == 'TIFF' and max(picture.tag_v2.get(258, (1,))) == 16 and picture.mode in ('RGB', 'RGBA')


def encode(array: np.ndarray) -> Picture.Image:
    """A label `[column, row, 1]` of whole numbers as a grey image of 8 or 16 bits, rows from top to bottom."""
    fits = array.ndim == 3 and array.shape[2] == 1 and array.dtype.kind in 'iub'
    if not fits or array.min() < 0 or array.max() >= 2**16:
        raise ValueError(f'{array.dtype} {array.shape} is not a label of one slice')
    return Picture.fromarray(array[:, :, 0].T.astype(np.uint8 if array.max() < 256 else np.uint16))
