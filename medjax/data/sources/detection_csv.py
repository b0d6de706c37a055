"""Images with boxes in one CSV table, a row for each object.

    path,x1,y1,x2,y2,label,patient,split                pictures: columns [x1, x2) and rows [y1, y2), in pixels from 0
    seriesuid,coordX,coordY,coordZ,diameter_mm          volumes: balls in the world, as LUNA16 (Setio 2017) has them

A picture's pixel i is [i, i + 1): who counts the last pixel in adds 1 to x2 and y2 first. Of balls the centre is in mm
in LPS, as DICOM and ITK have it: x grows to the patient's left, y to the back. Such a table need not have a label.

All images of the folder are cases; those without a row, or with an empty one, show no object.
"""

import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.io import image_files
from medjax.data.io.tables import check_fields, read_table
from medjax.data.source import Source, data_dir
from medjax.data.sources.annotations import Marked, dealt
from medjax.errors import InputError

PIXELS, WORLD = ('y1', 'x1', 'y2', 'x2'), ('coordX', 'coordY', 'coordZ', 'diameter_mm')
NAMES = ('path', 'image', 'seriesuid')  # of the column that says which image a row is of
OTHER = ('patient', 'split')


def source(*, table: str, dir: str = '', images: str = 'images', classes: Sequence[str] = (), patient: str = '',
           val: float = 0.2, test: float = 0.2, fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0,
           split_seed: int = 0, splits: Mapping[str, str] | None = None, split_file: str = '',
           notice: str = '') -> Source:
    """Reads a table of boxes or of balls.

    Args:
      table: a CSV file within dir, as above; an image is named by its path within `images`, or by its file's name, with
        its suffix or without.
      dir: the data set's folder; '' as `data_dir` says.
      images: folder of the images within dir, and folders in it.
      classes: names; by default those of the column `label`, sorted. Without such a column, the one of all objects.
      patient: see `marked.dealt`.
      val: share of the patients that validates, where the table has no column `split`.
      test: share of the patients that tests, likewise.
      fold: see `splits.split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within dir or absolute: its split for every patient.
      notice: what the report must say of the data.

    Raises:
      InputError: a table that is not as above, or of no such image; a class that is not one of `classes`.
    """
    root = data_dir(dir)
    path, folder = root / table, root / images
    rows, columns = read_table(path)
    named = next((name for name in NAMES if name in columns), '')
    kind = next((kind for kind in (PIXELS, WORLD) if set(kind) <= set(columns)), ())
    if not named or not kind:
        raise InputError(f'{path}: columns {", ".join(columns)}; expected path and x1, y1, x2, y2 and label, or '
                         f'seriesuid and {", ".join(WORLD)}')
    if 'label' not in columns and len(classes) != 1:
        raise InputError(f'{path}: no column label; expected one, or a single name in config.data.source.classes')
    files = sorted(filter(image_files.is_image, folder.rglob('*')))
    known: dict[str, list[pathlib.Path]] = {}  # by all that a row may call it
    for file in files:
        for name in {str(file.relative_to(folder)), file.name, image_files.stem(file),
                     str(file.relative_to(folder).with_name(image_files.stem(file)))}:
            known.setdefault(name, []).append(file)
    marks: dict[pathlib.Path, list[tuple[list[float], str]]] = {file: [] for file in files}
    said: dict[pathlib.Path, dict[str, str]] = {}
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, columns)
        found = known.get(row[named].strip(), [])
        if len(found) != 1:
            raise InputError(f'{path}: row {number}: {named} {row[named][:200]!r} is the name of {len(found)} images; '
                             f'expected one, in {folder}')
        its = {column: row.get(column, '').strip() for column in OTHER}
        if said.setdefault(found[0], its) != its:
            raise InputError(f'{path}: row {number}: {its}, and {said[found[0]]} before; expected the same for all '
                             f'rows of {row[named]}')
        if any(row[column].strip() for column in kind):
            name = row['label'].strip() if 'label' in columns else classes[0]
            marks[found[0]].append((_box(path, number, row, kind), name))
    made = [Marked(id='_'.join(file.relative_to(folder).with_name(image_files.stem(file)).parts), path=str(file),
                   where=str(path), boxes=np.reshape([box for box, _ in its], (-1, 4 if kind == PIXELS else 6)),
                   names=[name for _, name in its], unit='voxel' if kind == PIXELS else 'mm', **said.get(file, {}))
            for file, its in marks.items()]
    return dealt(made, classes, root, patient=patient, val=val, test=test, fold=fold, folds=folds,
                 split_seed=split_seed, splits=splits, split_file=split_file, notice=notice)


def _box(path: pathlib.Path, number: int, row: Mapping[str, str], kind: Sequence[str]) -> list[float]:
    try:
        values = [float(row[column]) for column in kind]
    except ValueError as error:
        raise InputError(f'{path}: row {number}: {", ".join(row[column] for column in kind)}; expected numbers in '
                         f'{", ".join(kind)}') from error
    if kind == PIXELS:
        return values
    x, y, z, diameter = values
    centre, half = np.array([-x, -y, z]), diameter / 2  # LPS to RAS
    return [*(centre - half), *(centre + half)]
