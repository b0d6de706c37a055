"""From images whose objects somebody marked to a source: classes get numbers, patients are dealt."""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.source import UNKNOWN_PATIENTS, Case, Objects, Source
from medjax.data.splits import KEYS, divide
from medjax.errors import InputError


@dataclasses.dataclass(frozen=True)
class Marked:
    """An image and what is marked in it.

    Attributes:
      id: unique in the source.
      path: of the image.
      where: the file that marks it, for messages.
      boxes: `[N, 2D]`; see `source.Objects`, as for unit.
      names: of the boxes' classes, N.
      unit: …
      split: where it is said.
      patient: where it is said.
      columns: whatever else is known of the image.
      size: extents of its array as stored, `[X, Y, Z]`, or the first of them, where the marks tell for which they are.
    """

    id: str
    path: str
    where: str
    boxes: np.ndarray
    names: Sequence[str]
    unit: str = 'voxel'
    split: str = ''
    patient: str = ''
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    size: tuple[int, ...] = ()


def dealt(images: Sequence[Marked], classes: Sequence[str], root: pathlib.Path, *, patient: str = '',
          val: float = 0.2, test: float = 0.2, fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0,
          split_seed: int = 0, splits: Mapping[str, str] | None = None, split_file: str = '',
          notice: str = '') -> Source:
    """Makes a source of images whose objects are marked.

    Args:
      images: at least one.
      classes: names; by default those of the objects, sorted.
      root: the data set's folder.
      patient: a regular expression whose first group is the patient's name in a file's name, such as r'^([^_]+)_'; by
        default each image of which it is not said is a patient of its own.
      val: see `splits.split_by_patient`, as for test, fold, folds and split_seed; patients are dealt by the classes
        that their images show, where no split is said.
      test: …
      fold: …
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within root or absolute.
      notice: what the report must say of the data.

    Raises:
      InputError: no image; a class that is not one of `classes`; what `splits.divide` raises.
    """
    if not images:
        raise InputError(f'{root}: no image with marks; expected some')
    classes = tuple(classes) or tuple(sorted({name for image in images for name in image.names}))
    for image in images:
        unknown = sorted(set(image.names) - set(classes))
        if unknown:
            raise InputError(f'{image.where}: class {unknown[0]!r}; expected one of: {", ".join(classes)}')
    targets = [Objects(np.reshape(image.boxes, (len(image.names), -1)) if len(image.names) else image.boxes,
                       [classes.index(name) for name in image.names], image.unit) for image in images]
    rows = [{'patient': image.patient or (patient_of(image.path, patient) if patient else image.id),
             'split': image.split} for image in images]
    split = divide(rows, root, dict(splits or {}), root / split_file if split_file else None,
                   classes=list(map(str, targets)), val=val, test=test, fold=fold, folds=folds, seed=split_seed)
    cases = tuple(Case(
        id=image.id, patient=row['patient'], split=split[row['patient']], target=target, columns=image.columns,
        read=functools.partial(_read, image.path, image.size, image.where), files=image_files.files(image.path),
        how=f'{image.size}') for image, row, target in zip(images, rows, targets))
    alone = all(case.patient == case.id for case in cases)
    return Source(cases=cases, classes=classes, problem='detection',
                  notice=' '.join(filter(None, [notice, UNKNOWN_PATIENTS if alone else ''])))


def patient_of(path: str, pattern: str) -> str:
    """The patient's name in a file's: the first group of a regular expression.

    Raises:
      InputError: where there is none.
    """
    try:
        found = re.search(pattern, os.path.basename(path))
        name = found.group(1) if found else ''
    except (re.error, IndexError) as error:
        raise InputError(f'{KEYS}.patient: {pattern!r} is no regular expression with a group: {error}') from error
    if not name:
        raise InputError(f'{path}: its name has no patient by {KEYS}.patient, {pattern!r}; expected one')
    return name


def images_in(folder: pathlib.Path) -> dict[str, str]:
    """Paths of a folder's images by their names without suffix.

    Raises:
      InputError: no such folder; two images of one name.
    """
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; expected images in it')
    out: dict[str, str] = {}
    for path in sorted(filter(image_files.is_image, folder.iterdir())):
        if out.setdefault(image_files.stem(path), str(path)) != str(path):
            raise InputError(f'{path}: {out[image_files.stem(path)]} has its name as well; expected different ones')
    return out


def check_size(size: tuple[int, ...], found: tuple[int, ...], where: str, path: str | os.PathLike[str]) -> None:
    """Checks that marks are of their image's size, where they say of which.

    Raises:
      InputError: they are of another.
    """
    if size != found[:len(size)]:
        raise InputError(f'{where}: its boxes are of {"×".join(map(str, size))} pixels; expected '
                         f'{"×".join(map(str, found[:len(size)]))}, as {path} has')


def _read(path: str, size: tuple[int, ...], where: str) -> tuple[Image, None]:
    image = image_files.read(path)
    check_size(size, image.array.shape, where, path)
    return image, None
