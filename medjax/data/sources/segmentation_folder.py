"""A folder of images and labels as a segmentation data set, which needs a config and no code.

Volumes (NIfTI, NRRD, MetaImage) and 2D images (PNG, JPEG, TIFF, BMP, GIF) are read alike: a 2D image is a volume of one
slice, `[column, row, 1]`; see `data.io.raster`. A DICOM file is an image, and a DICOM segmentation a label; a table can
name folders of DICOM series.
"""

import dataclasses
import functools
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Literal

import numpy as np

from medjax.data.io import data_paths, dicom_series, image_files, image_folders, raster
from medjax.data.io.geometry import Image, check_pair, describe, embedded, restore, same_grid
from medjax.data.io.image_folders import add_dicom_files, find_images, left_out, patients_by_header
from medjax.data.io.label_codes import LabelCode, without_copies
from medjax.data.io.tables import check_near_names, filled, read_table
from medjax.data.labels import named_segments
from medjax.data.source import UNKNOWN_PATIENTS, Case, Source, data_dir
from medjax.data.sources.annotations import patient_name
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError
from medjax.options import NonNegativeInt, Positive

REQUIRED = ('id', 'image', 'label')
RESERVED = (*REQUIRED, 'patient', 'split')


def source(*, classes: Sequence[str], dir: str = '', images: str = 'images', labels: str = 'labels',
           image_suffix: str = '', label_suffix: str = '', table: str = '', channels: Sequence[str] = ('image',),
           label_values: Sequence[NonNegativeInt] | None = None,
           colours: Mapping[str, Sequence[NonNegativeInt]] | None = None, spacing: Sequence[Positive] | None = None,
           align_labels: bool = False, other_segments: Literal['refuse', 'ignore'] = 'refuse',
           patient_regex: str = '', splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A segmentation source with images and labels paired by name, or by a table.

    Args:
      classes: names, background first; labels hold their numbers, to 0.001, unless label_values or colours are given.
      dir: the data set's folder; see `data_dir`.
      images: folder of the images, within dir; may be the same as labels.
      labels: folder of the labels, within dir.
      image_suffix: end of an image's name before its file suffix, such as '_image'; the id is the name without it.
      label_suffix: the same for labels.
      table: a CSV file within dir, with the columns id, image, label (paths within dir) and optionally patient and
        split. All other columns go to the predictions table. It replaces pairing by name.
      channels: names of the images' channels. A grey image that is stored in three equal channels has one.
      label_values: the label value of each class, such as (0, 255); `predict` writes these values.
      colours: red, green and blue, 0 to 255, of each class in the labels, by class name; `predict` writes them.
      spacing: mm between the columns and between the rows of a 2D image, whose file has none. Without it distances and
        areas of 2D images are in pixels.
      other_segments: for labels that name their segments (.seg.nrrd of 3D Slicer, RTSTRUCT), whether segments whose
        name is no class are refused or left out.
      align_labels: resample a label on another grid onto the grid of its image by world coordinates, instead of
        refusing it.
      patient_regex: a regular expression whose first group is the patient's name in a case's id, such as '^(.{12})',
        for cases whose patient is not known from a table or from DICOM headers.
      splitting: how patients are assigned to splits; without a patient's name each image is a patient of its own.
      notice: text on the data for the report.

    Returns:
      A source with all cases of a patient in one split.

    Raises:
      InputError: files, table or options that do not fit each other. Labels are read and checked case by case.
    """
    root = data_dir(dir)
    reader = _reader(classes=classes, channels=channels, label_values=label_values, colours=colours, spacing=spacing,
                     align_labels=align_labels, other_segments=other_segments)
    rows, warnings = (_read_rows(root, table), ()) if table else _pairs(root / images, root / labels, image_suffix,
                                                                        label_suffix)
    if patient_regex:
        for row in rows:
            row['patient'] = row['patient'] or patient_name(row['id'], patient_regex)
    known = any(row['patient'] for row in rows)
    for row in rows:
        row['patient'] = row['patient'] or row['id']
    if not known:
        notice = f'{notice} {UNKNOWN_PATIENTS}'.strip()
    split = splitting.divide(rows, root / table, root)
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']],
        read=functools.partial(reader.pair, row['image'], row['label']), how=repr(reader),
        files=(*image_files.files(row['image']), *image_files.files(row['label'])),
        columns={name: value or '' for name, value in row.items() if name not in RESERVED}) for row in rows)
    return Source(cases=cases, classes=reader.code.classes, notice=notice, channels=reader.channels, warnings=warnings,
                  grid=image_folders.grid([row['image'] for row in rows], spacing, f'{KEYS}.spacing'),
                  analysis_unit='patient' if known else 'image')


def image_reader(**options: Any) -> Callable[[str | pathlib.Path], Image]:
    """A function that reads a new image as the cases' images are read.

    Args:
      **options: those of `source`. No data set is needed.
    """
    return _reader(**options).image


def label_encoder(**options: Any) -> Callable[[np.ndarray], np.ndarray]:
    """A function that turns class numbers `[X, Y, Z]` into values or colours as the cases' labels have them.

    Args:
      **options: those of `source`. No data set is needed.
    """
    return _reader(**options).code.encode


def _reader(*, classes: Sequence[str], channels: Sequence[str] = ('image',), label_values: Sequence[int] | None = None,
            colours: Mapping[str, Sequence[int]] | None = None, spacing: Sequence[float] | None = None,
            align_labels: bool = False, other_segments: str = 'refuse', **_: Any) -> 'Reader':
    code = LabelCode(tuple(classes), None if label_values is None else tuple(label_values), colours)
    return Reader(code, tuple(channels), None if spacing is None else tuple(spacing), align_labels,
                  other_segments == 'ignore')


@dataclasses.dataclass(frozen=True)
class Reader:
    """Reads images and labels of a folder; the attributes are the options of `source`."""

    code: LabelCode
    channels: tuple[str, ...]
    spacing: tuple[float, ...] | None
    align: bool
    ignore_others: bool = False

    def __post_init__(self):
        if self.spacing is not None and (len(self.spacing) != 2 or not all(0 < s < 1e6 for s in self.spacing)):
            raise InputError(f'{KEYS}.spacing: {self.spacing}; expected mm between columns and between rows')

    def pair(self, image_path: str, label_path: str) -> tuple[Image, Image]:
        """An image and its label on the image's grid, checked."""
        image = self.image(image_path)
        return image, self.label(label_path, image)

    def image(self, path: str | pathlib.Path) -> Image:
        """An image with the expected number of channels: `[X, Y, Z]` for one, `[X, Y, Z, C]` for more."""
        image, expected = self._with_spacing(image_files.read(path)), len(self.channels)
        array = without_copies(image.array) if expected == 1 else image.array
        if (array.shape[3] if array.ndim == 4 else 1) != expected:
            plural = 'channel' if expected == 1 else 'channels'
            raise InputError(f'{path}: {describe(image)}; expected {expected} {plural} ({", ".join(self.channels)}), '
                             f'see {KEYS}.channels')
        image = dataclasses.replace(image, array=array)
        image_files.check_finite(image)
        return image

    def label(self, path: str | pathlib.Path, image: Image) -> Image:
        """A label as class numbers, uint8 `[X, Y, Z]`, on the grid of its image."""
        if named_segments.names_segments(pathlib.Path(path)):
            label = embedded(named_segments.read(pathlib.Path(path), image, self.code.classes, self.ignore_others),
                             image)
        else:
            label = self._with_spacing(self.code.read(path))
        if dicom_series.is_segmentation(pathlib.Path(path)):  # stores the part of the image that has segments
            label = embedded(label, image)
        if self.align and not same_grid(image, label):
            label = dataclasses.replace(restore(label, image, 'label'), path=str(path))
        check_pair(image, label)
        # The grids are equal to a tenth of a voxel. With the same affine, crops and resampling cannot diverge.
        return dataclasses.replace(label, affine=image.affine)

    def _with_spacing(self, image: Image) -> Image:
        """An image with the given spacing where it is a 2D one, whose file has none."""
        if self.spacing is None or image_files.suffix(pathlib.Path(image.path)) not in raster.SUFFIXES:
            return image
        return dataclasses.replace(image, affine=np.diag([*self.spacing, 1.0, 1.0]))


def _pairs(images: pathlib.Path, labels: pathlib.Path, image_suffix: str,
           label_suffix: str) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """A row for each pair of an image and a label with the same name, and lines on the files that are neither."""
    if images == labels and image_suffix == label_suffix:
        raise InputError(f'{KEYS}: images and labels are both {images}; expected different image_suffix and '
                         'label_suffix')
    same_folder, why = images == labels, 'not images with the ending of their folder'
    image_paths, other_images, patients = _paths_by_id(images, image_suffix, label_suffix, same_folder)
    label_paths, other_labels, _ = _paths_by_id(labels, label_suffix, image_suffix, same_folder)
    for name in sorted(set(image_paths) ^ set(label_paths)):
        lone, other = (image_paths[name], labels) if name in image_paths else (label_paths[name], images)
        raise InputError(f'{lone}: nothing in {other} is paired with it; expected the case id {name!r} there as well')
    used = {*image_paths.values(), *label_paths.values()}
    beside = {folder: [path for path in others if path not in used and not images.is_relative_to(path)
                       and not labels.is_relative_to(path)]
              for folder, others in ((images, other_images), (labels, other_labels))}
    warnings = tuple(line for folder, others in beside.items() for line in left_out(others, folder, why))
    rows = [{'id': name, 'patient': patients[path], 'image': str(path), 'label': str(label_paths[name])}
            for name, path in image_paths.items()]
    warnings += patients_by_header(rows, images)
    return rows, warnings


def _paths_by_id(folder: pathlib.Path, ending: str, other: str, same_folder: bool) -> tuple[
        dict[str, pathlib.Path], list[pathlib.Path], dict[pathlib.Path, str]]:
    """Files whose names end in `ending` by the name without it, all other files and subfolders, and the PatientIDs.

    Args:
      folder: of the files.
      ending: of their names, before the file suffix.
      other: the ending of the files to pair with.
      same_folder: whether these are in the same folder.
    """
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; expected images or labels in it')
    out: dict[str, pathlib.Path] = {}
    paths, others = add_dicom_files(*find_images(folder), folder)
    for path in paths:
        name = image_files.stem(path)
        # In one folder, a file with the longer of the two endings does not count for the shorter one.
        belongs_to_other = same_folder and len(other) > len(ending) and name.endswith(other)
        if not name.endswith(ending) or belongs_to_other:
            others.append(path)
            continue
        name = name[: len(name) - len(ending)]
        if name in out:
            raise InputError(f'{path}: case id {name!r} is also that of {out[name].name}; expected unique names')
        out[name] = path
    if not out:
        raise InputError(f'{folder}: no image whose name ends in {ending!r}; expected some, of the formats '
                         + ', '.join((*image_files.SUFFIXES, '.dcm')))
    return out, others, paths


def _read_rows(root: pathlib.Path, name: str) -> list[dict[str, str]]:
    """The rows of a table, checked."""
    path = root / name
    rows, columns = read_table(path)
    check_near_names(path, columns, RESERVED)
    missing = [column for column in REQUIRED if column not in columns]
    if missing or not rows:
        raise InputError(f'{path}: ' + (f'no column {missing[0]!r}' if missing else 'no rows')
                         + '; expected id, image, label, and optionally patient, split and others')
    first: dict[str, int] = {}  # row of each case id
    patients: dict[str, tuple[str, int]] = {}  # of each image, with its first row
    for number, row in enumerate(rows, 2):
        for column in ('id', 'patient', 'split'):  # names that differ in blanks alone are the same
            row[column] = filled(row.get(column))
        if first.setdefault(row['id'], number) != number:
            raise InputError(f"{path}: row {number}: id {row['id']!r} is that of row {first[row['id']]}; expected "
                             'unique ids')
        for column in ('image', 'label'):
            file = data_paths.inside(root, row[column], f'{path}: row {number}: {column}')
            if not row[column] or not image_files.exists(file):
                raise InputError(f'{path}: row {number}: {column} {row[column][:200]!r} does not exist; expected it '
                                 f'within {root}')
            row[column] = str(file)
        patient = row['patient'] or row['id']
        other, before = patients.setdefault(os.path.normpath(row['image']), (patient, number))
        if other != patient:
            raise InputError(f"{path}: row {number}: {row['image']} is of patient {patient!r}, and of {other!r} "
                             f'in row {before}; expected one patient for all labels of an image')
    return rows
