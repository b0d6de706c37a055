"""NPZ files in the layout of MedMNIST (Yang 2023): arrays SPLIT_images and SPLIT_labels."""

import functools
import pathlib

import numpy as np

from medjax import atomic_files
from medjax.data.io.geometry import Image
from medjax.errors import InputError


@functools.lru_cache(3)  # the arrays of the current split: a set is prepared in the order of its cases
def read_array(path: str, name: str) -> np.ndarray:
    """One array of a file; the three latest are kept in memory.

    Raises:
      InputError: the file or the array cannot be read.
    """
    kind = 'a MedMNIST file of train, val and test images and labels'
    return atomic_files.read_arrays(pathlib.Path(path), kind, [name])[name]


def read_image(path: str, split: str, number: int) -> tuple[Image, None]:
    """Image `number` of a split, and no label image.

    Raises:
      InputError: the file cannot be read, or has fewer images.
    """
    images = read_array(path, f'{split}_images')
    if number >= len(images):
        raise InputError(f'{path}: {len(images)} {split}_images; expected as many as {split}_labels')
    array = images[number]
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3):  # 2D images are stored rows first
        array = array.swapaxes(0, 1)[:, :, None]
    return Image(array, np.eye(4), f'{path}: {split}_images[{number}]'), None
