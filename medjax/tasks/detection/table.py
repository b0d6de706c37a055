"""The predictions table of detection: its columns, how an evaluation writes them, and how they are read as arrays."""

import dataclasses
import functools
import json
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import IgnoredRegions, ImageBoxes, Matches
from medjax.metrics.detection import HIT
from medjax.statistics import per_patient

SIZE, SPACING, TRUTH, FOUND, IGNORED = 'size', 'spacing', 'truth', 'found', 'ignored'  # columns that hold JSON
COUNTS = ('objects', 'found_operating', 'hits', 'false_positives')  # columns of `image_counts`
DIGITS = 2  # decimals of a box's corners, in voxels

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Images of a predictions table.

    Attributes:
      classes: names of the classes.
      dims: 2 for images, 3 for volumes.
      ids: names of the images.
      patients: `[n]` int, equal for images of one patient.
      images: the boxes of each image.
      sizes: the sizes of each image's true boxes, in pixels or mm³.
    """

    classes: tuple[str, ...]
    dims: int
    ids: tuple[str, ...]
    patients: np.ndarray
    images: tuple[ImageBoxes, ...]
    sizes: tuple[np.ndarray, ...]

    @functools.cached_property
    def class_matches(self) -> list[Matches]:
        """The matches of found and true boxes of each class, at `metrics.detection.iou_thresholds`."""
        return box_matching.match_classes(self.images, len(self.classes), detection.iou_thresholds(self.dims))

    @functools.cached_property
    def hit_matches(self) -> list[Matches]:
        """The matches of each class without the found boxes that are ignored at the IoU threshold of a hit."""
        return [box_matching.drop_ignored(of, HIT) for of in self.class_matches]

    @functools.cached_property
    def pooled_matches(self) -> Matches:
        """The matches of all classes together, without these boxes."""
        return box_matching.pool_classes(self.hit_matches)

    @functools.cached_property
    def centre_matches(self) -> Matches:
        """The matches of all classes together by LUNA16's rule; see `box_matching.match_centres`."""
        return box_matching.match_centres(self.images, len(self.classes))

    @functools.cached_property
    def has_difficult(self) -> bool:
        """Whether any ignored region is no crowd: COCO's evaluation does not know these."""
        return any(boxes.ignored is not None and not boxes.ignored.crowd.all() for boxes in self.images)


def image_columns(classes: Sequence[str], size: Sequence[int], spacing: Sequence[float] | None,
                  boxes: ImageBoxes) -> Row:
    """The columns that an evaluation writes for an image.

    Args:
      classes: names of the classes.
      size: extents of the stored image, in voxels.
      spacing: mm between its voxels along each axis; None for a 2D image.
      boxes: true and found boxes in its voxels.

    Returns:
      `size`, `spacing` for volumes, `truth`, `found`, and `ignored` where regions may be ignored; see `read`.
    """
    columns = {SIZE: json.dumps(list(size))}
    if spacing is not None:
        columns[SPACING] = json.dumps(np.round(spacing, 6).tolist())
    if boxes.ignored is not None:
        columns[IGNORED] = encode_boxes(classes, boxes.ignored.labels, boxes.ignored.boxes, boxes.ignored.crowd)
    return {**columns, TRUTH: encode_boxes(classes, boxes.true_labels, boxes.true_boxes),
            FOUND: encode_boxes(classes, boxes.pred_labels, boxes.pred_boxes, boxes.scores)}


def encode_boxes(classes: Sequence[str], labels: np.ndarray, boxes: np.ndarray,
                 scores: np.ndarray | None = None) -> str:
    """Boxes as JSON: a list for each with its class's name, its score if there are scores, and its corners.

    Args:
      classes: names of the classes.
      labels: `[N]` class numbers.
      boxes: `[N, 2D]`, lower corner first.
      scores: `[N]`, for found boxes; for ignored regions 1 for crowds and 0 for others.
    """
    leads = [[classes[label]] for label in labels] if scores is None else [
        [classes[label], float(score)] for label, score in zip(labels, scores)]
    corners = np.round(boxes.astype(np.float64), DIGITS).tolist()
    return json.dumps([[*lead, *box] for lead, box in zip(leads, corners)], separators=(',', ':'), ensure_ascii=False)


def read(rows: Sequence[Row], classes: Sequence[str]) -> Table:
    """Reads rows of a predictions table.

    Args:
      rows: a mapping for each image: `id`, `patient` (an image without it is a patient of its own), and what
        `image_columns` gives: `size`, `truth`, [[class, low_0 …, high_0 …], …], `found`, [[class, score, low_0 …,
        high_0 …], …], for volumes `spacing`, and optionally `ignored`, as `found` with 1 for a crowd or 0 in place of
        the score.
      classes: names of the classes.

    Raises:
      InputError: naming the image, the column, and what was expected there.
    """
    ids = tuple(str(row.get('id', number)) for number, row in enumerate(rows))
    images, sizes, dims = [], [], 2
    for row, name in zip(rows, ids):
        size = _json_list(row, name, SIZE, 'an extent in voxels for each axis')
        if len(size) not in (2, 3) or (images and len(size) != dims):
            raise InputError(f'predictions, case {name}: size: {row.get(SIZE)}; expected two extents or three, the '
                             'same number for all')
        dims = len(size)
        boxes = read_boxes(row, classes, dims, name)
        images.append(boxes)
        spacing = _json_list(row, name, SPACING, 'mm for each axis') if dims == 3 else [1.0, 1.0]
        sizes.append(((boxes.true_boxes[:, dims:] - boxes.true_boxes[:, :dims]) * spacing).prod(-1))
    return Table(tuple(classes), dims, ids, per_patient.patient_numbers(rows), tuple(images), tuple(sizes))


def read_boxes(row: Row, classes: Sequence[str], dims: int, case: str = '') -> ImageBoxes:
    """The true and found boxes of one row.

    Args:
      row: with `truth` and `found`.
      classes: names of the classes.
      dims: 2 or 3.
      case: name of the case for messages; the row's `id` by default.

    Raises:
      InputError: naming the case, the column, and what was expected there.
    """
    case = case or str(row.get('id'))
    truth, labels, _ = _decode(row, case, TRUTH, classes, dims)
    ignored = None
    if row.get(IGNORED):
        regions, kinds, crowd = _decode(row, case, IGNORED, classes, dims)
        ignored = IgnoredRegions(regions, kinds, crowd > 0)
    return ImageBoxes(truth, labels, *_decode(row, case, FOUND, classes, dims), ignored)


def image_counts(table: Table, score: float) -> list[dict[str, int]]:
    """The counts of each image at a score threshold: `objects`, `found_operating`, `hits` and `false_positives`.

    Args:
      table: the images.
      score: found boxes with at least this score count.
    """
    matches = table.pooled_matches
    counted = matches.score >= score
    hit = counted & (matches.matched_object[HIT] >= 0)
    objects, found, hits = (np.bincount(images, minlength=len(table.images)).tolist() for images in (
        matches.object_image, matches.box_image[counted], matches.box_image[hit]))
    return [dict(zip(COUNTS, (n, f, h, f - h))) for n, f, h in zip(objects, found, hits)]


def class_counts(table: Table, score: float) -> dict[str, dict[str, int]]:
    """The counts of each class over all images at a score threshold.

    They are those of `image_counts`, `missed`, and `merged` and `split` of `box_matching.merged_and_split`.

    Args:
      table: the images.
      score: found boxes with at least this score count.
    """
    out = {}
    for label, (name, matches) in enumerate(zip(table.classes, table.hit_matches)):
        merged, split = np.sum([(0, 0), *(box_matching.merged_and_split(
            boxes.pred_boxes[(boxes.pred_labels == label) & (boxes.scores >= score)],
            boxes.true_boxes[boxes.true_labels == label]) for boxes in table.images)], 0).tolist()
        counted = matches.score >= score
        objects, found = len(matches.object_image), int(counted.sum())
        hits = int((matches.matched_object[HIT][counted] >= 0).sum())
        out[name] = {**dict(zip(COUNTS, (objects, found, hits, found - hits))), 'missed': objects - hits,
                     'merged': merged, 'split': split}
    return out


def _json_list(row: Row, case: str, column: str, expected: str) -> list[Any]:
    try:
        value = json.loads(row[column])
        if isinstance(value, list):
            return value
    except (KeyError, TypeError, ValueError):
        pass
    raise InputError(f'predictions, case {case}: {column}: {str(row.get(column))[:60]}; expected {expected}, as JSON')


def _decode(row: Row, case: str, column: str, classes: Sequence[str], dims: int) -> tuple[np.ndarray, ...]:
    """The boxes `[N, 2D]` of a cell, their class numbers `[N]`, and their scores `[N]`, 1 for true boxes."""
    scored = column != TRUTH
    expected = f'[[class, {"score, " if column == FOUND else "crowd, " if scored else ""}{2 * dims} corners], …]'
    cell = _json_list(row, case, column, expected)
    places = {name: number for number, name in enumerate(classes)}
    try:
        numbers = np.array([box[1:] for box in cell], np.float64).reshape(len(cell), scored + 2 * dims)
        labels = np.array([places[box[0]] for box in cell], int)
    except (KeyError, TypeError, ValueError):
        raise InputError(f'predictions, case {case}: {column}: {str(row[column])[:60]}; expected {expected}, with the '
                         f'classes {", ".join(places)}') from None
    return numbers[:, scored:], labels, numbers[:, 0] if scored else np.ones(len(cell))
