"""The fluorescence image of nuclei that StarDist's source distribution ships, in strips that train, validate and test.

One image of 512×512 pixels with 125 nuclei, each drawn by hand and numbered (`stardist/data/images/img2d.tif` and
`mask2d.tif`; Schmidt 2018). Its strips are of one specimen and one microscope.
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
SMALLEST = 0.25  # the share of a nucleus that a strip must hold for it to be there
NOTICE = ('Strips of one image: validation and test are of the specimen that trains, and the figures say nothing of '
          'another one.')


def source(*, dir: str = '', file: str = 'stardist-0.9.2.tar.gz') -> Source:
    """Reads the image and cuts it into strips; their one class is 'nucleus'.

    Args:
      dir: the folder of the distribution; see `data_dir`.
      file: its name.

    Raises:
      InputError: it is not there, or lacks the image.
    """
    place = data_dir(dir) / file
    image, mask = _read(place)
    if image.shape != mask.shape or image.ndim != 2 or image.shape[1] % len(STRIPS):
        raise InputError(f'{place}: {FILES[0]} {image.shape}, {FILES[1]} {mask.shape}; expected one shape of two '
                         f'extents, the second a multiple of {len(STRIPS)}')
    width, whole = image.shape[1] // len(STRIPS), np.bincount(mask.ravel())
    cases = []
    for number, split in enumerate(STRIPS):
        part = mask[:, number * width:(number + 1) * width]
        its = np.bincount(part.ravel(), minlength=len(whole))
        there = np.flatnonzero((its > 0) & (its >= SMALLEST * whole) & (np.arange(len(whole)) > 0))
        found = ndimage.find_objects(part)  # number 1 first
        boxes = [[*(s.start for s in found[n - 1]), *(s.stop for s in found[n - 1])] for n in there]
        cases.append(Case(
            id=f'strip{number}', patient=f'strip{number}', split=split, files=(str(place),), how=f'{number} of {width}',
            target=Objects(np.reshape(boxes, (-1, 4)), np.zeros(len(boxes), np.int32)), columns={},
            read=functools.partial(_strip, place, number * width, width)))
    return Source(cases=tuple(sorted(cases, key=lambda case: SPLITS.index(case.split))), classes=('nucleus',),
                  problem='detection', notice=NOTICE)


def _strip(path: pathlib.Path, first: int, width: int) -> tuple[Image, None]:
    array = _read(path)[0][:, first:first + width]
    return Image(array.T[:, :, None], np.eye(4), f'{path}, columns {first} to {first + width}'), None


@functools.lru_cache(1)
def _read(path: pathlib.Path) -> tuple[np.ndarray, np.ndarray]:
    """The image and its nuclei's numbers, `[512, 512]`."""
    try:
        with tarfile.open(path) as packed:
            names = {name.partition('/')[2]: name for name in packed.getnames()}
            contents = [packed.extractfile(names[name]).read() for name in FILES]
        return tuple(np.asarray(Picture.open(io.BytesIO(content))) for content in contents)
    except (OSError, KeyError, tarfile.TarError, EOFError) as error:
        raise InputError(f'{path}: {error}; expected the source distribution of stardist with {FILES[0]}, as `pip '
                         'download stardist==0.9.2 --no-deps --no-binary=:all:` fetches it') from error
