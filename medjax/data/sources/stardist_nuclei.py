"""The fluorescence image of nuclei in the source distribution of StarDist, in strips that train, validate and test.

One image of 512×512 pixels with 125 nuclei, each annotated by hand and numbered (`stardist/data/images/img2d.tif` and
`mask2d.tif`; Schmidt 2018). All strips are of one specimen and one microscope.
"""

import functools
import io
import pathlib
import tarfile

import numpy as np
from PIL import Image as Picture
from scipy import ndimage

from medjax.data.io.geometry import Image
from medjax.data.source import SPLITS, Case, Objects, Source, data_dir
from medjax.errors import InputError

FILES = tuple(f'stardist/data/images/{name}2d.tif' for name in ('img', 'mask'))
STRIPS = ('train', 'train', 'val', 'test')  # from the left
SMALLEST = 0.25  # fraction of a nucleus that must lie in a strip to count as an object there
NOTICE = ('Strips of one image: validation and test are of the specimen that trains, and the results say nothing about '
          'other specimens.')


def source(*, dir: str = '', file: str = 'stardist-0.9.2.tar.gz') -> Source:
    """A detection source with strips of the image; the only class is 'nucleus'.

    Args:
      dir: the folder of the distribution; see `data_dir`.
      file: its name.

    Raises:
      InputError: the file is missing or does not contain the image.
    """
    path = data_dir(dir) / file
    image, mask = _read(path)
    if image.shape != mask.shape or image.ndim != 2 or image.shape[1] % len(STRIPS):
        raise InputError(f'{path}: {FILES[0]} {image.shape}, {FILES[1]} {mask.shape}; expected one shape of two '
                         f'extents, the second a multiple of {len(STRIPS)}')
    width, sizes = image.shape[1] // len(STRIPS), np.bincount(mask.ravel())
    cases = []
    for number, split in enumerate(STRIPS):
        boxes = _boxes(mask[:, number * width:(number + 1) * width], sizes)
        cases.append(Case(
            id=f'strip{number}', patient=f'strip{number}', split=split, files=(str(path),), how=f'{number} of {width}',
            target=Objects(np.reshape(boxes, (-1, 4)), np.zeros(len(boxes), np.int32)), columns={},
            read=functools.partial(_strip, path, number * width, width)))
    cases = sorted(cases, key=lambda case: SPLITS.index(case.split))
    return Source(cases=tuple(cases), classes=('nucleus',),
                  problem='detection', least_classes=1, notice=NOTICE, analysis_unit='strip')


def _boxes(strip: np.ndarray, sizes: np.ndarray) -> list[list[int]]:
    """The boxes of the nuclei in a strip of the mask; `sizes` are the pixels of each nucleus in the whole image."""
    inside = np.bincount(strip.ravel(), minlength=len(sizes))
    numbers = np.flatnonzero((inside > 0) & (inside >= SMALLEST * sizes) & (np.arange(len(sizes)) > 0))
    places = ndimage.find_objects(strip)  # number 1 first
    return [[*(s.start for s in places[n - 1]), *(s.stop for s in places[n - 1])] for n in numbers]


def _strip(path: pathlib.Path, first: int, width: int) -> tuple[Image, None]:
    array = _read(path)[0][:, first:first + width]
    return Image(array.T[:, :, None], np.eye(4), f'{path}, columns {first} to {first + width}'), None


@functools.lru_cache(1)
def _read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """The image and the numbers of its nuclei, `[512, 512]`."""
    try:
        with tarfile.open(path) as archive:
            names = {name.partition('/')[2]: name for name in archive.getnames()}
            contents = [archive.extractfile(names[name]).read() for name in FILES]
        return tuple(np.asarray(Picture.open(io.BytesIO(content))) for content in contents)
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        raise InputError(f'{path}: {error}; expected the source distribution of stardist with {FILES[0]}, as `pip '
                         'download stardist==0.9.2 --no-deps --no-binary=:all:` fetches it') from error
