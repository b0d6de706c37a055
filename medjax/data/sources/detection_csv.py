"""Images with boxes in one CSV table, a row for each object.

    path,x1,y1,x2,y2,label,patient,split                2D images: columns [x1, x2) and rows [y1, y2), pixels from 0
    seriesuid,coordX,coordY,coordZ,diameter_mm          volumes: balls in world coordinates, as in LUNA16 (Setio 2017)

Pixel i of an image covers [i, i + 1). Where x2 and y2 are the last pixels of an object, add 1 to both first. The
centres of balls are in mm in LPS, as in DICOM and ITK: x grows to the patient's left, y to the back. A table of balls
needs no label.

All images of the folder are cases; those without a row, or with an empty one, show no object. Findings of a second
table of the same form, such as LUNA16's `annotations_excluded.csv`, are ignored: no objects, and no false positives
where found. A diameter below 0, as that table has for findings without a size, stands for 10 mm, as in LUNA16's
evaluation.
"""

import pathlib
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from medjax.data.io import image_files
from medjax.data.io.image_folders import find_images, left_out
from medjax.data.io.tables import check_near_names, filled, read_table
from medjax.data.source import Source, data_dir
from medjax.data.sources.annotations import AnnotatedImage, detection_source
from medjax.data.splits import Splitting
from medjax.errors import InputError

PIXELS, WORLD = ('y1', 'x1', 'y2', 'x2'), ('coordX', 'coordY', 'coordZ', 'diameter_mm')
NAMES = ('path', 'image', 'seriesuid')  # of the column with the image of a row
OTHER = ('patient', 'split')
EXCLUDED = 'excluded findings'  # why those of the second table are ignored
UNSIZED = 10.0  # mm, the diameter of excluded findings without a size


def source(*, table: str, excluded: str = '', dir: str = '', images: str = 'images', classes: Sequence[str] = (),
           patient_regex: str = '', splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A detection source from a table of boxes or of balls.

    Args:
      table: a CSV file within dir, as above. An image is named by its path within `images` or by its file name, with or
        without suffix.
      excluded: a table of findings that are ignored, within dir; '' for none.
      dir: the data set's folder; see `data_dir`.
      images: folder of the images within dir, searched with its subfolders.
      classes: names; by default those of the column `label`, sorted. Without that column, the single class of all
        objects.
      patient_regex: see `annotations.detection_source`.
      splitting: how patients are assigned to splits where the table has no column `split`.
      notice: text on the data for the report.

    Raises:
      InputError: a table of another form; an image or a class that does not exist.
    """
    root = data_dir(dir)
    path, folder = root / table, root / images
    # The columns are checked before the folder is searched.
    rows, box_columns = _read_rows(path, classes)
    files, beside = find_images(folder, depth=-1)
    by_name = _files_by_name(files, folder)
    objects: dict[pathlib.Path, list[tuple[list[float], str, str]]] = {file: [] for file in files}
    others: dict[pathlib.Path, dict[str, str]] = {}
    for row in rows:
        file = _file(path, row, by_name, folder)
        if others.setdefault(file, row.other) != row.other:
            raise InputError(f'{path}: row {row.number}: {row.other}, and {others[file]} before; expected the same for '
                             f'all rows of {row.name}')
        if row.box:
            objects[file].append((row.box, row.label, ''))
    if excluded:
        rows, kind = _read_rows(root / excluded, classes, excluded=True)
        if kind != box_columns:
            raise InputError(f'{root / excluded}: columns {", ".join(kind)}; expected {", ".join(box_columns)}, as in '
                             f'{path}')
        for row in rows:
            file = _file(root / excluded, row, by_name, folder)
            objects[file] += [(row.box, row.label, EXCLUDED)] if row.box else []
    warnings, without = left_out(beside, folder), len(set(files) - set(others))
    if without:
        warnings = (*warnings, f'Images without a row, taken to show no object: {without} of {len(files)}.')
    width, unit = (4, 'voxel') if box_columns == PIXELS else (6, 'mm')
    annotated = [AnnotatedImage(
        id='_'.join(file.relative_to(folder).with_name(image_files.stem(file)).parts), path=str(file), where=str(path),
        boxes=np.reshape([box for box, *_ in file_objects], (-1, width)), names=[name for _, name, _ in file_objects],
        ignored=[reason for *_, reason in file_objects], unit=unit, **others.get(file, {}))
        for file, file_objects in objects.items()]
    return detection_source(annotated, classes, root, patient_regex=patient_regex, splitting=splitting, notice=notice,
                            warnings=warnings)


class Row(NamedTuple):
    """A row: its number, the name of its image, the values of OTHER, its box, [] for none, and the class of that."""

    number: int
    name: str
    other: dict[str, str]
    box: list[float]
    label: str


def _read_rows(path: pathlib.Path, classes: Sequence[str], excluded: bool = False) -> tuple[list[Row], Sequence[str]]:
    """The rows of a table, and its columns of boxes.

    Args:
      path: of the table.
      classes: see `source`.
      excluded: whether it is that of the ignored findings.
    """
    rows, columns = read_table(path)
    check_near_names(path, columns, (*OTHER, 'label'))
    name_column = next((name for name in NAMES if name in columns), '')
    box_columns = next((kind for kind in (PIXELS, WORLD) if set(kind) <= set(columns)), ())
    if not name_column or not box_columns:
        raise InputError(f'{path}: columns {", ".join(columns)}; expected path and x1, y1, x2, y2 and label, or '
                         f'seriesuid and {", ".join(WORLD)}')
    if 'label' not in columns and len(classes) != 1:
        raise InputError(f'{path}: no column label; expected one, or a single name in config.data.source.classes')
    out = []
    for number, row in enumerate(rows, 2):
        box, label = [], ''
        if any(row[column].strip() for column in box_columns):
            label = row['label'].strip() if 'label' in columns else classes[0]
            box = _box(path, number, row, box_columns, excluded)
        out.append(Row(number, row[name_column], {column: filled(row.get(column)) for column in OTHER}, box, label))
    return out, box_columns


def _file(path: pathlib.Path, row: Row, by_name: Mapping[str, Sequence[pathlib.Path]],
          folder: pathlib.Path) -> pathlib.Path:
    """The image of a row of a table."""
    matches = by_name.get(row.name.strip(), [])
    if len(matches) != 1:
        raise InputError(f'{path}: row {row.number}: image {row.name[:200]!r} is the name of {len(matches)} images; '
                         f'expected one, in {folder}')
    return matches[0]


def _files_by_name(files: Sequence[pathlib.Path], folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Files by every name that a row may use: path or file name, with or without suffix."""
    out: dict[str, list[pathlib.Path]] = {}
    for file in files:
        relative, stem = file.relative_to(folder), image_files.stem(file)
        for name in {str(relative), file.name, stem, str(relative.with_name(stem))}:
            out.setdefault(name, []).append(file)
    return out


def _box(path: pathlib.Path, number: int, row: Mapping[str, str], columns: Sequence[str],
         excluded: bool) -> list[float]:
    """The box of a row, in pixels or in mm RAS+."""
    try:
        values = [float(row[column]) for column in columns]
    except ValueError as error:
        raise InputError(f'{path}: row {number}: {", ".join(row[column] for column in columns)}; expected numbers in '
                         f'{", ".join(columns)}') from error
    if columns == PIXELS:
        return values
    x, y, z, diameter = values
    if excluded and diameter < 0:
        diameter = UNSIZED
    centre, half = np.array([-x, -y, z]), diameter / 2  # LPS to RAS
    return [*(centre - half), *(centre + half)]
