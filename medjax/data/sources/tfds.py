"""Image classification data sets of TensorFlow Datasets by name, read as array records without TensorFlow."""

import dataclasses
import functools
import pathlib
from typing import Any

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import UNKNOWN_PATIENTS, Case, Source
from medjax.data.splits import Resplitting
from medjax.errors import InputError

SPLITS = {'train': 'train', 'validation': 'val', 'valid': 'val', 'val': 'val', 'test': 'test'}


def source(*, dataset: str, dir: str = '', image: str = 'image', label: str = 'label',
           splitting: Resplitting = Resplitting(val=0.1), notice: str = '') -> Source:
    """A classification source of a data set that `tfds` knows, or that lies prepared in a folder.

    Args:
      dataset: its name, such as 'mnist' or 'patch_camelyon', with config and version as tfds writes them.
      dir: tfds' data folder, '' for its own default; tfds downloads what is not prepared there.
      image: the feature with the image.
      label: the feature with the class.
      splitting: how training cases are assigned to training and validation. `val` is ignored where the data set has a
        validation split.
      notice: text on the data for the report.

    Raises:
      InputError: an unknown data set, one that cannot be prepared, or one without such features.
    """
    try:
        import tensorflow_datasets as tfds
        builder = tfds.builder(dataset, data_dir=dir or None, file_format='array_record')
        builder.download_and_prepare(file_format='array_record')
        data = builder.as_data_source()
        features = builder.info.features
        files = tuple(sorted(str(path) for path in pathlib.Path(builder.data_path).iterdir() if path.is_file()))
    except Exception as error:  # whatever the data set's own code, its download or its folder may raise
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        folder = dir or 'its data folder'
        raise InputError(f'config.data.source.dataset: {dataset!r} cannot be read by tfds: {reason}; expected a data '
                         f'set that is prepared in {folder} or can be downloaded') from error
    if image not in features or label not in features or not hasattr(features[label], 'names'):
        raise InputError(f'config.data.source: {dataset} has the features {", ".join(features)}; expected an image '
                         f'{image!r} and a class {label!r}')
    cases = []
    for name, rows in data.items():
        if name not in SPLITS:
            continue
        for number, row in enumerate(rows):
            if int(row[label]) < 0:  # tfds' value for a class that is not published
                raise InputError(f'config.data.source.dataset: {dataset}, {name} {number}: no class; expected one '
                                 'for every case')
            cases.append(Case(id=f'{name}{number:06d}', patient=f'{name}{number:06d}', split=SPLITS[name],
                              target=int(row[label]), read=functools.partial(_read, rows, number, image), files=files,
                              how=f'{builder.info.full_name} {name} {number} {image}'))
    if any(case.split == 'val' for case in cases):
        splitting = dataclasses.replace(splitting, val=0.0)
    names = tuple(features[label].names)
    return Source(cases=tuple(splitting.resplit(cases)), classes=names,
                  problem='binary' if len(names) == 2 else 'multiclass', notice=notice or UNKNOWN_PATIENTS,
                  analysis_unit='image')


def _read(rows: Any, number: int, image: str) -> tuple[Image, None]:
    array = np.asarray(rows[number][image])
    return Image(array.swapaxes(0, 1)[:, :, None], np.eye(4), f'{image} {number}'), None
