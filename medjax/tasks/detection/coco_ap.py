"""Average precision of boxes in 2D images by COCO's own evaluation, faster-coco-eval."""

from collections.abc import Sequence

import numpy as np
from faster_coco_eval import COCO, COCOeval_faster

from medjax.metrics import detection
from medjax.metrics.box_matching import DIGITS, LIMIT, ImageBoxes
from medjax.metrics.classification import mean_over_defined


def coco_metrics(images: Sequence[ImageBoxes], classes: Sequence[str]) -> dict[str, np.ndarray]:
    """AP50, AP and average recall: `ap50`, `ap`, `ar`, and `ap50_CLASS` and `ap_CLASS` for each class.

    Args:
      images: in 2D, rows and columns; ignored regions are crowds, as COCO knows no others.
      classes: names of the classes.

    Returns:
      Arrays of one value; NaN where there is no object.
    """
    precision, recall = average_precision(images, len(classes), detection.iou_thresholds(2))
    out = {'ar': mean_over_defined(recall.mean(0)[:, None])}
    for key, values in {'ap50': precision[0], 'ap': precision.mean(0)}.items():
        out[key] = mean_over_defined(values[:, None])
        out |= {f'{key}_{name}': value for name, value in zip(classes, values)}
    return out


def average_precision(images: Sequence[ImageBoxes], classes: int,
                      thresholds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Average precision and maximal recall of each class, `[T, K]` each; NaN where there is no object.

    Args:
      images: in 2D, rows and columns; ignored regions are crowds.
      classes: number of classes.
      thresholds: `[T]` IoU thresholds.
    """
    # Numbers count from 1: the library takes an annotation 0 for none.
    true = [{'image_id': number, 'category_id': int(label) + 1, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 0}
            for number, boxes in enumerate(images)
            for label, box in zip(boxes.true_labels, _corner_and_sides(boxes.true_boxes))]
    true += [{'image_id': number, 'category_id': int(label) + 1, 'bbox': box, 'area': box[2] * box[3], 'iscrowd': 1}
             for number, boxes in enumerate(images) if boxes.ignored is not None
             for label, box in zip(boxes.ignored.labels, _corner_and_sides(boxes.ignored.boxes))]
    found = [{'image_id': number, 'category_id': int(label) + 1, 'bbox': box, 'score': float(score)}
             for number, boxes in enumerate(images)
             for label, box, score in zip(boxes.pred_labels, _corner_and_sides(boxes.pred_boxes), boxes.scores)]
    truth = COCO({'images': [{'id': number} for number in range(len(images))],
                  'annotations': [{'id': number, **one} for number, one in enumerate(true, 1)],
                  'categories': [{'id': label + 1, 'name': str(label)} for label in range(classes)]})
    evaluation = COCOeval_faster(truth, truth.loadRes(found), 'bbox')
    evaluation.params.iouThrs, evaluation.params.maxDets = np.asarray(thresholds), [LIMIT]
    evaluation.params.areaRng, evaluation.params.areaRngLbl = [[0, 1e20]], ['all']
    evaluation.evaluate()
    evaluation.accumulate()
    precision, recall = evaluation.eval['precision'][..., 0, 0], evaluation.eval['recall'][..., 0, 0]
    defined = np.array([(recall[:, label] > -1).all() for label in range(classes)])
    return tuple(np.where(defined, values, np.nan) for values in (precision.mean(1), recall))


def _corner_and_sides(boxes: np.ndarray) -> list[list[float]]:
    """Boxes `[N, 4]` as COCO's x, y, width and height, in whole hundredths as `box_matching.box_iou` compares them."""
    low, high = np.split(np.rint(boxes * 10**DIGITS), 2, -1)
    return np.concatenate([low[:, ::-1], np.clip(high - low, 0, None)[:, ::-1]], -1).tolist()
