"""Detection sources from images with annotated objects: class names become numbers, patients are split."""

import dataclasses
import functools
import os
import pathlib
import re
from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.io.image_folders import find_images
from medjax.data.io.tables import check_spellings
from medjax.data.source import UNKNOWN_PATIENTS, Case, Objects, Source, stratum_of
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError, few
from medjax.metrics.box_matching import IgnoredRegions

CROWD = 'crowds of objects'  # the reason why a region that holds many objects is ignored


@dataclasses.dataclass(frozen=True)
class AnnotatedImage:
    """An image and its annotated objects.

    Attributes:
      id: unique in the source.
      path: of the image.
      where: the annotation file, for messages.
      boxes: `[N, 2D]`; see `source.Objects`, also for unit.
      names: class names of the N boxes.
      unit: …
      ignored: '' for each of the N boxes that is an object, else why it is ignored, in the words of its format, such as
        CROWD; () for none.
      split: '' where the data set does not say it.
      patient: '' where the data set does not say it.
      columns: other values of the image, for the predictions table.
      size: extents of the stored array `[X, Y, Z]`, or the first of them, that the annotations were drawn for; empty
        where the annotation file does not say it.
    """

    id: str
    path: str
    where: str
    boxes: np.ndarray
    names: Sequence[str]
    unit: str = 'voxel'
    ignored: Sequence[str] = ()
    split: str = ''
    patient: str = ''
    columns: Mapping[str, str] = dataclasses.field(default_factory=dict)
    size: tuple[int, ...] = ()


def detection_source(images: Sequence[AnnotatedImage], classes: Sequence[str], root: pathlib.Path, *,
                     patient_regex: str = '', splitting: Splitting, notice: str = '',
                     warnings: Sequence[str] = ()) -> Source:
    """A detection source of annotated images. Of objects with the same class and box in an image one is kept.

    Args:
      images: at least one.
      classes: names; by default those of the objects, sorted.
      root: the data set's folder.
      patient_regex: a regular expression whose first group is the patient's name in a file name, such as r'^([^_]+)_'.
        By default each image without a patient counts as one of its own.
      splitting: how patients without a split are assigned; stratified by the classes in their images.
      notice: text on the data for the report.
      warnings: what was left out or assumed, a line each.

    Raises:
      InputError: no image; a class that is not one of `classes`; as `Splitting.divide`.
    """
    if not images:
        raise InputError(f'{root}: no annotated image; expected at least one')
    names = {name for image in images for name in image.names}
    if not classes:
        check_spellings(root, 'classes', names)
    classes = tuple(classes) or tuple(sorted(names))
    for image in images:
        unknown = sorted(set(image.names) - set(classes))
        if unknown:
            raise InputError(f'{image.where}: class {unknown[0]!r}; expected one of: {", ".join(classes)}')
    repeated = {image.id: len(image.names) - len(_first_of_each(image)) for image in images}
    repeated = {name: count for name, count in repeated.items() if count}
    if repeated:
        warnings = (*warnings, f'Objects with the class and box of another one in the same image, left out: '
                               f'{sum(repeated.values())} (of {few(list(repeated))}).')
    targets = [_objects(image, classes) for image in images]
    for reason in sorted({reason for image in images for reason in image.ignored} - {''}):
        count = sum(reason == one for image in images for one in image.ignored)
        warnings = (*warnings, f'Annotated regions that are ignored, {reason}: {count}. They count neither as objects '
                               'nor, where a box is found there, as background.')
    rows = [{'patient': image.patient or (patient_name(image.path, patient_regex) if patient_regex else image.id),
             'split': image.split} for image in images]
    split = splitting.divide(rows, root, root, strata=[stratum_of(target) for target in targets])
    cases = tuple(Case(
        id=image.id, patient=row['patient'], split=split[row['patient']], target=target, columns=image.columns,
        read=functools.partial(_read, image.path, image.size, image.where), files=image_files.files(image.path),
        how=f'{image.size}') for image, row, target in zip(images, rows, targets))
    known = bool(patient_regex) or any(image.patient for image in images)
    if not known:
        notice = f'{notice} {UNKNOWN_PATIENTS}'.strip()
    return Source(cases=cases, classes=classes, problem='detection', least_classes=1, notice=notice,
                  warnings=tuple(warnings), analysis_unit='patient' if known else 'image')


def _first_of_each(image: AnnotatedImage) -> list[int]:
    """The number of the first object with each class and box, and of the first ignored region."""
    first: dict[tuple[str | float, ...], int] = {}
    for number, (name, box, reason) in enumerate(zip(image.names, image.boxes, _reasons(image))):
        first.setdefault((reason, name, *map(float, box)), number)
    return list(first.values())


def _reasons(image: AnnotatedImage) -> Sequence[str]:
    """Why each box of an image is ignored, '' where it is not."""
    return image.ignored or [''] * len(image.names)


def _objects(image: AnnotatedImage, classes: Sequence[str]) -> Objects:
    """The objects of an image, with class numbers."""
    kept, reasons = _first_of_each(image), _reasons(image)

    def chosen(ignored: bool) -> tuple[list[int], np.ndarray, list[int]]:
        some = [number for number in kept if bool(reasons[number]) == ignored]
        boxes = np.reshape(image.boxes, (len(image.names), -1))[some] if some else image.boxes[:0]
        return some, boxes, [classes.index(image.names[number]) for number in some]

    numbers, boxes, labels = chosen(True)
    crowd = np.array([reasons[number] == CROWD for number in numbers], bool)
    ignored = IgnoredRegions(boxes, np.array(labels, np.int32), crowd) if numbers else None
    return Objects(*chosen(False)[1:], image.unit, ignored)


def patient_name(path: str, pattern: str) -> str:
    """The patient's name in a file name: the first group of a regular expression.

    Raises:
      InputError: the expression is not valid or does not match.
    """
    try:
        match = re.search(pattern, os.path.basename(path))
        name = match.group(1) if match else ''
    except (re.error, IndexError) as error:
        raise InputError(f'{KEYS}.patient_regex: {pattern!r} is no regular expression with a group: {error}') from error
    if not name:
        raise InputError(f'{path}: its name has no patient by {KEYS}.patient_regex, {pattern!r}; expected one')
    return name


def images_by_name(folder: pathlib.Path) -> tuple[dict[str, str], list[pathlib.Path]]:
    """Paths of a folder's images by their names without suffix, and its other files and subfolders.

    Raises:
      InputError: the folder is missing; two images have the same name; links to files that do not exist.
    """
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; expected images in it')
    images, others = find_images(folder)
    return {name: str(path) for name, path in unique_stems(images).items()}, others


def annotations_by_name(folder: pathlib.Path, suffix: str) -> tuple[dict[str, pathlib.Path], list[pathlib.Path]]:
    """Paths of a folder's annotation files by their names without suffix, and its other files and subfolders.

    Args:
      folder: the folder.
      suffix: of the annotation files, in lower case; upper case is found as well.

    Raises:
      InputError: two files have the same name; links to files that do not exist.
    """
    images, others = find_images(folder)
    files, rest = [], list(images)
    for path in others:
        (files if path.suffix.lower() == suffix and not path.is_dir() else rest).append(path)
    image_files.check_links(files, folder)
    return unique_stems(files), rest


def unique_stems(paths: Sequence[pathlib.Path]) -> dict[str, pathlib.Path]:
    """Paths by their names without suffix.

    Raises:
      InputError: two have the same name.
    """
    out: dict[str, pathlib.Path] = {}
    for path in paths:
        name = image_files.stem(path) if image_files.is_image(path) else path.stem
        if out.setdefault(name, path) != path:
            raise InputError(f'{path}: {out[name]} has the same name; expected unique names')
    return out


def check_size(size: tuple[int, ...], found: tuple[int, ...], where: str, path: str | os.PathLike[str]) -> None:
    """Checks that annotations were drawn for the size of their image, where the annotation file says the size.

    Raises:
      InputError: they were drawn for another size.
    """
    if size != found[:len(size)]:
        turned = ' once its orientation tag is applied, if it has one' if size == found[1::-1] else ''
        raise InputError(f'{where}: its boxes are of {"×".join(map(str, size))} pixels; expected '
                         f'{"×".join(map(str, found[:len(size)]))}, as {path} has{turned}')


def _read(path: str, size: tuple[int, ...], where: str) -> tuple[Image, None]:
    image = image_files.read(path)
    check_size(size, image.array.shape, where, path)
    return image, None
