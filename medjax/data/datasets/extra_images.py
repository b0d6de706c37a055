"""Additional synthetic training images, as `medjax.synthesise` writes them."""

import dataclasses
import functools
import pathlib
from collections.abc import Sequence

import numpy as np

from medjax.data.io import medmnist_files
from medjax.data.source import Case, Source
from medjax.errors import InputError


def with_extra_images(source: Source[int], path: pathlib.Path) -> Source[int]:
    """A source with additional synthetic training cases.

    Args:
      source: of images with one class each.
      path: a file in the MedMNIST layout, of which the training images are taken; its array 'classes' names the labels.

    Raises:
      InputError: a file of another layout; a class that the source does not have.
    """
    if not path.is_file():
        raise InputError(f'config.data.extra_npz: {path}: no such file; expected one that medjax.synthesise wrote')
    medmnist_files.read_array.cache_clear()  # the file may have been written again under the same name
    try:
        images, labels, names = (medmnist_files.read_array(str(path), name)
                                 for name in ('train_images', 'train_labels', 'classes'))
    except InputError:
        raise InputError(f'config.data.extra_npz: {path}: not readable; expected train_images, train_labels and '
                         'classes, as medjax.synthesise writes them') from None
    names = [str(name) for name in names.ravel()]
    _check(source, path, images, labels, names)
    synthetic = []
    for number, label in enumerate(labels[:, 0].tolist()):
        name = f'synthetic{number:06d}'
        synthetic.append(Case(id=name, patient=name, split='train', target=source.classes.index(names[label]),
                              files=(str(path),), how=f'train {number}',
                              read=functools.partial(medmnist_files.read_image, str(path), 'train', number)))
    real = sum(case.split == 'train' for case in source.cases)
    notice = (f'The training split has {len(synthetic)} synthetic images of a trained generator ({path.name}) beside '
              f'{real} real ones; the validation and test splits have none.')
    return dataclasses.replace(source, cases=(*source.cases, *synthetic), notice=f'{source.notice} {notice}'.strip())


def _check(source: Source[int], path: pathlib.Path, images: np.ndarray, labels: np.ndarray,
           names: Sequence[str]) -> None:
    """Checks that the images are bytes with labels of the source's classes."""
    if source.problem == 'multilabel' or not set(names) <= set(source.classes):
        raise InputError(f'config.data.extra_npz: {path}: classes {", ".join(names)}; expected some of: '
                         f'{", ".join(source.classes)}, and one class for each image')
    integers = labels.shape == (len(images), 1) and labels.dtype.kind in 'iu'
    if images.dtype != np.uint8 or not integers or not len(images) or (
            labels.min() < 0 or labels.max() >= len(names)):
        raise InputError(f'config.data.extra_npz: {path}: train_images {images.shape} {images.dtype}, train_labels '
                         f'{labels.shape} {labels.dtype}; expected bytes, and for each image a label from 0 to '
                         f'{len(names) - 1}')
