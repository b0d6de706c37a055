"""Pictures with boxes as in COCO: one JSON file for all pictures of a split (Lin 2014).

COCO's `bbox` is [x, y, width, height], from the outer corner of the first pixel, which is counted as 0: the object's
columns are [x, x + width). Boxes of crowds (`iscrowd`) are about many objects, which nobody told apart: they are left
out, and the report says how many.
"""

import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.io import image_files
from medjax.data.source import Source, data_dir
from medjax.data.sources.annotations import Marked, dealt
from medjax.errors import InputError


def source(*, files: Mapping[str, str] | str, dir: str = '', images: str = 'images', classes: Sequence[str] = (),
           patient: str = '', val: float = 0.2, test: float = 0.2, fold: int | Sequence[int] = 0,
           folds: int | Sequence[int] = 0, split_seed: int = 0, splits: Mapping[str, str] | None = None,
           split_file: str = '', notice: str = '') -> Source:
    """Reads JSON files.

    Args:
      files: a JSON file within dir, whose pictures are dealt; or one for each split, as in dict(train='train.json').
      dir: the data set's folder; '' as `data_dir` says.
      images: folder within dir that the files' `file_name` is in.
      classes: names; by default those of the categories, by their numbers.
      patient: see `marked.dealt`.
      val: share of the patients that validates, where there is one file.
      test: share of the patients that tests, likewise.
      fold: see `splits.split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within dir or absolute: its split for every patient.
      notice: what the report must say of the data.

    Raises:
      InputError: files that cannot be read, or of no such pictures or classes.
    """
    root = data_dir(dir)
    made, crowds, names = [], 0, {}
    for split, file in (files.items() if isinstance(files, Mapping) else [('', files)]):
        its, categories, left_out = _read(root / file, root / images, split)
        made, crowds, names = [*made, *its], crowds + left_out, {**names, **categories}
    told = f'Boxes of crowds, left out: {crowds}.' if crowds else ''
    return dealt(made, tuple(classes) or tuple(dict.fromkeys(names[number] for number in sorted(names))), root,
                 patient=patient, val=val, test=test, fold=fold, folds=folds, split_seed=split_seed, splits=splits,
                 split_file=split_file, notice=' '.join(filter(None, [notice, told])))


def _read(path: pathlib.Path, folder: pathlib.Path, split: str) -> tuple[list[Marked], dict[int, str], int]:
    """Pictures, the categories' names by their numbers, and how many crowds were left out."""
    try:
        content = json.loads(path.read_text())
        names = {item['id']: str(item['name']) for item in content['categories']}
        found: dict[Any, list[tuple[list[float], str]]] = {item['id']: [] for item in content['images']}
        crowds = 0
        for item in content['annotations']:
            if item.get('iscrowd'):
                crowds += 1
                continue
            x, y, width, height = map(float, item['bbox'])
            found[item['image_id']].append(([y, x, y + height, x + width], names[item['category_id']]))
        made = []
        for item in content['images']:
            name, marks = pathlib.PurePosixPath(item['file_name']), found[item['id']]
            file = folder / name
            if not file.is_file():
                raise InputError(f'{path}: file_name {str(name)!r} does not exist; expected it within {folder}')
            size = (int(item.get('width') or 0), int(item.get('height') or 0))
            made.append(Marked(
                id='_'.join(name.with_name(image_files.stem(file)).parts), path=str(file), where=str(path), split=split,
                boxes=np.reshape([box for box, _ in marks], (-1, 4)), names=[name for _, name in marks],
                size=size if min(size) > 0 else ()))
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected JSON as of COCO') from error
    except KeyError as error:
        raise InputError(f'{path}: no {error.args[0]!r} where it is asked for; expected JSON as of COCO: images, '
                         'annotations and categories, each with an id, that know each other') from error
    except InputError:
        raise
    except (ValueError, TypeError, AttributeError, RecursionError) as error:
        raise InputError(f'{path}: no JSON as of COCO: {error}; expected images, annotations with bbox of four '
                         'numbers, and categories') from error
    return made, names, crowds
