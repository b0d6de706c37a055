"""Results of detection from its predictions table: average precision, FROC, and metrics at the operating point."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import Matches
from medjax.metrics.detection import HIT
from medjax.statistics import intervals, per_patient, proportions
from medjax.statistics.calibration import fitting_split
from medjax.tasks.detection import coco_ap
from medjax.tasks.detection.score_calibration import calibrate_scores
from medjax.tasks.detection.table import Row, Table, class_counts, image_counts, read
from medjax.tasks.detection.video_metrics import video_metrics

CONVENTIONS = (
    'Boxes are compared in the voxels of the stored image, rounded to hundredths. In each image and class, found boxes '
    'in order of decreasing score each take the free object that they overlap most. A box is a hit if this IoU is at '
    'least the threshold; every other found box is a false positive, also a second one on the same object. The '
    f'{box_matching.LIMIT} boxes with the highest scores count in each image and class. AP is defined as in COCO: the '
    'mean over 101 recalls of the highest precision at that recall or a higher one, and over classes the mean. In 2D '
    'it is computed by faster-coco-eval (boxes given as x, y, width, height) at IoU .5 (AP50) and as the mean over .5, '
    '.55 … .95 (AP); in 3D at IoU .1 to .5 (AP10 … AP50) and as the mean over .1, .15 … .5 (AP). Average recall is the '
    'mean over the same thresholds and the classes of the fraction of objects that is hit. FROC pools all classes and '
    'counts hits at an IoU of at least .5 in 2D and .1 in 3D; sensitivity is interpolated between thresholds and '
    'constant beyond the last one. CPM is its mean at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives per image. In 3D '
    'it is also given by LUNA16\'s rule, with which published values compare: a found box is on an object if its '
    'centre is within the object\'s radius (of a box: in the inscribed ellipsoid); an object has the highest score of '
    'the boxes on it, and the others on it are no false positives. Ignored regions (COCO\'s crowds, VOC\'s difficult '
    'objects, LUNA16\'s excluded findings) are no objects, and a box without an object that is on one of its class is '
    'no false positive: on a crowd by the fraction of the box that lies in it, on others by the IoU, or by LUNA16\'s '
    'rule by its centre. With difficult objects, AP in 2D is computed here, as COCO knows crowds only. The '
    'operating point is the score threshold with the largest F1, for these hits, on the split calibrate, or on '
    'validation cases where there is none; without any hit it is 0.5. Platt scaling is fitted on the same cases. Sizes '
    'are those of true boxes: in 2D small objects have an area below 32² pixels of the stored image, large ones 96² or '
    'more; in 3D sizes are tertiles of the volumes of the split\'s boxes in mm³. An image without objects counts for '
    'the number of false positives per image only. A class without an object in a split has no AP and is left out of '
    'means, but its false positives count in FROC and precision; a class whose objects are never hit has AP 0. Without '
    'any object, AP and sensitivity are not defined; without any found box, precision is not. Sensitivity and '
    'precision have Clopper–Pearson intervals at the effective sample size of Korn and Graubard (1998), others are '
    't intervals over patients with the standard error of the jackknife, all images of a patient left out together, '
    'with sizes and operating point fixed. AP is biased upwards with few objects: its interval is that of the mean AP '
    'of samples of this size.')
AREAS = (32.0**2, 96.0**2)  # pixels from which objects are medium, and large
SIZES = ('small', 'medium', 'large')
DEFAULT_SCORE = 0.5  # operating point where no held-out case sets it


def results(rows: Sequence[Row], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: average precision, FROC, and sensitivity at the operating point.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `analysis`, the other parts of `summarise`; `problem` and
      `conventions`.
    """
    header = {'problem': 'detection', 'conventions': CONVENTIONS}
    if not rows:
        return header
    classes = evaluator.data.source.classes
    analysis = summarise(rows, classes)
    videos = {split: video_metrics(part, classes, analysis['operating']['score'])
              for split, part in per_patient.rows_by_split(rows).items()}
    if any(videos.values()):
        analysis['videos'] = videos
    return {**analysis.pop('metrics'), **header, 'analysis': analysis}


def add_counts(rows: Sequence[Row], classes: Sequence[str]) -> list[dict[str, Any]]:
    """The rows with the counts of each image at the operating point.

    Args:
      rows: as for `table.read`, each with its `split`.
      classes: names of the classes.

    Returns:
      The rows with the columns of `table.image_counts`.
    """
    tables, operating = _read_splits(rows, classes)
    counts = {split: iter(image_counts(table, operating['score'])) for split, table in tables.items()}
    return [{**row, **next(counts[row['split']])} for row in rows]


def summarise(rows: Sequence[Row], classes: Sequence[str]) -> dict[str, Any]:
    """Summarises a predictions table.

    Args:
      rows: as for `table.read`, each with its `split`.
      classes: names of the classes.

    Returns:
      - `metrics`: {split: {name: entry}}, entries as in `statistics.intervals.entry` and with `objects`, the number of
        objects that count: the metrics of `metrics.detection.compute_metrics`; in 3D `cpm_luna16`; at the operating
        point `sensitivity`, `sensitivity_small`, `_medium` and `_large`, `precision`, `f1`, and `false_positives` per
        image;
      - `operating`: `score`, `rule`, `split`;
      - `sizes`: `limits` {split: the two limits between small, medium and large}, and their `unit`;
      - `counts`: {split: {class: `table.class_counts`}};
      - `calibration`: of `score_calibration.calibrate_scores`;
      - `warnings`: lines.

    Raises:
      InputError: as for `table.read`; there is no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected at least one')
    tables, operating = _read_splits(rows, classes)
    out: dict[str, Any] = {'metrics': {}, 'operating': operating, 'sizes': {'limits': {}}, 'counts': {}, 'warnings': []}
    for split, table in tables.items():
        limits = size_limits(table)
        out['metrics'][split] = entries(table, operating['score'], limits)
        out['sizes']['limits'][split] = [float(limit) for limit in limits]
        out['counts'][split] = class_counts(table, operating['score'])
        out['sizes']['unit'] = 'mm³' if table.dims == 3 else 'pixels'
        absent = [name for name, matches in zip(table.classes, table.class_matches) if not len(matches.object_image)]
        if absent:
            out['warnings'].append(f'{split}: no object of {", ".join(absent)}: AP is not defined')
    return {**out, 'calibration': calibrate_scores(tables)}


def entries(table: Table, score: float, limits: Sequence[float]) -> dict[str, Any]:
    """The metrics of a table with confidence intervals; see `summarise`.

    Args:
      table: the images.
      score: of the operating point.
      limits: the sizes from which an object is medium, and large.
    """
    values = metric_values(table, score, limits)
    samples = metric_values(table, score, limits, intervals.left_out(table.patients))
    if table.dims == 2 and not table.has_difficult:
        values |= coco_ap.coco_metrics(table.images, table.classes)
    out = {name: _entry(table, name, float(np.ravel(value)[0]), samples[name], limits)
           for name, value in values.items()}
    for name, (hits, patients) in _proportions(table, score, limits).items():
        if len(hits):
            out[name] = proportions.entry(hits, patients, '') | {'objects': out[name]['objects']}
    return out


def named_metrics(matches: Sequence[Matches], classes: Sequence[str], dims: int,
                  weight: np.ndarray) -> dict[str, np.ndarray]:
    """AP, average recall and FROC by their names in `results.json`; those of a class are NAME_CLASS.

    Args:
      matches: of each class.
      classes: names of the classes.
      dims: 2 or 3.
      weight: `[R, images]`, the number of times that each image counts.

    Returns:
      `[R]` for each name; see `metrics.detection.compute_metrics`.
    """
    return {key if isinstance(key, str) else f'{key[0]}_{classes[key[1]]}': value
            for key, value in detection.compute_metrics(matches, dims, weight).items()}


def _read_splits(rows: Sequence[Row], classes: Sequence[str]) -> tuple[dict[str, Table], dict[str, Any]]:
    """The table of each split, and the operating point."""
    tables = {split: read(part, classes) for split, part in per_patient.rows_by_split(rows).items()}
    fit = fitting_split(tables)
    if fit:
        matches = tables[fit].pooled_matches
        found = np.arange(1, len(matches.score) + 1)
        f1 = 2 * (matches.matched_object[HIT] >= 0).cumsum() / (found + len(matches.object_image))
        f1[np.flatnonzero(np.diff(matches.score) == 0)] = 0  # boxes with equal scores are found together
        if f1.any():
            return tables, {'score': float(matches.score[f1.argmax()]), 'rule': 'largest F1', 'split': fit}
    kind = 'calibration' if fit == 'calibrate' else 'validation'
    return tables, {'score': DEFAULT_SCORE, 'rule': f'no {kind} case with a hit', 'split': None}


def metric_values(table: Table, score: float, limits: Sequence[float],
                  draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics of a table, `[R]` by their names in `results.json`.

    Args:
      table: the images.
      score: of the operating point.
      limits: the sizes from which an object is medium, and large.
      draws: `[R, images]`, how often each image counts; once by default.
    """
    weight = np.ones((1, len(table.images))) if draws is None else draws
    out = named_metrics(table.class_matches, table.classes, table.dims, weight)
    matches = table.pooled_matches
    counted = matches.score >= score
    hit = counted & (matches.matched_object[HIT] >= 0)

    def total(images: np.ndarray) -> np.ndarray:
        return weight[:, images].sum(1, dtype=float)

    def ratio(part: np.ndarray, whole: np.ndarray) -> np.ndarray:
        return np.divide(part, whole, out=np.full(len(weight), np.nan), where=whole > 0)

    objects, boxes = total(matches.object_image), total(matches.box_image[counted])
    hits = total(matches.box_image[hit])
    if table.dims == 3:
        out['cpm_luna16'] = detection.froc(table.centre_matches, weight).mean(1)
    out |= {'sensitivity': ratio(hits, objects), 'precision': ratio(hits, boxes),
            'f1': ratio(2 * hits, objects + boxes), 'false_positives': ratio(boxes - hits, weight.sum(1, dtype=float))}
    taken = matches.matched_object[HIT][hit]
    kind = _size_numbers(table, limits)
    for number, name in enumerate(SIZES):
        found = taken[kind[taken] == number]
        out[f'sensitivity_{name}'] = ratio(total(matches.object_image[found]),
                                           total(matches.object_image[kind == number]))
    return out


def _proportions(table: Table, score: float, limits: Sequence[float]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """Whether each object was found, or each box is right, and its patient, `[m]`, by the metric's name."""
    matches = table.pooled_matches
    counted, right = matches.score >= score, matches.matched_object[HIT] >= 0
    found = np.isin(np.arange(len(matches.object_image)), matches.matched_object[HIT][counted & right])
    patients, kind = table.patients[matches.object_image], _size_numbers(table, limits)
    out = {'sensitivity': (found, patients), 'precision': (right[counted], table.patients[matches.box_image[counted]])}
    return out | {f'sensitivity_{name}': (found[kind == number], patients[kind == number])
                  for number, name in enumerate(SIZES)}


def _size_numbers(table: Table, limits: Sequence[float]) -> np.ndarray:
    """The number in SIZES of each object."""
    matches = table.pooled_matches
    return np.array([np.digitize(table.sizes[image][number], limits)
                     for image, number in zip(matches.object_image, matches.object_number)], int)


def _entry(table: Table, name: str, value: float, samples: np.ndarray, limits: Sequence[float]) -> dict[str, Any]:
    """A metric with its interval, over the patients and objects that it is of."""
    label = max((number for number, end in enumerate(table.classes) if name.startswith('ap')
                 and name.endswith(f'_{end}')), key=lambda number: len(table.classes[number]), default=None)
    count = np.array([len(boxes.true_boxes) if label is None else (boxes.true_labels == label).sum()
                      for boxes in table.images], int)
    patients, reason = table.patients, 'no object' if label is None else f'no object of {table.classes[label]}'
    size = name.removeprefix('sensitivity_')
    if size in SIZES:
        count = np.array([(np.digitize(sizes, limits) == SIZES.index(size)).sum() for sizes in table.sizes], int)
        patients, reason = patients[count > 0], 'no object of that size'
    reason = 'nothing found' if name == 'precision' else reason
    return intervals.entry(value, samples, patients, reason, name) | {'objects': int(count.sum())}


def counted_images(table: Table, name: str) -> np.ndarray:
    """The images that count for a metric, `[images]` bool: all, or of a size those with such an object."""
    size, limits = name.removeprefix('sensitivity_'), size_limits(table)
    if size not in SIZES:
        return np.ones(len(table.images), bool)
    return np.array([(np.digitize(sizes, limits) == SIZES.index(size)).any() for sizes in table.sizes], bool)


def size_limits(table: Table) -> Sequence[float]:
    """The sizes from which an object is medium, and large."""
    if table.dims == 2:
        return AREAS
    sizes = np.concatenate(table.sizes)
    return np.quantile(sizes, [1 / 3, 2 / 3]) if len(sizes) else np.zeros(2)
