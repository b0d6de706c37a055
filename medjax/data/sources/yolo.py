"""Pictures with boxes as YOLO has them: a text file for each, a line for each object (Redmon 2016).

    cells/images/train/a.jpg  cells/labels/train/a.txt  cells/images/val/…  cells/images/test/…     with lists, or
    cells/images/a.jpg  cells/labels/a.txt                                                          to be dealt

A line is the class's number, and the centre's column and row, the width and the height, as shares of the picture's. A
picture without a file, or with an empty one, shows no object.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.source import Source, data_dir
from medjax.data.sources.annotations import Marked, dealt, images_in
from medjax.data.sources.classification_folder import FOLDERS
from medjax.errors import InputError


def source(*, classes: Sequence[str], dir: str = '', patient: str = '', val: float = 0.2, test: float = 0.2,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '') -> Source:
    """Reads a folder's `images` and `labels`.

    Args:
      classes: names, by their numbers.
      dir: the data set's folder; '' as `data_dir` says.
      patient: see `marked.dealt`.
      val: share of the patients that validates, where there are no folders of splits.
      test: share of the patients that tests, likewise.
      fold: see `splits.split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within dir or absolute: its split for every patient.
      notice: what the report must say of the data.

    Raises:
      InputError: text that is not as above, or of no picture; a class's number beyond `classes`.
    """
    root = data_dir(dir)
    made = []
    for folder, split in _folders(root / 'images').items():
        inner = folder.relative_to(root / 'images')
        images, texts = images_in(folder), root / 'labels' / inner
        if not texts.is_dir():
            raise InputError(f'{texts}: no such folder; expected a text for each picture of {folder} with objects')
        lone = sorted(path for path in texts.glob('*.txt') if path.stem not in images)
        if lone:
            raise InputError(f'{lone[0]}: no picture of its name in {folder}; expected one')
        for name, path in images.items():
            boxes, names = _read(texts / f'{name}.txt', classes)
            made.append(Marked(id='_'.join([*inner.parts, name]), path=path, where=str(texts / f'{name}.txt'),
                               boxes=boxes, names=names, unit='share', split=split))
    return dealt(made, classes, root, patient=patient, val=val, test=test, fold=fold, folds=folds,
                 split_seed=split_seed, splits=splits, split_file=split_file, notice=notice)


def _folders(images: pathlib.Path) -> dict[pathlib.Path, str]:
    """Folders of pictures, and the splits that they are of."""
    inside = sorted(path for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
    return {path: FOLDERS[path.name.lower()] for path in inside if path.name.lower() in FOLDERS} or {images: ''}


def _read(path: pathlib.Path, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Boxes `[N, 4]` as shares, and their classes' names."""
    boxes, names = [], []
    try:
        lines = path.read_text().splitlines() if path.exists() else []
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: cannot be read; expected text') from error
    for number, line in enumerate(lines, 1):
        if not line.strip():
            continue
        try:
            kind, x, y, width, height = line.split()
            kind, (x, y, width, height) = int(kind), map(float, (x, y, width, height))
        except ValueError as error:
            raise InputError(f"{path}: line {number} is {line[:80]!r}; expected a class's number, and x, y, width and "
                             "height as shares of the picture's") from error
        if not 0 <= kind < len(classes):
            raise InputError(f'{path}: line {number}: class {kind}; expected 0 to {len(classes) - 1} '
                             f'({", ".join(classes)})')
        boxes.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
        names.append(classes[kind])
    return np.reshape(boxes, (-1, 4)), names
