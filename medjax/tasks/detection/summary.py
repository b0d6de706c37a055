"""A detection's predictions table summed up: average precision, FROC, and what is found at the operating point."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import box_matching, detection
from medjax.metrics.classification import mean_over_defined
from medjax.metrics.detection import HIT
from medjax.statistics import bootstrap, calibration, intervals
from medjax.tasks.detection import coco_ap, video
from medjax.tasks.detection.table import Row, Table, per_class, per_image, read

CONVENTIONS = (
    'Boxes are compared in the voxels of the stored image, in hundredths. A found box is a hit where the object '
    'that it overlaps most, of those of its class that no surer box took, is overlapped by an IoU of the threshold '
    'at least; every other found box is a false positive, a second one on the same object too. Of each image and '
    f'class the {box_matching.LIMIT} surest boxes count. AP is COCO\'s: the mean over 101 recalls of the best precision at '
    'that recall or more; over classes the mean. Of pictures it is computed by faster-coco-eval (boxes given as x, '
    'y, width, height), at IoU .5 (AP50), and the mean over .5, .55 … .95 (AP); of volumes at IoU .1 to .5 (AP10 … '
    'AP50), and the mean over .1, .15 … .5 (AP). Average recall is the mean over the same thresholds and the '
    'classes of the share of objects that is hit at all. FROC has all classes together, and a hit\'s IoU is .5 at '
    'least in pictures, .1 in volumes; sensitivity between two thresholds is interpolated, and beyond the last one '
    'stays. CPM is its mean at 1/8, 1/4, 1/2, 1, 2, 4 and 8 false positives an image. The operating point is the '
    'score that gives the largest F1 on validation cases with these hits; without any it is 0.5. Sizes are those of '
    'true boxes: in pictures small is an area below 32² pixels of the stored image, large one of 96² or more; in '
    'volumes they are thirds of the split\'s objects by the box\'s volume in mm³. An image without objects in which '
    'nothing is found counts as an image for false positives, and for nothing else; what is found in it is a false '
    'positive. A class without an object in a split has no AP and is left out of means, but its false positives '
    'count in FROC and precision; one with objects of which none is hit has AP 0. Without any object there is no AP '
    'and no sensitivity, and without any found box no precision. Intervals are over patients, all images of a '
    'patient drawn together (percentile bootstrap); sizes and the operating point are held fixed. An interval is '
    'given where at least nine of ten resamples define the figure, from those.')
AREAS = (32.0**2, 96.0**2)  # pixels at which objects begin to be medium and large
SIZES = ('small', 'medium', 'large')
UNSET = 0.5  # the operating point where no validation case sets it


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: average precision, FROC, and sensitivity at the operating point.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    known = {'problem': 'detection', 'conventions': CONVENTIONS}
    if not rows:
        return known
    classes = evaluator.data.source.classes
    found = summarise(rows, classes)
    videos = {split: video.scored(some, classes, found['operating']['score'])
              for split, some in bootstrap.rows_by_split(rows).items()}
    if any(videos.values()):
        found['videos'] = videos
    return {**found.pop('metrics'), **known, 'analysis': found}


def counted(rows: Sequence[Row], classes: Sequence[str]) -> list[dict[str, Any]]:
    """Rows with what is found in each image at the operating point.

    Args:
      rows: as for `read`, each with its `split`.
      classes: names.

    Returns:
      The rows with the columns `objects`, `found_operating`, `hits` and `false_positives`.
    """
    tables, at = _tables(rows, classes)
    each = {split: iter(per_image(table, at['score'])) for split, table in tables.items()}
    return [{**row, **next(each[row['split']])} for row in rows]


def summarise(rows: Sequence[Row], classes: Sequence[str], *, resamples: int = 200, seed: int = 0) -> dict[str, Any]:
    """Sums a detection's predictions table up.

    Args:
      rows: as for `read`, each with its `split`.
      classes: names.
      resamples: bootstrap draws.
      seed: of the draws.

    Returns:
      - `metrics`: {split: {name: entry}}, entries as of `measure.entry` and with `objects`, how many count: those of
        `detections.compute`; at the operating point `sensitivity`, `sensitivity_small`, `_medium` and `_large`,
        `precision`, `f1`, and `false_positives` an image;
      - `operating`: `score`, `rule`, `split`;
      - `sizes`: `limits` {split: the two between small, medium and large}, and their `unit`;
      - `counts`: {split: {class: of `per_class`}};
      - `calibration`: whether a score is the chance of a hit: {split: `error`, the expected calibration error, and
        `bins` of `calibration.reliability`; of other splits than val `mended`, the same after Platt's scaling}, and
        `parameters`, what that was fitted to be on validation boxes;
      - `warnings`: lines.

    Raises:
      InputError: as `read`; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    tables, at = _tables(rows, classes)
    out: dict[str, Any] = {'metrics': {}, 'operating': at, 'sizes': {'limits': {}}, 'counts': {}, 'warnings': []}
    for split, table in tables.items():
        limits = _limits(table)
        once = np.ones((1, len(table.images)))
        values = _figures(table, at['score'], limits, once) | _library(table)
        draws = intervals.multiplicities(table.patients, resamples, seed)
        samples = _figures(table, at['score'], limits, draws)
        out['metrics'][split] = {name: _entry(table, name, float(np.ravel(value)[0]), samples[name], limits)
                                 for name, value in values.items()}
        out['sizes']['limits'][split] = [float(limit) for limit in limits]
        out['counts'][split] = per_class(table, at['score'])
        out['sizes']['unit'] = 'mm³' if table.dims == 3 else 'pixels'
        none = [name for name, of in zip(table.classes, table.matched) if not len(of.object_image)]
        if none:
            out['warnings'].append(f'{", ".join(none)}: no object in the split {split}: no AP.')
    return {**out, 'calibration': _calibrated(tables)}


def _calibrated(tables: Mapping[str, Table]) -> dict[str, Any]:
    """How well scores tell the chance that a found box is a hit, before and after they are mended."""
    pairs = {split: (table.pooled.score, table.pooled.matched_object[HIT] >= 0) for split, table in tables.items()}
    out: dict[str, Any] = {split: _reliable(*pair) for split, pair in pairs.items() if len(pair[0])}
    if 'val' not in out or len(np.unique(pairs['val'][1])) < 2:
        return out
    both = lambda score: np.stack([1 - score, score], -1)
    score, hit = pairs['val']
    mend = calibration.fit_platt(hit.astype(int), both(score))
    for split in out.keys() - {'val'}:
        score, hit = pairs[split]
        out[split]['mended'] = _reliable(mend(both(score))[:, 1], hit)
    return {**out, 'parameters': mend.parameters}


def _reliable(chance: np.ndarray, hit: np.ndarray) -> dict[str, Any]:
    bins = calibration.reliability_bins(chance, hit)
    apart = [one['n'] * abs(one['said'] - one['came']) for one in bins]
    return {'error': float(np.sum(apart) / len(hit)), 'bins': bins}


def _tables(rows: Sequence[Row], classes: Sequence[str]) -> tuple[dict[str, Table], dict[str, Any]]:
    """The splits' tables, and the operating point."""
    tables = {split: read(some, classes) for split, some in bootstrap.rows_by_split(rows).items()}
    if 'val' in tables:
        of = tables['val'].pooled
        found = np.arange(1, len(of.score) + 1)
        f1 = 2 * (of.matched_object[HIT] >= 0).cumsum() / (found + len(of.object_image))
        f1[np.flatnonzero(np.diff(of.score) == 0)] = 0  # equal scores go together
        if f1.any():
            return tables, {'score': float(of.score[f1.argmax()]), 'rule': 'largest F1', 'split': 'val'}
    return tables, {'score': UNSET, 'rule': 'no validation case with a hit', 'split': None}


def _figures(table: Table, score: float, limits: Sequence[float], weight: np.ndarray) -> dict[str, np.ndarray]:
    """All figures of a table, `[R]` for `weight [R, images]`, by their names in `results.json`."""
    found = {key if isinstance(key, str) else f'{key[0]}_{table.classes[key[1]]}': value
             for key, value in detection.compute_metrics(table.matched, table.dims, weight).items()}
    of = table.pooled
    sure = of.score >= score
    hit = sure & (of.matched_object[HIT] >= 0)
    over = lambda where: weight[:, where].sum(1, dtype=float)
    ratio = lambda a, b: np.divide(a, b, out=np.full(len(weight), np.nan), where=b > 0)
    objects, boxes, right = over(of.object_image), over(of.box_image[sure]), over(of.box_image[hit])
    taken = of.matched_object[HIT][hit]
    found |= {'sensitivity': ratio(right, objects), 'precision': ratio(right, boxes),
              'f1': ratio(2 * right, objects + boxes), 'false_positives': (boxes - right) / weight.sum(1, dtype=float)}
    kind = np.array([np.digitize(table.sizes[image][mine], limits) for image, mine in zip(of.object_image, of.object_number)], int)
    for number, name in enumerate(SIZES):
        mine = taken[kind[taken] == number]
        found[f'sensitivity_{name}'] = ratio(over(of.object_image[mine]), over(of.object_image[kind == number]))
    return found


def _library(table: Table) -> dict[str, np.ndarray]:
    """Average precision and recall of pictures as COCO's own evaluation has them."""
    if table.dims == 3:
        return {}
    precision, recall = coco_ap.average_precision(table.images, len(table.classes), detection.iou_thresholds(2))
    out = {'ar': mean_over_defined(recall.mean(0)[:, None])}
    for key, values in {'ap50': precision[0], 'ap': precision.mean(0)}.items():
        out |= {key: mean_over_defined(values[:, None]),
                **{f'{key}_{name}': value for name, value in zip(table.classes, values)}}
    return out


def _entry(table: Table, name: str, value: float, samples: np.ndarray, limits: Sequence[float]) -> dict[str, Any]:
    """A figure with its interval, over the patients, and objects, that it is of."""
    label = max((number for number, end in enumerate(table.classes) if name.startswith('ap')
                 and name.endswith(f'_{end}')), key=lambda number: len(table.classes[number]), default=None)
    count = np.array([len(seen.true_boxes) if label is None else (seen.true_labels == label).sum()
                      for seen in table.images], int)
    patients, what = table.patients, 'no object' if label is None else f'no object of {table.classes[label]}'
    size = name.removeprefix('sensitivity_')
    if size in SIZES:
        count = np.array([(np.digitize(sizes, limits) == SIZES.index(size)).sum() for sizes in table.sizes], int)
        patients, what = patients[count > 0], 'no object of that size'
    what = 'nothing found' if name == 'precision' else what
    return intervals.entry(value, samples, patients, what) | {'objects': int(count.sum())}


def _limits(table: Table) -> Sequence[float]:
    """The sizes from which an object is medium, and large."""
    if table.dims == 2:
        return AREAS
    every = np.concatenate(table.sizes)
    return np.quantile(every, [1 / 3, 2 / 3]) if len(every) else np.zeros(2)
