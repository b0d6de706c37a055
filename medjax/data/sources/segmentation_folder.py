"""A folder of images and labels as a data set: a new one needs a config and no code.

Volumes (NIfTI, NRRD, MetaImage) and pictures (PNG, JPEG, TIFF, BMP) go the same way: a picture is a volume of one
slice, `[column, row, 1]`; see `pictures`.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.io import image_files
from medjax.data.io import raster as pictures
from medjax.data.io.geometry import Image, check_pair, describe, restore, same_grid
from medjax.data.io.tables import check_fields, read_table
from medjax.data.source import Case, Source, data_dir
from medjax.data.splits import divide
from medjax.errors import InputError

REQUIRED = ('id', 'image', 'label')
RESERVED = (*REQUIRED, 'patient', 'split')
KEYS = 'config.data.source'


def source(*, classes: Sequence[str], dir: str = '', images: str = 'images', labels: str = 'labels',
           image_suffix: str = '', label_suffix: str = '', table: str = '', channels: Sequence[str] = ('image',),
           values: Sequence[int] | None = None, colours: Mapping[str, Sequence[int]] | None = None,
           spacing: Sequence[float] | None = None, align_labels: bool = False, val: float = 0.2, test: float = 0.2,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '') -> Source:
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
      channels: the images' channels by name. A grey image stored in three equal channels has one.
      values: the labels' value for each class, such as (0, 255).
      colours: the labels' red, green and blue, 0 to 255, for each class by its name.
      spacing: mm between a picture's columns and between its rows, which its file does not say; 1 mm by default.
      align_labels: resample a label on another grid onto its image's by world coordinates, in place of refusing it.
      val: share of the patients that validates.
      test: share of the patients that tests.
      fold: see `split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name, in place of drawing it; a table's column says it as well.
      split_file: a run's `splits.json`, within dir or absolute: its split for every patient.
      notice: what the report must say of the data.

    Returns:
      The cases, a patient's all in one split. Without a column `patient`, each image is a patient of its own.

    Raises:
      InputError: where files, table or options do not fit each other; labels are read, and judged, case by case.
    """
    root = data_dir(dir)
    reader = _reader(classes=classes, channels=channels, values=values, colours=colours, spacing=spacing,
                     align_labels=align_labels)
    rows = _table(root, table) if table else _pairs(root / images, root / labels, image_suffix, label_suffix)
    split = divide(rows, root / table, dict(splits or {}), root / split_file if split_file else None,
                   val=val, test=test, fold=fold, folds=folds, seed=split_seed)
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']],
        read=functools.partial(reader.pair, row['image'], row['label']), how=repr(reader),
        files=(*image_files.files(row['image']), *image_files.files(row['label'])),
        columns={name: value or '' for name, value in row.items() if name not in RESERVED}) for row in rows)
    return Source(cases=cases, classes=reader.classes, notice=notice, channels=reader.channels)


def image_reader(**options: Any) -> Callable[[str | pathlib.Path], Image]:
    """Makes what reads a new image as the cases' images are read, of the options of `source`; needs no data set."""
    return _reader(**options).image


def _reader(*, classes: Sequence[str], channels: Sequence[str] = ('image',), values: Sequence[int] | None = None,
            colours: Mapping[str, Sequence[int]] | None = None, spacing: Sequence[float] | None = None,
            align_labels: bool = False, **_: Any) -> 'Reader':
    return Reader(tuple(classes), tuple(channels), None if values is None else tuple(values), colours,
                  None if spacing is None else tuple(spacing), align_labels)


@dataclasses.dataclass(frozen=True)
class Reader:
    """How a folder's files are meant; the attributes are `source`'s options."""

    classes: tuple[str, ...]
    channels: tuple[str, ...]
    values: tuple[int, ...] | None
    colours: Mapping[str, Sequence[int]] | None
    spacing: tuple[float, ...] | None
    align: bool

    def __post_init__(self):
        if self.values is not None and len(set(self.values)) != len(self.classes):
            raise InputError(f'{KEYS}.values: {self.values}; expected one for each of {self.classes}, all different')
        if self.colours is not None:
            rgb = {tuple(colour) for colour in self.colours.values() if isinstance(colour, Sequence)
                   and len(colour) == 3 and all(value in range(256) for value in colour)}
            if set(self.colours) != set(self.classes) or len(rgb) != len(self.classes):
                raise InputError(f'{KEYS}.colours: {dict(self.colours)}; expected [red, green, blue], 0 to 255, for '
                                 f'each of {self.classes}, all different')
            if self.values is not None:
                raise InputError(f'{KEYS}.values: {self.values}, with colours; expected one of the two')
        if self.spacing is not None and (len(self.spacing) != 2 or not all(0 < s < 1e6 for s in self.spacing)):
            raise InputError(f'{KEYS}.spacing: {self.spacing}; expected mm between columns and between rows')

    def pair(self, image_path: str, label_path: str) -> tuple[Image, Image]:
        """An image and its label, checked, on the image's grid."""
        image = self.image(image_path)
        return image, self.label(label_path, image)

    def image(self, path: str | pathlib.Path) -> Image:
        """An image with as many channels as there should be: `[X, Y, Z]` for one, `[X, Y, Z, C]` for more."""
        image = self._open(path)
        array, expected = _without_copies(image.array) if len(self.channels) == 1 else image.array, len(self.channels)
        if (array.shape[3] if array.ndim == 4 else 1) != expected:
            raise InputError(f'{path}: {describe(image)}; expected {expected} channel{"s"[:expected - 1]} '
                             f'({", ".join(self.channels)}), as {KEYS}.channels says')
        image = dataclasses.replace(image, array=array)
        image_files.check_finite(image)
        return image

    def label(self, path: str | pathlib.Path, image: Image) -> Image:
        """A label as class numbers, uint8 `[X, Y, Z]`, on the image's grid."""
        label = self._open(path, indices=not self.colours)
        label = image_files.check_label(dataclasses.replace(label, array=self._numbers(label)), len(self.classes))
        if self.align and not same_grid(image, label):
            label = dataclasses.replace(restore(label, image, 'label'), path=str(path))
        check_pair(image, label)
        # The same grid to a tenth of a voxel; from here on exactly, or crops and resampling could drift apart.
        return dataclasses.replace(label, affine=image.affine)

    def _open(self, path: str | pathlib.Path, indices: bool = False) -> Image:
        image = image_files.read(path, indices)
        if self.spacing is not None and image_files.suffix(pathlib.Path(path)) in pictures.SUFFIXES:
            image = dataclasses.replace(image, affine=np.diag([*self.spacing, 1.0, 1.0]))
        return image

    def _numbers(self, label: Image) -> np.ndarray:
        array = label.array
        if self.colours:
            array = np.stack([array] * 3, -1) if array.ndim == 3 else array
            if array.shape[3] != 3:
                raise InputError(f'{label.path}: {array.shape[3]} channels; expected red, green and blue')
            out = np.full(array.shape[:3], 255, np.uint8)
            for number, name in enumerate(self.classes):
                out[(array == np.array(self.colours[name])).all(-1)] = number
            if (out == 255).any():
                first = np.unravel_index((out == 255).argmax(), out.shape)
                raise InputError(f'{label.path}: colour {array[first].tolist()} at {tuple(map(int, first))} is of no '
                                 f'class; expected one of {dict(self.colours)}')
            return out
        array = _without_copies(array)
        if self.values is None:
            if len(self.classes) == 2 and set(np.unique(array).tolist()) == {0, 255}:
                raise InputError(f'{label.path}: label value 255; expected 0 and 1, or {KEYS}.values=(0, 255)')
            return array
        unknown = np.setdiff1d(array, self.values)
        if unknown.size:
            raise InputError(f'{label.path}: label value {unknown[0]:g}; expected one of {self.values}')
        out = np.zeros(array.shape, np.uint8)
        for number, value in enumerate(self.values):
            out[array == value] = number
        return out


def _without_copies(array: np.ndarray) -> np.ndarray:
    """Takes one of several equal channels: grey, stored as red, green and blue."""
    return array[..., 0] if array.ndim == 4 and array.shape[3] == 3 and (array == array[..., :1]).all() else array


def _pairs(images: pathlib.Path, labels: pathlib.Path, image_suffix: str, label_suffix: str) -> list[dict[str, str]]:
    if images == labels and image_suffix == label_suffix:
        raise InputError(f'{KEYS}: images and labels are both {images}; expected image_suffix and label_suffix to tell '
                         'them apart')

    def named(folder: pathlib.Path, ending: str, other: str) -> dict[str, pathlib.Path]:
        if not folder.is_dir():
            raise InputError(f'{folder}: no such folder; expected images or labels in it')
        found: dict[str, pathlib.Path] = {}
        for path in sorted(filter(image_files.is_image, folder.iterdir())):
            name = image_files.stem(path)
            # Side by side, the files with the longer ending of the two are not also of the shorter one.
            if not name.endswith(ending) or (images == labels and len(other) > len(ending) and name.endswith(other)):
                continue
            name = name[: len(name) - len(ending)]
            if name in found:
                raise InputError(f'{path}: case id {name!r} is also that of {found[name].name}; expected unique names')
            found[name] = path
        if not found:
            raise InputError(f'{folder}: no image whose name ends in {ending!r}; expected some, of the kinds '
                             + ', '.join(image_files.SUFFIXES))
        return found
    pictures, masks = named(images, image_suffix, label_suffix), named(labels, label_suffix, image_suffix)
    for name in sorted(set(pictures) ^ set(masks)):
        lone, other = (pictures[name], labels) if name in pictures else (masks[name], images)
        raise InputError(f'{lone}: nothing in {other} is paired with it; expected the case id {name!r} there as well')
    return [{'id': name, 'patient': name, 'image': str(pictures[name]), 'label': str(masks[name])} for name in pictures]


def _table(root: pathlib.Path, name: str) -> list[dict[str, str]]:
    path = root / name
    rows, columns = read_table(path)
    lacking = [column for column in REQUIRED if column not in columns]
    if lacking or not rows:
        raise InputError(f'{path}: ' + (f'no column {lacking[0]!r}' if lacking else 'no rows')
                         + '; expected id, image, label, and at will patient, split and others')
    first: dict[str, int] = {}  # row of each case id
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, columns)
        for column in ('id', 'patient', 'split'):  # a blank must not make another patient of one
            row[column] = row.get(column, '').strip()
        if first.setdefault(row['id'], number) != number:
            raise InputError(f"{path}: row {number}: id {row['id']!r} is that of row {first[row['id']]}; expected "
                             'unique ids')
        for column in ('image', 'label'):
            file = root / row[column]
            if not row[column] or not os.path.exists(file):
                raise InputError(f'{path}: row {number}: {column} {row[column][:200]!r} does not exist; expected it '
                                 f'within {root}')
            row[column] = str(file)
        row['patient'] = row['patient'] or row['id']
    return rows
