"""Average precision, average recall and FROC of predicted boxes, in 2D and 3D, in float64 on the host.

Boxes are matched once (`box_matching`). A bootstrap resamples images: their matches stay, and each image counts as
often as it is drawn.
"""

from collections.abc import Sequence

import numpy as np

from medjax.metrics.box_matching import ImageBoxes, Matches, drop_ignored, match_classes, pool_classes
from medjax.metrics.classification import mean_over_defined

RECALLS = np.linspace(0, 1, 101)  # at which precision is averaged
RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # false positives per image at which FROC is read (Setio 2017)
HIT = 0  # number of the IoU threshold at which a box is a true positive where a single threshold is used
BLOCK = 2**22  # predicted boxes times resamples that are in memory at once


def iou_thresholds(dims: int) -> np.ndarray:
    """IoU thresholds over which AP is averaged: .5 to .95 in 2D (COCO), .1 to .5 in 3D (Baumgartner 2021)."""
    return np.linspace(0.5, 0.95, 10) if dims == 2 else np.linspace(0.1, 0.5, 9)


def reported_thresholds(dims: int) -> dict[str, int]:
    """The metrics that are AP at a single threshold: name -> number of the threshold in `iou_thresholds`."""
    return {'ap50': 0} if dims == 2 else {f'ap{10 * number}': 2 * (number - 1) for number in range(1, 6)}


def average_precision(of: Matches, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision over 101 recalls, interpolated: the highest precision at that recall or a higher one.

    Boxes with equal scores are in the order of their images, as in COCO. Boxes on ignored regions do not count.

    Args:
      of: the matches of a class.
      weight: `[R, images]`, the number of times that each image counts.

    Returns:
      Average precision and maximal recall, `[R, T]` each; NaN where there is no object.
    """
    step = max(1, BLOCK // max(len(of.score), 1))
    parts = [_average_precision(of, weight[start:start + step]) for start in range(0, len(weight), step)]
    precision, recall = zip(*parts)
    return np.concatenate(precision), np.concatenate(recall)


def _average_precision(of: Matches, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times, total = weight[:, of.box_image].astype(float), weight[:, of.object_image].sum(1, dtype=float)
    boxes = times.cumsum(1)
    out = np.zeros((2, len(weight), len(of.matched_object)))
    for place, taken in enumerate(of.matched_object):
        # The interpolated curve changes only where one more object is found.
        hits = np.flatnonzero(taken >= 0)
        if not len(hits):
            continue
        true_positives = times[:, hits].cumsum(1)
        counted = (times * ~of.ignored[place]).cumsum(1) if of.ignored[place].any() else boxes
        precision = true_positives / np.maximum(counted[:, hits], 1)
        best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        recall = true_positives / np.maximum(total, 1)[:, None]
        for row in range(len(weight)):
            first = np.searchsorted(recall[row], RECALLS)
            out[0, row, place] = np.append(best[row], 0.0)[first].mean()
        out[1, :, place] = recall[:, -1]
    out[:, total == 0] = np.nan
    return out[0], out[1]


def froc_curve(of: Matches, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The FROC curve: a point at 0, then one for each different score as threshold, in decreasing order.

    Args:
      of: the matches; boxes that take an object at the IoU threshold HIT are true positives.
      weight: `[R, images]`, the number of times that each image counts.

    Returns:
      False positives per image `[R, P]`; sensitivity `[R, P]`, NaN where there is no object; the scores `[P - 1]`.
    """
    last = np.flatnonzero(np.diff(of.score, append=-np.inf))
    times = weight[:, of.box_image].astype(float)
    boxes = times.cumsum(1)[:, last]
    hits = (times * (of.matched_object[HIT] >= 0)).cumsum(1)[:, last]
    total = weight[:, of.object_image].sum(1, dtype=float)[:, None]
    zero, images = np.zeros((len(weight), 1)), weight.sum(1, dtype=float)[:, None]
    rate = np.concatenate([zero, boxes - hits], 1) / np.where(images, images, np.nan)  # none in a resample without one
    return rate, np.concatenate([zero, hits], 1) / np.where(total, total, np.nan), of.score[last]


def froc(of: Matches, weight: np.ndarray) -> np.ndarray:
    """Sensitivity at RATES, `[R, 7]`: linear between the points of `froc_curve`, constant after the last one.

    Args:
      of: the matches.
      weight: `[R, images]`.
    """
    step, parts = max(1, BLOCK // max(len(of.score), 1)), []
    for start in range(0, len(weight), step):
        rates, sensitivity, _ = froc_curve(of, weight[start:start + step])
        parts += [np.interp(RATES, *pair) for pair in zip(rates, sensitivity)]
    return np.array(parts).reshape(-1, len(RATES))


def compute_metrics(by_class: Sequence[Matches], dims: int,
                    weight: np.ndarray) -> dict[str | tuple[str, int], np.ndarray]:
    """AP, average recall and FROC.

    Args:
      by_class: the matches of each class at `iou_thresholds(dims)`.
      dims: 2 or 3.
      weight: `[R, images]`, the number of times that each image counts.

    Returns:
      `[R]` by name: the names of `reported_thresholds`; `ap`, over all thresholds; `ar`; by (name, class) the same of
      each class, except for `ar`; `froc_RATE` and `cpm`, the mean of these, of all classes together. NaN where there is
      no object.
    """
    found = [average_precision(of, weight) for of in by_class]
    values = {name: [precision[:, place] for precision, _ in found]
              for name, place in reported_thresholds(dims).items()}
    values['ap'] = [precision.mean(1) for precision, _ in found]
    out: dict[str | tuple[str, int], np.ndarray] = {}
    for name, of_class in values.items():
        out[name] = mean_over_defined(of_class)
        out |= {(name, label): value for label, value in enumerate(of_class)}
    out['ar'] = mean_over_defined([recall.mean(1) for _, recall in found])
    points = froc(pool_classes([drop_ignored(of, HIT) for of in by_class]), weight)
    out |= {f'froc_{rate:g}': points[:, number] for number, rate in enumerate(RATES)}
    return out | {'cpm': points.mean(1)}


def image_average_precision(boxes: ImageBoxes, classes: int, dims: int) -> float:
    """The AP of a single image at the threshold HIT, of all classes together; NaN without an object.

    Args:
      boxes: the image's boxes.
      classes: number of classes.
      dims: 2 or 3.
    """
    of = pool_classes(match_classes([boxes], classes, iou_thresholds(dims)[:HIT + 1]))
    return float(average_precision(of, np.ones((1, 1)))[0][0, HIT])


def rank_images(images: Sequence[ImageBoxes], classes: int, dims: int) -> dict[str, np.ndarray]:
    """The images with objects, ranked by `image_average_precision`.

    Args:
      images: the images' boxes.
      classes: number of classes.
      dims: 2 or 3.

    Returns:
      Their numbers under 'best', 'median' and 'worst', each in that order; of equal images those with more objects
      come first.
    """
    numbers = np.array([number for number, boxes in enumerate(images) if len(boxes.true_boxes)], int)
    quality = np.array([image_average_precision(images[number], classes, dims) for number in numbers])
    count = np.array([len(images[number].true_boxes) for number in numbers])
    best, worst = (numbers[np.lexsort((-count, sign * quality))] for sign in (-1, 1))
    middle = np.argsort(np.abs(np.arange(len(best)) - (len(best) - 1) / 2), kind='stable')
    return {'best': best, 'median': best[middle], 'worst': worst}
