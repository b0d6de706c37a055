"""COCO's own average precision of boxes in pictures, by faster-coco-eval."""

from collections.abc import Sequence

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from medjax.metrics.box_matching import DIGITS, LIMIT, ImageBoxes


def average_precision(images: Sequence[ImageBoxes], classes: int, least: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and recall of each class, `[T, K]` each; NaN where there is no object.

    Args:
      images: of two dimensions, rows and columns.
      classes: how many.
      least: `[T]` IoU thresholds.
    """
    # Numbers count from 1: to the library an annotation 0 is none.
    given = [{'image_id': number, 'category_id': int(label) + 1, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0}
             for number, seen in enumerate(images) for label, box in zip(seen.true_labels, _sides(seen.true_boxes))]
    found = [{'image_id': number, 'category_id': int(label) + 1, 'bbox': box, 'score': float(score)}
             for number, seen in enumerate(images)
             for label, box, score in zip(seen.pred_labels, _sides(seen.pred_boxes), seen.scores)]
    truth = COCO({'images': [{'id': number} for number in range(len(images))],
                  'annotations': [{'id': number, **one} for number, one in enumerate(given, 1)],
                  'categories': [{'id': label + 1, 'name': str(label)} for label in range(classes)]})
    judge = COCOeval_faster(truth, truth.loadRes(found), 'bbox')
    judge.params.iouThrs, judge.params.maxDets = np.asarray(least), [LIMIT]
    judge.params.areaRng, judge.params.areaRngLbl = [[0, 1e20]], ['all']
    judge.evaluate()
    judge.accumulate()
    precision, recall = judge.eval['precision'][..., 0, 0], judge.eval['recall'][..., 0, 0]
    there = np.array([(recall[:, label] > -1).all() for label in range(classes)])
    return tuple(np.where(there, values, np.nan) for values in (precision.mean(1), recall))


def _sides(boxes: np.ndarray) -> list[list[float]]:
    """Boxes `[N, 4]` as COCO has them, x, y, width and height; in whole units, as `hits.overlap` compares them."""
    low, high = np.split(np.rint(boxes * 10**DIGITS), 2, -1)
    return np.concatenate([low[:, ::-1], np.clip(high - low, 0, None)[:, ::-1]], -1).tolist()
