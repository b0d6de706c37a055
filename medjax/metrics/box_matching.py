"""Matching of predicted boxes to true ones, in 2D and 3D, in float64 on the host.

Matching is COCO's (Lin 2014): in each image and class the predicted boxes, in order of decreasing score, each take the
free object with the largest overlap, if the IoU reaches the threshold; all others are false positives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LIMIT = 100  # number of predicted boxes of an image and class that count, those with the highest scores
DIGITS = 2  # boxes are rounded to hundredths of a voxel, so that an IoU at a threshold is exact on every machine


class ImageBoxes(NamedTuple):
    """The objects of an image and the boxes predicted in it.

    Attributes:
      true_boxes: `[N, 2D]`.
      true_labels: `[N]` class numbers.
      pred_boxes: `[M, 2D]`.
      pred_labels: `[M]` class numbers.
      scores: `[M]`.
    """

    true_boxes: np.ndarray
    true_labels: np.ndarray
    pred_boxes: np.ndarray
    pred_labels: np.ndarray
    scores: np.ndarray


class Matches(NamedTuple):
    """The D predicted boxes of one class, or of all, in all images, by decreasing score; and the G objects.

    Attributes:
      score: `[D]`.
      box_image: `[D]`, the image of each box.
      matched_object: `[T, D]`, the object that each box takes at each IoU threshold; -1 for none.
      object_image: `[G]`, the image of each object.
      box_number: `[D]`, the number of the box among its image's predicted boxes.
      object_number: `[G]`, the number of the object among its image's objects.
    """

    score: np.ndarray
    box_image: np.ndarray
    matched_object: np.ndarray
    object_image: np.ndarray
    box_number: np.ndarray
    object_number: np.ndarray


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes.

    Args:
      a: `[N, 2D]`, rounded to DIGITS.
      b: `[M, 2D]`, likewise.

    Returns:
      `[N, M]` float64; 0 for boxes without extent.
    """
    # Sums and products of whole numbers are exact.
    a, b = (np.rint(np.asarray(boxes, np.float64) * 10**DIGITS) for boxes in (a, b))
    (low, high), (low_b, high_b) = np.split(a[:, None], 2, -1), np.split(b[None], 2, -1)
    both = np.clip(np.minimum(high, high_b) - np.maximum(low, low_b), 0, None).prod(-1)
    union = np.clip(high - low, 0, None).prod(-1) + np.clip(high_b - low_b, 0, None).prod(-1) - both
    return both / np.where(union > 0, union, 1)


def match_boxes(iou: np.ndarray, thresholds: np.ndarray) -> np.ndarray:
    """The object that each predicted box takes in one image.

    Args:
      iou: `[D, G]`, boxes in order of decreasing score.
      thresholds: `[T]`, the least IoU of a match.

    Returns:
      `[T, D]` int: the object's number; -1 for none.
    """
    thresholds = np.minimum(thresholds, 1 - 1e-10)
    taken, free = np.full((len(thresholds), len(iou)), -1), np.ones((len(thresholds), iou.shape[1]), bool)
    for number in np.flatnonzero((iou >= thresholds.min()).any(1)):
        # Among objects with the same IoU the last is taken, as in COCO's loop.
        candidates = np.where(free & (iou[number] >= thresholds[:, None]), iou[number], -1)[:, ::-1]
        chosen = iou.shape[1] - 1 - candidates.argmax(1)
        rows = np.flatnonzero(candidates.max(1) >= 0)
        taken[rows, number], free[rows, chosen[rows]] = chosen[rows], False
    return taken


def match_classes(images: Sequence[ImageBoxes], classes: int, thresholds: np.ndarray) -> list[Matches]:
    """The matches of each class over all images.

    Args:
      images: the images' boxes.
      classes: number of classes.
      thresholds: `[T]` IoU.
    """
    return [_match_class(images, label, thresholds) for label in range(classes)]


def _match_class(images: Sequence[ImageBoxes], label: int, thresholds: np.ndarray) -> Matches:
    parts, count = [], 0
    for number, boxes in enumerate(images):
        objects = np.flatnonzero(boxes.true_labels == label)
        found = np.flatnonzero(boxes.pred_labels == label)
        found = found[np.argsort(-boxes.scores[found], kind='stable')][:LIMIT]
        if len(objects):
            taken = match_boxes(box_iou(boxes.pred_boxes[found], boxes.true_boxes[objects]), thresholds)
        else:
            taken = np.full((len(thresholds), len(found)), -1)
        parts.append(Matches(boxes.scores[found], np.full(len(found), number), np.where(taken < 0, -1, taken + count),
                             np.full(len(objects), number), found, objects))
        count += len(objects)
    return _sort_by_score(Matches(*(np.concatenate(arrays, -1) for arrays in zip(*parts))))


def pool_classes(by_class: Sequence[Matches]) -> Matches:
    """The matches of all classes together; a box still matches objects of its own class only."""
    starts = np.cumsum([0, *(len(of.object_image) for of in by_class)])
    shifted = [of._replace(matched_object=np.where(of.matched_object < 0, -1, of.matched_object + start))
               for of, start in zip(by_class, starts)]
    return _sort_by_score(Matches(*(np.concatenate(arrays, -1) for arrays in zip(*shifted))))


def _sort_by_score(of: Matches) -> Matches:
    order = np.argsort(-of.score, kind='stable')
    return Matches(of.score[order], of.box_image[order], of.matched_object[:, order], of.object_image,
                   of.box_number[order], of.object_number)
