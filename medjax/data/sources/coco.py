"""Images with boxes in the COCO format: one JSON file for all images of a split (Lin 2014).

COCO's `bbox` is [x, y, width, height], measured from the outer corner of the first pixel, so an object covers the
columns [x, x + width). Crowd boxes (`iscrowd`) hold many objects that are not annotated one by one. They are ignored as
in COCO: what is found in them is neither right nor wrong, and what lies in them is no background to learn. The report
says how many there are.
"""

import json
import os
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.io import data_paths, image_files
from medjax.data.source import Source, data_dir
from medjax.data.sources.annotations import CROWD, AnnotatedImage, detection_source
from medjax.data.splits import Splitting
from medjax.errors import InputError


def source(*, files: Mapping[str, str] | str, dir: str = '', images: str = 'images', classes: Sequence[str] = (),
           patient_regex: str = '', splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A detection source from JSON files.

    Args:
      files: a JSON file within dir, whose images are split at random; or one for each split, as in
        dict(train='train.json').
      dir: the data set's folder; see `data_dir`.
      images: folder within dir that `file_name` is relative to.
      classes: names; by default those of the categories, in the order of their ids.
      patient_regex: see `annotations.detection_source`.
      splitting: how patients are assigned to splits where there is one file.
      notice: text on the data for the report.

    Raises:
      InputError: a file that cannot be read; an image or a class that does not exist.
    """
    root = data_dir(dir)
    annotated: list[AnnotatedImage] = []
    categories: dict[int, str] = {}
    for split, file in (files.items() if isinstance(files, Mapping) else [('', files)]):
        file_images, file_categories = _read(root / file, root / images, split)
        annotated += file_images
        categories |= file_categories
    classes = tuple(classes) or tuple(dict.fromkeys(categories[number] for number in sorted(categories)))
    return detection_source(annotated, classes, root, patient_regex=patient_regex, splitting=splitting, notice=notice)


def _read(path: pathlib.Path, folder: pathlib.Path, split: str) -> tuple[list[AnnotatedImage], dict[int, str]]:
    """Annotated images, and category names by id."""
    try:
        return _parse(json.loads(path.read_text(), object_pairs_hook=_unique), path, folder, split)
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected JSON in the COCO format') from error
    except KeyError as error:
        raise InputError(f'{path}: no {error.args[0]!r} where it is referred to; expected JSON in the COCO format: '
                         'images, annotations and categories, with ids that match') from error
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f'{path}: no JSON in the COCO format: {error}; expected images, annotations with bbox of four '
                         'numbers, and categories') from error


def _unique(pairs: Sequence[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object without repeated keys."""
    out = dict(pairs)
    if len(out) < len(pairs):
        names = [name for name, _ in pairs]
        raise ValueError(f'key {max(names, key=names.count)!r} occurs twice')
    return out


def _by_id(items: Sequence[Mapping[str, Any]], kind: str, path: pathlib.Path) -> dict[Any, Mapping[str, Any]]:
    """Images or categories by their ids."""
    out: dict[Any, Mapping[str, Any]] = {}
    for item in items:
        other = out.setdefault(item['id'], item)
        if other is not item:
            name = 'file_name' if kind == 'image' else 'name'
            raise InputError(f'{path}: {kind} id {item["id"]!r} is that of {other.get(name)!r} and of '
                             f'{item.get(name)!r}; expected unique ids: files that were merged have to be numbered '
                             'again')
    return out


def _parse(content: Any, path: pathlib.Path, folder: pathlib.Path,
           split: str) -> tuple[list[AnnotatedImage], dict[int, str]]:
    """What `_read` returns, of a file's content."""
    categories = {number: str(item['name']) for number, item in _by_id(content['categories'], 'category', path).items()}
    items = _by_id(content['images'], 'image', path)
    objects: dict[Any, list[tuple[list[float], str, str]]] = {number: [] for number in items}
    for item in content['annotations']:
        if len(item['bbox']) != 4:
            raise InputError(f'{path}: annotation {item.get("id")!r}: bbox {item["bbox"]}; expected x, y, width and '
                             'height')
        x, y, width, height = map(float, item['bbox'])
        objects[item['image_id']].append(([y, x, y + height, x + width], categories[item['category_id']],
                                          CROWD if item.get('iscrowd') else ''))
    images = []
    for number, item in items.items():
        name, image_objects = pathlib.PurePosixPath(os.path.normpath(item['file_name'])), objects[number]
        file = data_paths.inside(folder, str(name), f'{path}: file_name')
        if not file.is_file():
            raise InputError(f'{path}: file_name {str(name)!r} does not exist; expected it within {folder}')
        size = (int(item.get('width') or 0), int(item.get('height') or 0))
        images.append(AnnotatedImage(
            id='_'.join(name.with_name(image_files.stem(file)).parts), path=str(file), where=str(path), split=split,
            boxes=np.reshape([box for box, *_ in image_objects], (-1, 4)), names=[name for _, name, _ in image_objects],
            ignored=[reason for *_, reason in image_objects], size=size if min(size) > 0 else ()))
    return images, categories
