"""Images with boxes in the YOLO format: a text file for each image, a line for each object (Redmon 2016).

    cells/images/train/a.jpg  cells/labels/train/a.txt  cells/images/val/…  cells/images/test/…     with splits
    cells/images/a.jpg  cells/labels/a.txt                                                          split at random

A line holds the class number, then the column and row of the centre, the width and the height, as fractions of the
image size. An image without a file, or with an empty one, shows no object. A file `classes.txt`, as labelImg writes it,
must have the classes of the config in the same order.
"""

import os
import pathlib
from collections.abc import Sequence

import numpy as np

from medjax.data.io.image_folders import find_images, left_out
from medjax.data.source import Source, data_dir
from medjax.data.sources.annotations import AnnotatedImage, annotations_by_name, detection_source, images_by_name
from medjax.data.sources.classification_folder import FOLDERS
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError


def source(*, classes: Sequence[str], dir: str = '', patient_regex: str = '',
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A detection source from a folder with `images` and `labels`.

    Args:
      classes: names, in the order of their numbers.
      dir: the data set's folder; see `data_dir`.
      patient_regex: see `annotations.detection_source`.
      splitting: how patients are assigned to splits where there are no folders of splits.
      notice: text on the data for the report.

    Raises:
      InputError: text of another form or without an image; a class number that does not exist.
    """
    root = data_dir(dir)
    annotated, warnings, without = [], [], 0
    folders, beside = _split_folders(root / 'images')
    warnings += left_out(beside, root / 'images', 'beside the folders of splits')
    for folder, split in folders.items():
        inner = folder.relative_to(root / 'images')
        labels = root / 'labels' / inner
        images, other_images = images_by_name(folder)
        if not labels.is_dir():
            raise InputError(f'{labels}: no such folder; expected a text for each image of {folder} with objects')
        texts, other_labels = annotations_by_name(labels, '.txt')
        listed = [root / 'classes.txt', root / 'labels' / 'classes.txt']
        if 'classes' in texts and 'classes' not in images:
            listed.append(texts.pop('classes'))
        for path in filter(os.path.lexists, listed):
            _check_classes(path, classes)
        unpaired = sorted(set(texts) - set(images))
        if unpaired:
            raise InputError(f'{texts[unpaired[0]]}: no image of its name in {folder}; expected one')
        for name, path in images.items():
            text = texts.get(name)
            boxes, names = _read(text, classes) if text else (np.zeros((0, 4)), [])
            annotated.append(AnnotatedImage(
                id='_'.join([*inner.parts, name]), path=path, where=str(text or labels / f'{name}.txt'), boxes=boxes,
                names=names, unit='share', split=split))
        without += len(set(images) - set(texts))
        warnings += left_out(other_images, folder) + left_out(other_labels, labels, 'not labels')
    if annotated and without == len(annotated):
        raise InputError(f'{root / "labels"}: no label of any of the {without} images; expected NAME.txt for those '
                         'with objects')
    if without:
        warnings.append(f'Images without a label, taken to show no object: {without} of {len(annotated)}.')
    return detection_source(annotated, classes, root, patient_regex=patient_regex, splitting=splitting, notice=notice,
                            warnings=warnings)


def _split_folders(images: pathlib.Path) -> tuple[dict[pathlib.Path, str], list[pathlib.Path]]:
    """Folders of images and their splits, without any the folder itself and ''; and what is beside those of splits."""
    if not images.is_dir():
        return {images: ''}, []
    found, others = find_images(images)
    splits = {path: FOLDERS[path.name.lower()] for path in others if path.is_dir() and path.name.lower() in FOLDERS}
    if not splits:
        return {images: ''}, []
    return splits, [path for path in [*found, *others] if path not in splits]


def _check_classes(path: pathlib.Path, classes: Sequence[str]) -> None:
    """Checks that a file that lists the classes in the order of their numbers has those given.

    Raises:
      InputError: it has others, or in another order.
    """
    found = [line.strip() for line in _lines(path) if line.strip()]
    if found != list(classes):
        raise InputError(f'{path}: classes {", ".join(found)}; expected those of {KEYS}.classes, {", ".join(classes)}, '
                         'in this order')


def _lines(path: pathlib.Path) -> list[str]:
    try:
        return path.read_text(encoding='utf-8-sig').splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: cannot be read; expected text') from error


def _read(path: pathlib.Path, classes: Sequence[str]) -> tuple[np.ndarray, list[str]]:
    """Boxes `[N, 4]` as fractions of the image size, and their class names."""
    boxes, names = [], []
    for number, line in enumerate(_lines(path), 1):
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
