"""A cascade of two stages, as nnU-Net's: the second network sees the labels of the first as channels of its images.

A case's labels come from first-stage runs that did not train with it: that of the fold in which it validates, and of a
test case the mean over all folds. They are files in the folder `labels` of the evaluated ensemble of those runs.
"""

import dataclasses
import functools
import pathlib

import numpy as np

from medjax.data.io import image_files
from medjax.data.io.geometry import Image, restore
from medjax.data.source import Case, Source
from medjax.errors import InputError, few

LABELS = 'labels'  # the folder of the labels


def with_labels(source: Source, folder: pathlib.Path) -> Source:
    """A source whose images have the labels of a first stage as their last channel.

    Args:
      source: the cases.
      folder: of the first stage, with `labels/ID.nii.gz` of every case.

    Raises:
      InputError: a case without labels.
    """
    paths = {case.id: folder / LABELS / f'{case.id}.nii.gz' for case in source.cases}
    missing = [name for name, path in paths.items() if not path.is_file()]
    if missing:
        raise InputError(f'config.data.previous: {folder}: no labels of {len(missing)} cases ({few(missing)}); '
                         'expected those of evaluate --ensemble --labels over the runs of all folds of the first stage')
    cases = tuple(dataclasses.replace(
        case, read=functools.partial(_read, case, str(paths[case.id])), how=f'{case.how} {LABELS}',
        files=(*case.files, str(paths[case.id]))) for case in source.cases)
    return dataclasses.replace(source, cases=cases)


def _read(case: Case, path: str) -> tuple[Image, Image | None]:
    """A case whose image has the labels of a file as its last channel."""
    image, label = case.read()
    first = image_files.whole_numbers(image_files.read(path))
    return append(image, restore(first, image, 'label').array), label


def append(image: Image, label: np.ndarray) -> Image:
    """An image with labels as its last channel, float32.

    Args:
      image: `[X, Y, Z]` or `[X, Y, Z, C]`.
      label: `[X, Y, Z]`, class numbers.
    """
    array = image.array if image.array.ndim == 4 else image.array[..., None]
    array = np.concatenate([array.astype(np.float32), label[..., None].astype(np.float32)], -1)
    return dataclasses.replace(image, array=array)
