"""Pictures with boxes as in PASCAL VOC: an XML file for each (Everingham 2010).

    cells/JPEGImages/a.jpg  cells/Annotations/a.xml  cells/ImageSets/Main/{train,val,test}.txt

VOC counts pixels from 1, and `xmax` and `ymax` are the last pixels of an object. BCCD was read to see which way it is
there: of its 364 pictures of 640 by 480, no box begins at 0, and 625 times one begins at 1; 555 times one ends at 640
or at 480, and none beyond: the standard's way. So a box is [xmin - 1, xmax) here. Where xmax is xmin that would be
one pixel; the two such boxes of BCCD mark no cell but a click, and both are taken to be of no size.
"""

import pathlib
from collections.abc import Mapping, Sequence
from xml.etree import ElementTree

import numpy as np

from medjax.data.source import SPLITS, Source, data_dir
from medjax.data.sources.annotations import Marked, dealt, images_in
from medjax.errors import InputError

CORNERS = ('ymin', 'xmin', 'ymax', 'xmax')  # rows before columns


def source(*, dir: str = '', classes: Sequence[str] = (), patient: str = '', val: float = 0.2, test: float = 0.2,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '') -> Source:
    """Reads a folder's annotations; objects marked as difficult or truncated are objects like others.

    Args:
      dir: the data set's folder; '' as `data_dir` says.
      classes: names; by default those in the annotations, sorted.
      patient: see `marked.dealt`.
      val: share of the patients that validates, where the set has no lists: its lists are used as they are.
      test: share of the patients that tests, likewise.
      fold: see `splits.split_by_patient`, as for folds and split_seed.
      folds: …
      split_seed: …
      splits: the split of some or all patients by name, where the set has no lists.
      split_file: a run's `splits.json`, within dir or absolute: its split for every patient.
      notice: what the report must say of the data.

    Raises:
      InputError: annotations that cannot be read, of no picture, or of a class that is not one of `classes`.
    """
    root = data_dir(dir)
    folder = root / 'Annotations'
    images = images_in(root / 'JPEGImages')
    lists = {split: root / 'ImageSets' / 'Main' / f'{split}.txt' for split in SPLITS}
    named = [(name, split) for split, path in lists.items() if path.is_file() for name in _names(path)]
    made = []
    for name, split in named or [(path.stem, '') for path in sorted(folder.glob('*.xml'))]:
        path = folder / f'{name}.xml'
        if name not in images:
            raise InputError(f'{root / "JPEGImages"}: no image {name!r}; expected that of {path}')
        size, boxes, names = read(path)
        made.append(Marked(id=name, path=images[name], where=str(path), boxes=boxes, names=names, split=split,
                           size=size))
    return dealt(made, classes, root, patient=patient, val=val, test=test, fold=fold, folds=folds,
                 split_seed=split_seed, splits=splits, split_file=split_file, notice=notice)


def _names(path: pathlib.Path) -> list[str]:
    """What a list names; lists of one class have a second column."""
    try:
        return [line.split()[0] for line in path.read_text().splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f'{path}: cannot be read; expected a name a line') from error


def read(path: pathlib.Path) -> tuple[tuple[int, ...], np.ndarray, list[str]]:
    """Reads an annotation.

    Returns:
      A picture's columns and rows, `()` where they are not told; boxes `[N, 4]`; and the names of their classes.

    Raises:
      InputError: what is no annotation.
    """
    try:
        tree = ElementTree.parse(path).getroot()
        size = int(tree.findtext('size/width') or 0), int(tree.findtext('size/height') or 0)
        found = tree.findall('object')
        boxes = np.array([[float(item.findtext(f'bndbox/{name}')) for name in CORNERS] for item in found])
        names = [(item.findtext('name') or '').strip() for item in found]
    except OSError as error:
        raise InputError(f'{path}: cannot be read: {error.strerror}; expected the annotation of a picture') from error
    except (ElementTree.ParseError, TypeError, ValueError) as error:
        raise InputError(f'{path}: no annotation: {error}; expected XML with size, and object with name and bndbox: '
                         f'{", ".join(CORNERS)}') from error
    boxes = boxes.reshape(-1, 4)
    boxes[:, :2] -= boxes[:, :2] != boxes[:, 2:]
    return size if min(size) > 0 else (), boxes, names
