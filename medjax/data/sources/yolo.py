"""Images with boxes in the YOLO format: a text file for each image, a line for each object (Redmon 2016).

    cells/images/train/a.jpg  cells/labels/train/a.txt  cells/images/val/…  cells/images/test/…     with splits
    cells/images/a.jpg  cells/labels/a.txt                                                          split at random

A line holds the class number, then the column and row of the centre, the width and the height, as fractions of the
image size. An image without a file, or with an empty one, shows no object.
"""

import pathlib
from collections.abc import Sequence

import numpy as np

from medjax.data.source import Source, data_dir
from medjax.data.sources.annotations import AnnotatedImage, detection_source, images_by_name
from medjax.data.sources.classification_folder import FOLDERS
from medjax.data.splits import Splitting
from medjax.errors import InputError


def source(*, classes: Sequence[str], dir: str = '', patient: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A detection source from a folder with `images` and `labels`.

    Args:
      classes: names, in the order of their numbers.
      dir: the data set's folder; see `data_dir`.
      patient: see `annotations.detection_source`.
      splitting: how patients are assigned to splits where there are no folders of splits.
      notice: text on the data for the report.

    Raises:
      InputError: text of another form or without an image; a class number that does not exist.
    """
    root = data_dir(dir)
    annotated = []
    for folder, split in _split_folders(root / 'images').items():
        inner = folder.relative_to(root / 'images')
        images, labels = images_by_name(folder), root / 'labels' / inner
        if not labels.is_dir():
            raise InputError(f'{labels}: no such folder; expected a text for each image of {folder} with objects')
        unpaired = sorted(path for path in labels.glob('*.txt') if path.stem not in images)
        if unpaired:
            raise InputError(f'{unpaired[0]}: no image of its name in {folder}; expected one')
        for name, path in images.items():
            boxes, names = _read(labels / f'{name}.txt', classes)
            annotated.append(AnnotatedImage(
                id='_'.join([*inner.parts, name]), path=path, where=str(labels / f'{name}.txt'), boxes=boxes,
                names=names, unit='share', split=split))
    return detection_source(annotated, classes, root, patient=patient, splitting=splitting, notice=notice)


def _split_folders(images: pathlib.Path) -> dict[pathlib.Path, str]:
    """Folders of images and their splits; without any, the folder itself and ''."""
    inside = sorted(path for path in images.iterdir() if path.is_dir()) if images.is_dir() else []
    return {path: FOLDERS[path.name.lower()] for path in inside if path.name.lower() in FOLDERS} or {images: ''}


def _read(path: pathlib.Path, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Boxes `[N, 4]` as fractions of the image size, and their class names."""
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
                             "height as fractions of the image size") from error
        if not 0 <= kind < len(classes):
            raise InputError(f'{path}: line {number}: class {kind}; expected 0 to {len(classes) - 1} '
                             f'({", ".join(classes)})')
        boxes.append([y - height / 2, x - width / 2, y + height / 2, x + width / 2])
        names.append(classes[kind])
    return np.reshape(boxes, (-1, 4)), names
