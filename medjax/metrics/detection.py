"""Average precision, average recall and FROC of found boxes, in 2D and 3D, in float64 on the host.

Boxes are matched once (`hits`); what a bootstrap draws are images whose matches stand, each counted as often as drawn.
"""

import functools
from collections.abc import Sequence

import numpy as np

from medjax.metrics.box_matching import ImageBoxes, Matches, match_classes, pool_classes
from medjax.metrics.classification import mean_over_defined

RECALLS = np.linspace(0, 1, 101)  # at which precision is averaged
RATES = (0.125, 0.25, 0.5, 1, 2, 4, 8)  # false positives an image at which FROC is read (Setio 2017)
HIT = 0  # of the thresholds: the IoU that makes a found box a hit where one is counted
BLOCK = 2**22  # found boxes times resamples that are in memory at once


def iou_thresholds(dims: int) -> np.ndarray:
    """IoU thresholds that AP is averaged over: .5 to .95 (COCO); of volumes .1 to .5 (Baumgartner 2021)."""
    return np.linspace(0.5, 0.95, 10) if dims == 2 else np.linspace(0.1, 0.5, 9)


def reported_thresholds(dims: int) -> dict[str, int]:
    """The AP of single thresholds that are told, by name: their places among the thresholds."""
    return {'ap50': 0} if dims == 2 else {f'ap{10 * number}': 2 * (number - 1) for number in range(1, 6)}


def average_precision(of: Matches, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean precision over 101 recalls, each the best at that recall or more; and the recall that is reached.

    Found boxes of equal scores come in the order of their images, as COCO has them.

    Args:
      of: the found boxes of a class.
      weight: `[R, images]`: how often each image counts.

    Returns:
      Average precision and recall, `[R, T]` each; NaN where there is no object.
    """
    step = max(1, BLOCK // max(len(of.score), 1))
    parts = [_average_precision(of, weight[start:start + step]) for start in range(0, len(weight), step)]
    return tuple(np.concatenate(arrays) for arrays in zip(*parts))


def _average_precision(of: Matches, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    times, total = weight[:, of.box_image].astype(float), weight[:, of.object_image].sum(1, dtype=float)
    before = times.cumsum(1)
    out = np.zeros((2, len(weight), len(of.matched_object)))
    for place, taken in enumerate(of.matched_object):
        # Only where one more object is found does the curve of the best precisions turn.
        at = np.flatnonzero(taken >= 0)
        if not len(at):
            continue
        hits = times[:, at].cumsum(1)
        precision = hits / np.maximum(before[:, at], 1)
        best = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        recall = hits / np.maximum(total, 1)[:, None]
        for row in range(len(weight)):
            first = np.searchsorted(recall[row], RECALLS)
            out[0, row, place] = np.append(best[row], 0.0)[first].mean()
        out[1, :, place] = recall[:, -1]
    out[:, total == 0] = np.nan
    return out[0], out[1]


def froc_curve(of: Matches, weight: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The FROC curve: of each different score as the threshold, the highest first, after a beginning at 0.

    Args:
      of: the found boxes; those that took an object at the threshold HIT are right.
      weight: `[R, images]`: how often each image counts.

    Returns:
      False positives an image `[R, P]` and sensitivity `[R, P]`, NaN where there is no object; the scores `[P - 1]`.
    """
    last = np.flatnonzero(np.diff(of.score, append=-np.inf))
    times = weight[:, of.box_image].astype(float)
    every, hits = times.cumsum(1)[:, last], (times * (of.matched_object[HIT] >= 0)).cumsum(1)[:, last]
    total = weight[:, of.object_image].sum(1, dtype=float)[:, None]
    begin = np.zeros((len(weight), 1))
    rate = np.concatenate([begin, every - hits], 1) / weight.sum(1, dtype=float)[:, None]
    return rate, np.concatenate([begin, hits], 1) / np.where(total, total, np.nan), of.score[last]


def froc(of: Matches, weight: np.ndarray) -> np.ndarray:
    """Sensitivity `[R, 7]` at RATES, linear between the curve's points and level after its last; see `curve`."""
    step, parts = max(1, BLOCK // max(len(of.score), 1)), []
    for start in range(0, len(weight), step):
        rates, sensitivity, _ = froc_curve(of, weight[start:start + step])
        parts += [np.interp(RATES, *pair) for pair in zip(rates, sensitivity)]
    return np.array(parts).reshape(-1, len(RATES))


def compute_metrics(each: Sequence[Matches], dims: int, weight: np.ndarray) -> dict[str | tuple[str, int], np.ndarray]:
    """AP, average recall and FROC of matches at `thresholds(dims)`, as `[R]` for `weight [R, images]`.

    Returns:
      By name: those of `named`, `ap` over all thresholds, `ar`; by (name, class) the same of each class but `ar`; and
      `froc_RATE`, and `cpm`, their mean, with all classes together. NaN where there is no object.
    """
    found = [average_precision(of, weight) for of in each]
    makers = {name: functools.partial(np.take, indices=place, axis=1) for name, place in reported_thresholds(dims).items()}
    makers['ap'] = functools.partial(np.mean, axis=1)
    out: dict[str | tuple[str, int], np.ndarray] = {}
    for name, make in makers.items():
        values = [make(precision) for precision, _ in found]
        out[name] = mean_over_defined(values)
        out |= {(name, label): value for label, value in enumerate(values)}
    out['ar'] = mean_over_defined([recall.mean(1) for _, recall in found])
    points = froc(pool_classes(each), weight)
    out |= {f'froc_{rate:g}': points[:, number] for number, rate in enumerate(RATES)}
    return out | {'cpm': points.mean(1)}


def image_average_precision(image: ImageBoxes, classes: int, dims: int) -> float:
    """An image's own AP at the threshold HIT with all classes together; NaN without an object."""
    of = pool_classes(match_classes([image], classes, iou_thresholds(dims)[:HIT + 1]))
    return float(average_precision(of, np.ones((1, 1)))[0][0, HIT])


def rank_images(images: Sequence[ImageBoxes], classes: int, dims: int) -> dict[str, np.ndarray]:
    """The images that show objects, by their own AP; see `alone`.

    Returns:
      Their numbers under 'best', 'median' and 'worst', in that order from the front; of equals those with more objects
      come first.
    """
    numbers = np.array([number for number, seen in enumerate(images) if len(seen.true_boxes)], int)
    quality = np.array([image_average_precision(images[number], classes, dims) for number in numbers])
    count = np.array([len(images[number].true_boxes) for number in numbers])
    best, worst = (numbers[np.lexsort((-count, sign * quality))] for sign in (-1, 1))
    middle = np.argsort(np.abs(np.arange(len(best)) - (len(best) - 1) / 2), kind='stable')
    return {'best': best, 'median': best[middle], 'worst': worst}
