"""Images with boxes in one CSV table, a row for each object.

    path,x1,y1,x2,y2,label,patient,split                2D images: columns [x1, x2) and rows [y1, y2), pixels from 0
    seriesuid,coordX,coordY,coordZ,diameter_mm          volumes: balls in world coordinates, as in LUNA16 (Setio 2017)

Pixel i of an image covers [i, i + 1). Where x2 and y2 are the last pixels of an object, add 1 to both first. The
centres of balls are in mm in LPS, as in DICOM and ITK: x grows to the patient's left, y to the back. A table of balls
needs no label.

All images of the folder are cases; those without a row, or with an empty one, show no object.
"""

import pathlib
from collections.abc import Mapping, Sequence

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


def source(*, table: str, dir: str = '', images: str = 'images', classes: Sequence[str] = (), patient_regex: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A detection source from a table of boxes or of balls.

    Args:
      table: a CSV file within dir, as above. An image is named by its path within `images` or by its file name, with or
        without suffix.
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
    rows, columns = read_table(path)
    check_near_names(path, columns, (*OTHER, 'label'))
    name_column = next((name for name in NAMES if name in columns), '')
    box_columns = next((kind for kind in (PIXELS, WORLD) if set(kind) <= set(columns)), ())
    if not name_column or not box_columns:
        raise InputError(f'{path}: columns {", ".join(columns)}; expected path and x1, y1, x2, y2 and label, or '
                         f'seriesuid and {", ".join(WORLD)}')
    if 'label' not in columns and len(classes) != 1:
        raise InputError(f'{path}: no column label; expected one, or a single name in config.data.source.classes')
    files, beside = find_images(folder, depth=-1)
    by_name = _files_by_name(files, folder)
    objects: dict[pathlib.Path, list[tuple[list[float], str]]] = {file: [] for file in files}
    others: dict[pathlib.Path, dict[str, str]] = {}
    for number, row in enumerate(rows, 2):
        matches = by_name.get(row[name_column].strip(), [])
        if len(matches) != 1:
            raise InputError(f'{path}: row {number}: {name_column} {row[name_column][:200]!r} is the name of '
                             f'{len(matches)} images; expected one, in {folder}')
        file = matches[0]
        other = {column: filled(row.get(column)) for column in OTHER}
        if others.setdefault(file, other) != other:
            raise InputError(f'{path}: row {number}: {other}, and {others[file]} before; expected the same for all '
                             f'rows of {row[name_column]}')
        if any(row[column].strip() for column in box_columns):
            name = row['label'].strip() if 'label' in columns else classes[0]
            objects[file].append((_box(path, number, row, box_columns), name))
    warnings, without = left_out(beside, folder), len(set(files) - set(others))
    if without:
        warnings = (*warnings, f'Images without a row, taken to show no object: {without} of {len(files)}.')
    width, unit = (4, 'voxel') if box_columns == PIXELS else (6, 'mm')
    annotated = [AnnotatedImage(
        id='_'.join(file.relative_to(folder).with_name(image_files.stem(file)).parts), path=str(file), where=str(path),
        boxes=np.reshape([box for box, _ in file_objects], (-1, width)), names=[name for _, name in file_objects],
        unit=unit, **others.get(file, {})) for file, file_objects in objects.items()]
    return detection_source(annotated, classes, root, patient_regex=patient_regex, splitting=splitting, notice=notice,
                            warnings=warnings)


def _files_by_name(files: Sequence[pathlib.Path], folder: pathlib.Path) -> dict[str, list[pathlib.Path]]:
    """Files by every name that a row may use: path or file name, with or without suffix."""
    out: dict[str, list[pathlib.Path]] = {}
    for file in files:
        relative, stem = file.relative_to(folder), image_files.stem(file)
        for name in {str(relative), file.name, stem, str(relative.with_name(stem))}:
            out.setdefault(name, []).append(file)
    return out


def _box(path: pathlib.Path, number: int, row: Mapping[str, str], columns: Sequence[str]) -> list[float]:
    """The box of a row, in pixels or in mm RAS+."""
    try:
        values = [float(row[column]) for column in columns]
    except ValueError as error:
        raise InputError(f'{path}: row {number}: {", ".join(row[column] for column in columns)}; expected numbers in '
                         f'{", ".join(columns)}') from error
    if columns == PIXELS:
        return values
    x, y, z, diameter = values
    centre, half = np.array([-x, -y, z]), diameter / 2  # LPS to RAS
    return [*(centre - half), *(centre + half)]
