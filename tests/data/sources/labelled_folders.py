"""Folders of small images with labels, as a data set of segmentation."""


import numpy as np
import pytest

from medjax.data.sources.segmentation_folder import source
from medjax.errors import InputError
from tests.data.samples import picture

CLASSES = ('background', 'organ', 'tumour')
LABEL = np.random.default_rng(0).integers(0, 3, (7, 9)).astype(np.uint8)
GREY = np.random.default_rng(1).integers(0, 256, (7, 9)).astype(np.uint8)
COLOURS = {'background': (0, 0, 0), 'organ': (255, 0, 0), 'tumour': (0, 0, 255)}
PAINTED = np.array(list(COLOURS.values()), np.uint8)[LABEL]


def pictures(root, image=GREY, label=LABEL, names=('a',)):
    for name in names:
        picture(root / 'images' / f'{name}.png', image)
        picture(root / 'labels' / f'{name}.png', label)


def refused(call, *parts):
    with pytest.raises(InputError) as error:
        call()
    line = str(error.value)
    assert 'expected' in line and '\n' not in line, line
    for part in parts:
        assert str(part) in line
    return line


def read_one(root, **options):
    """The image and label arrays of the one case of a folder."""
    case, = source(**{'dir': str(root), 'classes': CLASSES, **options}).cases
    image, label = case.read()
    assert label.array.dtype == np.uint8 and label.array.ndim == 3
    return image, label.array[:, :, 0].T
