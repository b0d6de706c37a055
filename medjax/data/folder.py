"""A folder of images and labels as a data set: a new one needs a config and no code."""

import csv
import dataclasses
import functools
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data import nifti
from medjax.data.geometry import Image, check_pair, restore
from medjax.data.source import SPLITS, Case, Source, data_dir, split_by_patient
from medjax.errors import InputError

RESERVED = ('id', 'image', 'label', 'patient', 'split')


@dataclasses.dataclass(frozen=True)
class Labels:
    """How a folder's label files are meant: see `source`."""

    classes: tuple[str, ...]
    values: tuple[int, ...] | None
    colours: Mapping[str, Sequence[int]] | None
    align: bool

    def read(self, path: pathlib.Path, image: Image) -> Image:
        """Reads one label file as class numbers on the image's grid."""
        label = nifti.read(path, indices=not self.colours)
        label = dataclasses.replace(label, array=self._numbers(label))
        if self.align and label.array.shape != image.array.shape[:3]:
            label = dataclasses.replace(restore(label, image, 'label'), path=str(path))
        check_pair(image, label)
        return nifti.check_label(label, len(self.classes))

    def _numbers(self, label: Image) -> np.ndarray:
        array = label.array
        if self.colours:
            if array.ndim != 4:
                raise InputError(f'{label.path}: shape {array.shape} has no colours; expected RGB, for classes are given '
                                 'as config.data.source.colours')
            out = np.full(array.shape[:3], 255, np.uint8)
            for number, name in enumerate(self.classes):
                out[(array[..., :3] == np.array(self.colours[name], array.dtype)).all(-1)] = number
            if (out == 255).any():
                where = tuple(np.argwhere(out == 255)[0])
                raise InputError(f'{label.path}: colour {array[where].tolist()} is of no class; expected one of '
                                 f'{dict(self.colours)}')
            return out
        if array.ndim == 4 and (array == array[..., :1]).all():
            array = array[..., 0]  # grey, stored as RGB
        if self.values is None:
            return array
        unknown = np.setdiff1d(array, self.values)
        if unknown.size:
            raise InputError(f'{label.path}: label value {unknown[0]}; expected one of {list(self.values)}')
        out = np.zeros(array.shape, np.uint8)
        for number, value in enumerate(self.values):
            out[array == value] = number
        return out


def source(*, classes: Sequence[str], dir: str = '', images: str = 'images', labels: str = 'labels',
           image_suffix: str = '', label_suffix: str = '', table: str = '', values: Sequence[int] | None = None,
           colours: Mapping[str, Sequence[int]] | None = None, align_labels: bool = False, val: float = 0.2,
           test: float = 0.2, fold: int = 0, folds: int = 0, split_seed: int = 0, splits: Mapping[str, str] | None = None,
           notice: str = '') -> Source:
    """Pairs images and labels by name, or as a table says.

    Args:
      classes: names, background first; labels hold their numbers, unless values or colours say otherwise.
      dir: the data set's folder; '' as `data_dir` says.
      images: folder of the images, within dir; may be the same as labels.
      labels: folder of the labels, within dir.
      image_suffix: what an image's name ends in before its file suffix, such as '_image'; taken off it gives the id.
      label_suffix: the same for labels.
      table: a CSV file within dir, with the columns id, image, label (paths within dir) and, as far as known, patient
        and split; all other columns go to the predictions table. With it, names are not looked at.
      values: the labels' value for each class, such as (0, 255).
      colours: the labels' RGB for each class, by the class's name.
      align_labels: resample a label with another shape onto its image's grid by world coordinates, in place of
        refusing it.
      val: share of the patients that validates.
      test: share of the patients that tests.
      fold: see `split_by_patient`, as for folds.
      folds: …
      split_seed: …
      splits: the split of each patient by name, in place of drawing it.
      notice: what the report must say of the data.

    Returns:
      The cases, a patient's all in one split. Without a column `patient`, each image is a patient of its own.
    """
    root = data_dir(dir)
    rows = _table(root, table) if table else _pairs(root / images, root / labels, image_suffix, label_suffix)
    given = {row['patient']: row['split'] for row in rows if row.get('split')} | dict(splits or {})
    for row in rows:
        if row.get('split', given.get(row['patient'])) not in (None, '', given.get(row['patient'])):
            raise InputError(f"{root / table}: patient {row['patient']!r} is in two splits; expected one")
    drawn = split_by_patient([r['patient'] for r in rows if r['patient'] not in given], val=val, test=test, fold=fold,
                             folds=folds, seed=split_seed) if any(r['patient'] not in given for r in rows) else {}
    wrong = sorted(set(given.values()) - set(SPLITS))
    if wrong:
        raise InputError(f'{root / table}: split {wrong[0]!r}; expected one of {", ".join(SPLITS)}')
    if values is not None and len(values) != len(classes):
        raise InputError(f'config.data.source.values: {len(values)} values for {len(classes)} classes; expected one each')
    if colours is not None and set(colours) != set(classes):
        raise InputError(f'config.data.source.colours: {sorted(colours)}; expected a colour for each of {list(classes)}')
    meant = Labels(tuple(classes), tuple(values) if values else None, colours, align_labels)
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=(given | drawn)[row['patient']],
        read=functools.partial(_read, pathlib.Path(row['image']), pathlib.Path(row['label']), meant),
        columns={k: v for k, v in row.items() if k not in RESERVED}, files=(row['image'], row['label'])) for row in rows)
    return Source(cases=cases, classes=tuple(classes), notice=notice)


def _read(image: pathlib.Path, label: pathlib.Path, meant: Labels) -> tuple[Image, Image]:
    picture = nifti.read(image)
    nifti.check_finite(picture)
    return picture, meant.read(label, picture)


def _pairs(images: pathlib.Path, labels: pathlib.Path, image_suffix: str, label_suffix: str) -> list[dict[str, str]]:
    def named(folder: pathlib.Path, ending: str) -> dict[str, pathlib.Path]:
        if not folder.is_dir():
            raise InputError(f'{folder}: no such folder')
        found = {}
        for path in sorted(folder.iterdir()):
            name = nifti.stem(path)
            if nifti.suffix(path) and path.is_file() and name.endswith(ending):
                found[name[: len(name) - len(ending)]] = path
        if not found:
            raise InputError(f'{folder}: no image file whose name ends in {ending or "an image suffix"!r}; expected some')
        return found
    pictures, masks = named(images, image_suffix), named(labels, label_suffix)
    for lone, folder in [(n, labels) for n in pictures if n not in masks] + [(n, images) for n in masks if n not in pictures]:
        raise InputError(f'{folder}: nothing there is paired with {lone!r}; expected images and labels of the same names')
    return [{'id': name, 'patient': name, 'image': str(path), 'label': str(masks[name])} for name, path in pictures.items()]


def _table(root: pathlib.Path, name: str) -> list[dict[str, str]]:
    path = root / name
    if not path.is_file():
        raise InputError(f'{path}: no such table')
    try:
        with path.open(newline='', encoding='utf-8-sig') as file:
            rows = list(csv.DictReader(file))
    except (UnicodeDecodeError, csv.Error) as error:
        raise InputError(f'{path}: not a CSV table in UTF-8: {error}') from None
    for column in ('id', 'image', 'label'):
        if not rows or rows[0].get(column) is None:
            raise InputError(f'{path}: no column {column!r}, or no row; expected id, image, label, and at will '
                             'patient, split and others')
    for number, row in enumerate(rows, 2):
        row.pop(None, None)
        for column in ('image', 'label'):
            file = root / (row[column] or '')
            if not file.exists() or not row[column]:
                raise InputError(f'{path}: line {number}: {column} {row[column]!r} does not exist in {root}')
            row[column] = str(file)
        row['patient'] = row.get('patient') or row['id']
    return rows
