"""Images with one or several classes: a folder for each class, or a table.

    chest/train/normal/a.png  chest/train/pneumonia/b.png  chest/validation/…  chest/test/…    as Keras and PyTorch read
    chest/normal/a.png        chest/pneumonia/b.png                                            split by patient
    chest/cases.csv           path,label,patient,split,sex,…

In a folder of a class, each DICOM file is an image, and its header names the patient. A table can name DICOM files and
folders of series.
"""

import collections
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Literal

from medjax.data.io import data_paths, image_files
from medjax.data.io.geometry import Image
from medjax.data.io.image_folders import add_dicom_files, find_images, left_out, patients_by_header
from medjax.data.io.tables import check_near_names, check_spellings, filled, read_table
from medjax.data.source import NAMED_SPLITS, UNKNOWN, UNKNOWN_PATIENTS, Case, Source, data_dir, stratum_of
from medjax.data.sources.annotations import patient_name
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError

FOLDERS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test',
           'testing': 'test'}  # the splits by their usual folder names
CELLS = {'0': 0, '0.0': 0, '1': 1, '1.0': 1, '': UNKNOWN}  # valid cells of a multilabel table
RESERVED = ('id', 'path', 'patient', 'split')


def source(*, dir: str = '', classes: Sequence[str] = (), table: str = '', label: str = 'label',
           problem: Literal['', 'binary', 'multiclass', 'ordinal', 'multilabel'] = '', patient_regex: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A classification source from a folder for each class, or from a table.

    Args:
      dir: the data set's folder; see `data_dir`.
      classes: names. For binary problems the positive class is last; for ordinal problems they are in order. By default
        the names of the folders or labels, sorted.
      table: a CSV file within dir, with the column `path` (within dir) and the classes, and optional columns `id`,
        `patient` and `split`. All other columns go to the predictions table.
      label: the table's column with the class name. A table without that column is multilabel: it has a column for each
        of `classes` with 1, 0, or an empty cell where the class is unknown.
      problem: 'binary', 'multiclass' or 'ordinal'; by default chosen by the number of classes.
      patient_regex: a regular expression whose first group is the patient's name in a file name, such as r'^([^_]+)_'.
        By default each image counts as a patient of its own, but DICOM files of one PatientID are of one patient.
      splitting: how patients are assigned to splits; stratified by class.
      notice: text on the data for the report.

    Returns:
      A source with all cases of a patient in one split.

    Raises:
      InputError: folders, table or options that do not fit each other.
    """
    root = data_dir(dir)
    where = root / table if table else root
    rows, warnings = (_read_rows(root, table), ()) if table else _folder_rows(root, by_header=not patient_regex)
    if table and label not in rows[0]:
        classes, problem, targets = _multilabel_targets(rows, where, tuple(classes), label, problem)
    else:
        classes, problem, targets = _single_label_targets(rows, where, tuple(classes), label, problem)
    known = bool(patient_regex) or any(row['patient'] for row in rows)
    for row in rows:
        row['patient'] = row['patient'] or (patient_name(row['path'], patient_regex) if patient_regex else row['id'])
    split = splitting.divide(rows, where, root, strata=[stratum_of(target) for target in targets])
    inner = (*RESERVED, *(classes if problem == 'multilabel' else (label,)))
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']], target=target,
        read=functools.partial(_read, row['path']), files=image_files.files(row['path']),
        columns={name: value for name, value in row.items() if name not in inner})
        for row, target in zip(rows, targets))
    if not known:
        notice = f'{notice} {UNKNOWN_PATIENTS}'.strip()
    return Source(cases=cases, classes=classes, problem=problem,
                  least_classes=1 if problem == 'multilabel' else 2, notice=notice, warnings=warnings,
                  analysis_unit='patient' if known else 'image')


def _read(path: str) -> tuple[Image, None]:
    return image_files.read(path), None


def _folder_rows(root: pathlib.Path, by_header: bool) -> tuple[list[dict[str, str]], tuple[str, ...]]:
    """A row for each image in the class folders, which may lie within folders of splits; and lines on other files.

    Args:
      root: of the folders.
      by_header: whether DICOM files of one PatientID are of one patient, who is named by the first of them.
    """
    inside, others = _subfolders(root)
    split_folders = {path: FOLDERS[path.name.lower()] for path in inside if path.name.lower() in FOLDERS}
    if split_folders and set(inside) - set(split_folders):
        raise InputError(f'{min(set(inside) - set(split_folders))}: no split, beside {min(split_folders).name}; '
                         'expected either a folder for each split or one for each class')
    rows: list[dict[str, str]] = []
    for parent, split in (split_folders or {root: ''}).items():
        folders, beside = _subfolders(parent)
        others += beside if split_folders else []
        for folder in folders:
            found, beside = _class_rows(root, folder, split)
            rows, others = rows + found, others + beside
    if not rows:
        raise InputError(f'{root}: no folder of a class; expected {root}/CLASS/IMAGE or {root}/train/CLASS/IMAGE')
    warnings = left_out(others, root, 'not images in the folder of a class')
    return rows, (*warnings, *patients_by_header(rows, root, by_header))


def _subfolders(folder: pathlib.Path) -> tuple[list[pathlib.Path], list[pathlib.Path]]:
    """The subfolders of a folder, and its files; hidden ones are neither."""
    images, others = find_images(folder)
    return [path for path in others if path.is_dir()], [*images, *(path for path in others if not path.is_dir())]


def _class_rows(root: pathlib.Path, folder: pathlib.Path,
                split: str) -> tuple[list[dict[str, str]], list[pathlib.Path]]:
    """A row for each image in the folder of a class and its subfolders, with its PatientID, and the other files."""
    paths, others = add_dicom_files(*find_images(folder, depth=-1), folder)
    if not paths:
        raise InputError(f'{folder}: no image; expected those of the class {folder.name!r}, of the formats '
                         + ', '.join((*image_files.SUFFIXES, '.dcm')))
    stems = [path.with_name(image_files.stem(path)) for path in paths]
    counts = collections.Counter(stems)
    rows = []
    for path, stem in zip(paths, stems):
        # Files of one name and several formats are different cases: their ids keep the suffix.
        name = '_'.join((stem if counts[stem] == 1 else path).relative_to(root).parts)
        rows.append({'id': name, 'patient': paths[path], 'split': split, 'path': str(path), 'label': folder.name})
    return rows, others


def _read_rows(root: pathlib.Path, name: str) -> list[dict[str, str]]:
    """The rows of a table, checked."""
    path = root / name
    rows, columns = read_table(path)
    check_near_names(path, columns, RESERVED)
    taken = [name for name in columns if name in ('target', 'uncertainty', 'run')
             or name.startswith(('target_', 'prob_'))]
    if taken:
        raise InputError(f'{path}: column {taken[0]!r}; expected another name: the predictions table has one of this')
    if not rows or 'path' not in rows[0]:
        raise InputError(f'{path}: no ' + ("column 'path'" if rows else 'rows') + '; expected path, and the classes, '
                         'and optional columns id, patient, split and others')
    first: dict[str, int] = {}  # row of each image
    for number, row in enumerate(rows, 2):
        stored = row['path']
        for column in RESERVED:
            row[column] = filled(row.get(column))
        row['path'] = str(data_paths.inside(root, row['path'], f'{path}: row {number}: path'))
        if not pathlib.PurePath(stored).name or not image_files.exists(row['path']):
            raise InputError(f'{path}: row {number}: {stored[:200]!r} does not exist; expected it within {root}')
        before = first.setdefault(os.path.normpath(row['path']), number)
        if before != number:
            raise InputError(f'{path}: row {number}: path {stored[:200]!r} is that of row {before}; expected one row '
                             'for each image')
        row['id'] = row['id'] or '_'.join(pathlib.PurePath(stored).with_name(
            image_files.stem(pathlib.Path(stored))).parts).strip('/')
        row['split'] = FOLDERS.get(row['split'].lower(), row['split'])
        if row['split'] and row['split'] not in NAMED_SPLITS:
            raise InputError(f'{path}: row {number}: split {row["split"]!r}; expected one of: '
                             + ', '.join(NAMED_SPLITS))
    return rows


def _single_label_targets(rows: Sequence[Mapping[str, str]], where: pathlib.Path, classes: tuple[str, ...], label: str,
                          problem: str) -> tuple[tuple[str, ...], str, list[int]]:
    """Classes, problem and class numbers of images with one class each."""
    labels = [row[label].strip() if row[label].strip() in classes else filled(row[label]) for row in rows]
    if problem == 'multilabel' or (problem == 'ordinal' and not classes) or '' in labels:
        raise InputError(f'{where}: problem={problem!r}, classes={classes} and labels {sorted(set(labels))[:9]}; '
                         "expected a label for each image, the classes in their order for 'ordinal', and a column for "
                         "each class for 'multilabel'")
    if not classes:
        check_spellings(where, 'classes', set(labels))
    classes = classes or tuple(sorted(set(labels)))
    for row, name in zip(rows, labels):
        if name not in classes:
            raise InputError(f'{row["path"]}: class {name!r}; expected one of: {", ".join(classes)}')
    problem = problem or ('binary' if len(classes) == 2 else 'multiclass')
    return classes, problem, [classes.index(name) for name in labels]


def _multilabel_targets(rows: Sequence[Mapping[str, str]], where: pathlib.Path, classes: tuple[str, ...], label: str,
                        problem: str) -> tuple[tuple[str, ...], str, list[tuple[int, ...]]]:
    """Classes, problem and targets of a table with a column for each class."""
    missing = [name for name in classes if name not in rows[0]]
    if not classes or missing or problem not in ('', 'multilabel'):
        raise InputError(f'{where}: no column {(missing or [label])[0]!r}; expected {label!r} with the class, or a '
                         f'column for each of {KEYS}.classes')
    for number, row in enumerate(rows, 2):
        for name in classes:
            if row[name].strip() not in CELLS:
                raise InputError(f'{where}: row {number}: {name} is {row[name]!r}; expected 1, 0 or nothing')
    return classes, 'multilabel', [tuple(CELLS[row[name].strip()] for name in classes) for row in rows]
