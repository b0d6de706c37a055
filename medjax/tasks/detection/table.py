"""A detection's predictions table as arrays: true and found boxes, and who belongs together."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import ImageBoxes, Matches
from medjax.metrics.detection import HIT

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Images as a predictions table has them.

    Attributes:
      classes: names.
      dims: 2 of pictures, 3 of volumes.
      ids: the images' names.
      patients: `[n]` int, the same for images of one patient.
      images: their boxes.
      sizes: of each image's true boxes, pixels or mm³.
    """

    classes: tuple[str, ...]
    dims: int
    ids: tuple[str, ...]
    patients: np.ndarray
    images: tuple[ImageBoxes, ...]
    sizes: tuple[np.ndarray, ...]

    @functools.cached_property
    def matched(self) -> list[Matches]:
        """The found boxes of each class against the true ones, at `detections.thresholds`."""
        return box_matching.match_classes(self.images, len(self.classes), detection.iou_thresholds(self.dims))

    @functools.cached_property
    def pooled(self) -> Matches:
        """The same of all classes together."""
        return box_matching.pool_classes(self.matched)


def read(rows: Sequence[Row], classes: Sequence[str]) -> Table:
    """Reads rows of a predictions table.

    Args:
      rows: a mapping per image: `id`, `patient` (an image without it stands for itself), `size`, and as JSON `truth`,
        [[class, low_0 …, high_0 …], …], and `found`, [[class, score, low_0 …, high_0 …], …]; of volumes `spacing` too.
      classes: names.

    Raises:
      InputError: names the image, the column, and what was expected there.
    """
    ids = tuple(str(row.get('id', number)) for number, row in enumerate(rows))
    patients = [row.get('patient') or f'image {name}' for row, name in zip(rows, ids)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(patients))}
    places, images, sizes, dims = {name: number for number, name in enumerate(classes)}, [], [], 2
    for row, name in zip(rows, ids):
        size = _parsed(row, name, 'size', 'an extent in voxels for each axis')
        if len(size) not in (2, 3) or (images and len(size) != dims):
            raise InputError(f'predictions, case {name}: size: {row.get("size")}; expected two extents or three, the '
                             'same for all')
        dims = len(size)
        truth, labels, _ = _boxes(row, name, 'truth', places, dims)
        images.append(ImageBoxes(truth, labels, *_boxes(row, name, 'found', places, dims)))
        steps = _parsed(row, name, 'spacing', 'mm for each axis') if dims == 3 else [1.0, 1.0]
        sizes.append(((truth[:, dims:] - truth[:, :dims]) * steps).prod(-1))
    return Table(tuple(classes), dims, ids, np.array([numbers[name] for name in patients], int), tuple(images),
                 tuple(sizes))


def per_image(table: Table, score: float) -> list[dict[str, int]]:
    """What is found in each image with a score or a higher one: the columns of `counted`."""
    of = table.pooled
    sure = of.score >= score
    count = lambda where: np.bincount(where, minlength=len(table.images)).tolist()
    objects, found, hit = count(of.object_image), count(of.box_image[sure]), count(of.box_image[sure & (of.matched_object[HIT] >= 0)])
    return [{'objects': n, 'found_operating': f, 'hits': h, 'false_positives': f - h}
            for n, f, h in zip(objects, found, hit)]


def per_class(table: Table, score: float) -> dict[str, dict[str, int]]:
    """The same of all images by class, and `missed`."""
    out = {}
    for name, of in zip(table.classes, table.matched):
        sure = of.score >= score
        hit = int((of.matched_object[HIT][sure] >= 0).sum())
        out[name] = {'objects': len(of.object_image), 'found_operating': int(sure.sum()), 'hits': hit,
                     'false_positives': int(sure.sum()) - hit, 'missed': len(of.object_image) - hit}
    return out


def _parsed(row: Row, case: str, column: str, expected: str) -> list[Any]:
    try:
        value = json.loads(row[column])
        if isinstance(value, list):
            return value
    except (KeyError, TypeError, ValueError):
        pass
    raise InputError(f'predictions, case {case}: {column}: {str(row.get(column))[:60]}; expected {expected}, as JSON')


def _boxes(row: Row, case: str, column: str, places: Mapping[str, int], dims: int) -> tuple[np.ndarray, ...]:
    """A cell's boxes `[N, 2D]`, class numbers and, where it has them, scores."""
    first = 1 + (column == 'found')
    expected = f'[[class, {"score, " * (first == 2)}{2 * dims} corners], …]'
    cell = _parsed(row, case, column, expected)
    try:
        numbers = np.array([one[1:] for one in cell], np.float64).reshape(len(cell), first - 1 + 2 * dims)
        labels = np.array([places[one[0]] for one in cell], int)
    except (KeyError, TypeError, ValueError):
        raise InputError(f'predictions, case {case}: {column}: {str(row[column])[:60]}; expected {expected}, with the '
                         f'classes {", ".join(places)}') from None
    scores = numbers[:, 0] if first == 2 else np.ones(len(cell))
    return numbers[:, first - 1:], labels, scores
