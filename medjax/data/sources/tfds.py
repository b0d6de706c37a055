"""Image classification sets of TensorFlow Datasets by name, read as array records: TensorFlow need not be there."""

import functools
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.data.io.geometry import Image
from medjax.data.source import UNKNOWN_PATIENTS, Case, Source
from medjax.data.splits import dealt_anew
from medjax.errors import InputError

SPLITS = {'train': 'train', 'validation': 'val', 'valid': 'val', 'val': 'val', 'test': 'test'}


def source(*, dataset: str, dir: str = '', image: str = 'image', label: str = 'label', val: float = 0.1,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           notice: str = '') -> Source:
    """Reads a set that `tfds` knows or that lies prepared in a folder.

    Args:
      dataset: its name, such as 'mnist' or 'patch_camelyon', with config and version as tfds writes them.
      dir: tfds' data folder, '' for its own default; what is not prepared there is downloaded by tfds.
      image: the feature that holds the picture.
      label: the feature that holds the class.
      val: share of the training split that validates, where the set has no validation split.
      fold: see `splits.split_by_patient`, as for folds and split_seed: of training and validation cases.
      folds: …
      split_seed: …
      notice: what the report must say of the data.

    Raises:
      InputError: an unknown set, one that cannot be prepared here, or one without such features.
    """
    try:
        import tensorflow_datasets as tfds
        builder = tfds.builder(dataset, data_dir=dir or None, file_format='array_record')
        builder.download_and_prepare(file_format='array_record')
        data = builder.as_data_source()
        features = builder.info.features
        files = tuple(sorted(str(path) for path in pathlib.Path(builder.data_path).iterdir() if path.is_file()))
    except Exception as error:  # whatever the set's own code, its download or its folder may raise
        reason = str(error).strip().splitlines()
        raise InputError(f'config.data.source.dataset: {dataset!r} cannot be had from tfds: '
                         f'{(reason or [type(error).__name__])[0]}; expected a set that is prepared in {dir or "its "}'
                         f'{"" if dir else "data folder"} or can be downloaded') from error
    if image not in features or label not in features or not hasattr(features[label], 'names'):
        raise InputError(f'config.data.source: {dataset} has the features {", ".join(features)}; expected an image '
                         f'{image!r} and a class {label!r}')
    cases = []
    for name, rows in data.items():
        if name in SPLITS:
            for number, row in enumerate(rows):
                if int(row[label]) < 0:  # tfds' way to say that the class is kept secret
                    raise InputError(f'config.data.source.dataset: {dataset}, {name} {number}: no class; expected one '
                                     'for every case')
                cases.append(Case(id=f'{name}{number:06d}', patient=f'{name}{number:06d}', split=SPLITS[name],
                                  target=int(row[label]), read=functools.partial(_read, rows, number, image),
                                  files=files,
                                  how=f'{builder.info.full_name} {name} {number} {image}'))
    own = any(case.split == 'val' for case in cases)
    cases = dealt_anew(cases, val=0.0 if own else val, fold=fold, folds=folds, seed=split_seed)
    names = tuple(features[label].names)
    notice = notice or UNKNOWN_PATIENTS
    return Source(cases=tuple(cases), classes=names, problem='binary' if len(names) == 2 else 'multiclass',
                  notice=notice)


def _read(rows: Any, number: int, image: str) -> tuple[Image, None]:
    array = np.asarray(rows[number][image])
    return Image(array.swapaxes(0, 1)[:, :, None], np.eye(4), f'{image} {number}'), None
