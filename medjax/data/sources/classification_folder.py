"""Images with a class, or several, as a whole: a folder per class, or a table that says it.

    chest/train/normal/a.png  chest/train/pneumonia/b.png  chest/validation/…  chest/test/…    as Keras and PyTorch read
    chest/normal/a.png        chest/pneumonia/b.png                                            to be dealt by patient
    chest/cases.csv           path,label,patient,split,sex,…
"""

import collections
import functools
import os
import pathlib
from collections.abc import Mapping, Sequence

from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.io.tables import check_fields, read_table
from medjax.data.source import SPLITS, UNKNOWN, UNKNOWN_PATIENTS, Case, Source, data_dir
from medjax.data.sources.annotations import patient_of
from medjax.data.splits import KEYS, divide
from medjax.errors import InputError

FOLDERS = {'train': 'train', 'training': 'train', 'val': 'val', 'valid': 'val', 'validation': 'val', 'test': 'test',
           'testing': 'test'}  # a split's folder by its usual names
KNOWN = {'0': 0, '0.0': 0, '1': 1, '1.0': 1, '': UNKNOWN}  # a cell of a multilabel table
RESERVED = ('id', 'path', 'patient', 'split')


def source(*, dir: str = '', classes: Sequence[str] = (), table: str = '', label: str = 'label',
           problem: str = '', patient: str = '', val: float = 0.2, test: float = 0.2, fold: int | Sequence[int] = 0,
           folds: int | Sequence[int] = 0, split_seed: int = 0, splits: Mapping[str, str] | None = None,
           split_file: str = '', notice: str = '') -> Source:
    """Finds images by the folders of their classes, or reads them from a table.

    Args:
      dir: the data set's folder; '' as `data_dir` says.
      classes: names; of a binary problem the positive one last, of an ordinal one in their order. By default the
        folders' or the labels' names, sorted.
      table: a CSV file within dir, with the column `path` (within dir) and the classes; as far as known also `id`,
        `patient` and `split`; all other columns go to the predictions table.
      label: the table's column with the class's name. Where it has none of that name, there is a column for each of
        `classes` with 1, 0, or nothing where it is not known: an image can have several.
      problem: 'binary', 'multiclass' or 'ordinal'; by the number of classes by default.
      patient: a regular expression whose first group is the patient's name in a file's name, such as r'^([^_]+)_';
        by default each image is a patient of its own.
      val: share of the patients that validates; each class is dealt in equal shares.
      test: share of the patients that tests.
      fold: see `splits.split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name, in place of dealing it.
      split_file: a run's `splits.json`, within dir or absolute: its split for every patient.
      notice: what the report must say of the data.

    Returns:
      The cases, a patient's all in one split.

    Raises:
      InputError: folders, table or options that do not fit each other.
    """
    root = data_dir(dir)
    rows = _table(root, table) if table else _folders(root)
    if table and label not in rows[0]:
        classes, problem, targets = _several(rows, root / table, tuple(classes), label, problem)
    else:
        named = [row[label].strip() for row in rows]
        if problem == 'multilabel' or (problem == 'ordinal' and not classes) or '' in named:
            raise InputError(f'{root / table}: problem={problem!r}, classes={tuple(classes)} and labels '
                             f'{sorted(set(named))[:9]}; expected a label for each image, the classes in their order '
                             "for 'ordinal', and a column for each class for 'multilabel'")
        classes = tuple(classes) or tuple(sorted(set(named)))
        for row, name in zip(rows, named):
            if name not in classes:
                raise InputError(f'{row["path"]}: class {name!r}; expected one of: {", ".join(classes)}')
        problem, targets = problem or ('binary' if len(classes) == 2 else 'multiclass'), list(map(classes.index, named))
    for row in rows:
        row['patient'] = row['patient'] or (patient_of(row['path'], patient) if patient else row['id'])
    where = root / table if table else root
    split = divide(rows, where, dict(splits or {}), root / split_file if split_file else None,
                   classes=[str(target) for target in targets], val=val, test=test, fold=fold, folds=folds,
                   seed=split_seed)
    inner = (*RESERVED, *(classes if problem == 'multilabel' else (label,)))
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']], target=target,
        read=functools.partial(_read, row['path']), files=image_files.files(row['path']),
        columns={name: value for name, value in row.items() if name not in inner})
        for row, target in zip(rows, targets))
    alone = all(row['patient'] == row['id'] for row in rows)
    return Source(cases=cases, classes=classes, problem=problem,
                  notice=' '.join(filter(None, [notice, UNKNOWN_PATIENTS if alone else ''])))


def _read(path: str) -> tuple[Image, None]:
    return image_files.read(path), None


def _folders(root: pathlib.Path) -> list[dict[str, str]]:
    """A row for each image in the folders of the classes, within folders of splits where there are such."""
    inside = sorted(p for p in root.iterdir() if p.is_dir() and not p.name.startswith('.'))
    halves = {path: FOLDERS[path.name.lower()] for path in inside if path.name.lower() in FOLDERS}
    if halves and set(inside) - set(halves):
        raise InputError(f'{min(set(inside) - set(halves))}: no split, beside {min(halves).name}; expected either a '
                         'folder for each split or one for each class')
    rows = []
    for parent, split in (halves or {root: ''}).items():
        for folder in sorted(p for p in parent.iterdir() if p.is_dir() and not p.name.startswith('.')):
            found = sorted(path for path in folder.rglob('*') if image_files.is_image(path)
                           and not any(part.startswith('.') for part in path.relative_to(folder).parts))
            if not found:
                raise InputError(f'{folder}: no image; expected those of the class {folder.name!r}, of the kinds '
                                 + ', '.join(image_files.SUFFIXES))
            stems = [path.with_name(image_files.stem(path)) for path in found]
            times = collections.Counter(stems)
            for path, stem in zip(found, stems):
                # Two kinds of file of one name are two cases.
                name = '_'.join((stem if times[stem] == 1 else path).relative_to(root).parts)
                rows.append({'id': name, 'patient': '', 'split': split, 'path': str(path), 'label': folder.name})
    if not rows:
        raise InputError(f'{root}: no folder of a class; expected {root}/CLASS/IMAGE or {root}/train/CLASS/IMAGE')
    return rows


def _table(root: pathlib.Path, name: str) -> list[dict[str, str]]:
    path = root / name
    rows, columns = read_table(path)
    taken = [name for name in columns if name in ('target', 'uncertainty', 'run')
             or name.startswith(('target_', 'prob_'))]
    if taken:
        raise InputError(f'{path}: column {taken[0]!r}; expected another name: the predictions table has one of this')
    if not rows or 'path' not in rows[0]:
        raise InputError(f'{path}: no ' + ("column 'path'" if rows else 'rows') + '; expected path, and the classes, '
                         'and at will id, patient, split and others')
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, columns)
        stored = row['path']
        for column in RESERVED:
            row[column] = row.get(column, '').strip()
        row['path'] = str(root / row['path'])
        if not pathlib.PurePath(stored).name or not os.path.exists(row['path']):
            raise InputError(f'{path}: row {number}: {stored[:200]!r} does not exist; expected it within {root}')
        row['id'] = row['id'] or '_'.join(pathlib.PurePath(stored).with_name(
            image_files.stem(pathlib.Path(stored))).parts).strip('/')
        row['split'] = FOLDERS.get(row['split'].lower(), row['split'])
        if row['split'] and row['split'] not in SPLITS:
            raise InputError(f'{path}: row {number}: split {row["split"]!r}; expected one of: {", ".join(SPLITS)}')
    return rows


def _several(rows: Sequence[Mapping[str, str]], path: pathlib.Path, classes: tuple[str, ...], label: str,
             problem: str) -> tuple[tuple[str, ...], str, list[tuple[int, ...]]]:
    """Classes, problem and targets of a table with a column for each class."""
    lacking = [name for name in classes if name not in rows[0]]
    if not classes or lacking or problem not in ('', 'multilabel'):
        raise InputError(f'{path}: no column {(lacking or [label])[0]!r}; expected {label!r} with the class, or a '
                         f'column for each of {KEYS}.classes')
    for number, row in enumerate(rows, 2):
        for name in classes:
            if row[name].strip() not in KNOWN:
                raise InputError(f'{path}: row {number}: {name} is {row[name]!r}; expected 1, 0 or nothing')
    return classes, 'multilabel', [tuple(KNOWN[row[name].strip()] for name in classes) for row in rows]
