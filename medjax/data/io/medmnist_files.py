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


def read_labels(path: str, split: str, width: int, highest: int) -> np.ndarray:
    """The labels of a split, `[N, width]` int64.

    Args:
      path: of the file.
      split: 'train', 'val' or 'test'.
      width: number of labels of an image.
      highest: the highest label; the lowest is 0.

    Raises:
      InputError: there are none; labels of another shape; labels that are not whole numbers from 0 to `highest`.
    """
    labels = read_array(path, f'{split}_labels')
    where = f'{path}: {split}_labels {labels.shape}'
    if labels.ndim == 1:
        labels = labels[:, None]
    expected = f'expected [{len(labels) if labels.ndim and labels.size else "N"}, {width}], 0 to {highest}'
    if labels.dtype.kind not in 'biuf' or labels.ndim != 2 or labels.shape[1] != width or not len(labels):
        raise InputError(f'{where} of type {labels.dtype}; {expected}')
    if not (labels == np.floor(labels)).all():  # NaN is not equal to itself
        raise InputError(f'{where}: {labels[labels != np.floor(labels)][0]}; {expected}, whole numbers')
    if labels.min() < 0 or labels.max() > highest:
        raise InputError(f'{where}, {labels.min():g} to {labels.max():g}; {expected}')
    return labels.astype(np.int64)


def read_image(path: str, split: str, number: int) -> tuple[Image, None]:
    """Image `number` of a split, and no label image.

    Raises:
      InputError: the file cannot be read, has another number of images than labels, or images of another kind.
    """
    images, labels = (read_array(path, f'{split}_{kind}') for kind in ('images', 'labels'))
    if images.ndim < 3 or images.dtype.kind not in 'biuf' or not images.size:
        raise InputError(f'{path}: {split}_images are {images.dtype}, {images.shape}; expected numbers: [N, rows, '
                         'columns], [N, rows, columns, 3] or [N, X, Y, Z]')
    if len(images) != len(labels):
        raise InputError(f'{path}: {len(images)} {split}_images; expected as many as {split}_labels, {len(labels)}')
    array = images[number]
    if array.ndim == 2 or (array.ndim == 3 and array.shape[-1] == 3):  # 2D images are stored rows first
        array = array.swapaxes(0, 1)[:, :, None]
    return Image(array, np.eye(4), f'{path}: {split}_images[{number}]'), None
