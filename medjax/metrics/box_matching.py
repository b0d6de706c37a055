"""Matching of predicted boxes to true ones, in 2D and 3D, in float64 on the host.

Matching is COCO's (Lin 2014): in each image and class the predicted boxes, in order of decreasing score, each take the
free object with the largest overlap, if the IoU reaches the threshold; all others are false positives, except for those
on an ignored region of their class. `match_centres` matches as LUNA16 does.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LIMIT = 100  # number of predicted boxes of an image and class that count, those with the highest scores
DIGITS = 2  # boxes are rounded to hundredths of a voxel, so that an IoU at a threshold is exact on every machine


class IgnoredRegions(NamedTuple):
    """Annotated regions that count neither as objects nor, where a box is found there, as background.

    Attributes:
      boxes: `[K, 2D]`.
      labels: `[K]` class numbers.
      crowd: `[K]` bool: whether a region holds many objects (COCO's `iscrowd`): a found box is on it if enough of
        the box lies in it. Otherwise it is one object (VOC's `difficult`, LUNA16's excluded findings), by the IoU.
    """

    boxes: np.ndarray
    labels: np.ndarray
    crowd: np.ndarray


def no_regions(dims: int) -> IgnoredRegions:
    """No ignored region, of boxes of that number of axes."""
    return IgnoredRegions(np.zeros((0, 2 * dims)), np.zeros(0, np.int32), np.zeros(0, bool))


class ImageBoxes(NamedTuple):
    """The objects of an image and the boxes predicted in it.

    Attributes:
      true_boxes: `[N, 2D]`.
      true_labels: `[N]` class numbers.
      pred_boxes: `[M, 2D]`.
      pred_labels: `[M]` class numbers.
      scores: `[M]`.
      ignored: None where nothing is ignored.
    """

    true_boxes: np.ndarray
    true_labels: np.ndarray
    pred_boxes: np.ndarray
    pred_labels: np.ndarray
    scores: np.ndarray
    ignored: IgnoredRegions | None = None


class Matches(NamedTuple):
    """The D predicted boxes of one class, or of all, in all images, by decreasing score; and the G objects.

    Attributes:
      score: `[D]`.
      box_image: `[D]`, the image of each box.
      matched_object: `[T, D]`, the object that each box takes at each IoU threshold; -1 for none.
      object_image: `[G]`, the image of each object.
      box_number: `[D]`, the number of the box among its image's predicted boxes.
      object_number: `[G]`, the number of the object among its image's objects.
      ignored: `[T, D]` bool, the boxes without an object that are on an ignored region.
    """

    score: np.ndarray
    box_image: np.ndarray
    matched_object: np.ndarray
    object_image: np.ndarray
    box_number: np.ndarray
    object_number: np.ndarray
    ignored: np.ndarray


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Intersection over union of boxes.

    Args:
      a: `[N, 2D]`, rounded to DIGITS.
      b: `[M, 2D]`, likewise.

    Returns:
      `[N, M]` float64; 0 for boxes without extent.
    """
    both, own, other = _overlap(a, b)
    union = own + other - both
    return both / np.where(union > 0, union, 1)


def _overlap(a: np.ndarray, b: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The areas of the intersections `[N, M]`, of a `[N, 1]` and of b `[1, M]`, in units of DIGITS."""
    # Sums and products of whole numbers are exact.
    a, b = (np.rint(np.asarray(boxes, np.float64) * 10**DIGITS) for boxes in (a, b))
    (low, high), (low_b, high_b) = np.split(a[:, None], 2, -1), np.split(b[None], 2, -1)
    both = np.clip(np.minimum(high, high_b) - np.maximum(low, low_b), 0, None).prod(-1)
    return both, np.clip(high - low, 0, None).prod(-1), np.clip(high_b - low_b, 0, None).prod(-1)


def ignored_boxes(boxes: np.ndarray, regions: IgnoredRegions, thresholds: np.ndarray) -> np.ndarray:
    """Which boxes are on an ignored region, `[T, N]` bool.

    A box is on a crowd if the fraction of the box that lies in it reaches the threshold (COCO), and on another region
    if their IoU does (VOC). Any number of boxes may be on a region.

    Args:
      boxes: `[N, 2D]` of one class.
      regions: of the same class.
      thresholds: `[T]`.
    """
    if not len(boxes) or not len(regions.boxes):
        return np.zeros((len(thresholds), len(boxes)), bool)
    both, own, other = _overlap(boxes, regions.boxes)
    whole = np.where(regions.crowd, own, own + other - both)
    largest = (both / np.where(whole > 0, whole, 1)).max(1)
    return largest >= np.minimum(thresholds, 1 - 1e-10)[:, None]


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


def found_on_ignored(boxes: ImageBoxes, threshold: float) -> np.ndarray:
    """Which found boxes of an image are on an ignored region of their class, `[M]` bool; see `ignored_boxes`."""
    out = np.zeros(len(boxes.pred_boxes), bool)
    if boxes.ignored is not None:
        for label in np.unique(boxes.ignored.labels):
            regions = IgnoredRegions(*(part[boxes.ignored.labels == label] for part in boxes.ignored))
            own = boxes.pred_labels == label
            out[own] = ignored_boxes(boxes.pred_boxes[own], regions, np.array([threshold]))[0]
    return out


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
        ignored = np.zeros(taken.shape, bool)
        if boxes.ignored is not None:
            regions = IgnoredRegions(*(part[boxes.ignored.labels == label] for part in boxes.ignored))
            ignored = ignored_boxes(boxes.pred_boxes[found], regions, thresholds) & (taken < 0)
        parts.append(Matches(boxes.scores[found], np.full(len(found), number), np.where(taken < 0, -1, taken + count),
                             np.full(len(objects), number), found, objects, ignored))
        count += len(objects)
    return _sort_by_score(Matches(*(np.concatenate(arrays, -1) for arrays in zip(*parts))))


def drop_ignored(of: Matches, threshold: int) -> Matches:
    """The matches without the boxes that are ignored at an IoU threshold, of which the number is given."""
    kept = ~of.ignored[threshold]
    if kept.all():
        return of
    return of._replace(score=of.score[kept], box_image=of.box_image[kept], matched_object=of.matched_object[:, kept],
                       box_number=of.box_number[kept], ignored=of.ignored[:, kept])


def match_centres(images: Sequence[ImageBoxes], classes: int) -> Matches:
    """The matches by LUNA16's rule (Setio 2017), of all classes together.

    A found box is on an object of its class if its centre lies inside of the ball that the object is, for other boxes
    inside of the ellipsoid that is inscribed in the box. An object is found with the highest score of the boxes on it.
    The other boxes on it, and boxes on an ignored region alone, do not count; all others are false positives. The LIMIT
    boxes with the highest scores count in each image and class.

    Args:
      images: the images' boxes.
      classes: number of classes.

    Returns:
      A box for each object that is found, so that a box on two objects occurs twice, and each false positive.
    """
    score, box_image, matched, object_image, box_number, object_number = ([] for _ in range(6))
    for label in range(classes):
        for number, boxes in enumerate(images):
            objects = np.flatnonzero(boxes.true_labels == label)
            found = np.flatnonzero(boxes.pred_labels == label)
            found = found[np.argsort(-boxes.scores[found], kind='stable')][:LIMIT]
            inside = _centres_inside(boxes.pred_boxes[found], boxes.true_boxes[objects])
            free = ~inside.any(1)
            if boxes.ignored is not None:
                regions = boxes.ignored.boxes[boxes.ignored.labels == label]
                free &= ~_centres_inside(boxes.pred_boxes[found], regions).any(1)
            hit = np.flatnonzero(inside.any(0))
            chosen = np.concatenate([inside[:, hit].argmax(0) if len(found) else hit, np.flatnonzero(free)]).astype(int)
            score += boxes.scores[found][chosen].tolist()
            box_number += found[chosen].tolist()
            box_image += [number] * len(chosen)
            matched += [*(hit + len(object_image)).tolist(), *[-1] * int(free.sum())]
            object_image += [number] * len(objects)
            object_number += objects.tolist()
    whole = [np.array(values, int) for values in (box_image, object_image, box_number, object_number)]
    return _sort_by_score(Matches(np.array(score, float), whole[0], np.array(matched, int)[None], *whole[1:],
                                  np.zeros((1, len(score)), bool)))


def _centres_inside(boxes: np.ndarray, objects: np.ndarray) -> np.ndarray:
    """Whether the centres of boxes `[N, 2D]` are inside of the ellipsoids inscribed in objects `[M, 2D]`, `[N, M]`."""
    (low, high), (start, end) = np.split(boxes[:, None], 2, -1), np.split(objects[None], 2, -1)
    half = np.maximum(end - start, 1e-9) / 2
    return ((((low + high) - (start + end)) / 2 / half) ** 2).sum(-1) < 1


def merged_and_split(found: np.ndarray, objects: np.ndarray) -> tuple[int, int]:
    """The numbers of found boxes that merge objects, and of objects that are split, of one class in an image.

    A found box merges the objects that are smaller than itself and of which at least half lies in it, if they are two
    or more. An object is split by the found boxes that are smaller than itself and of which at least half lies in it.
    Both still match one to one: these counts say what is behind misses and false positives.

    Args:
      found: `[N, 2D]`.
      objects: `[M, 2D]`.
    """
    both, own, other = _overlap(found, objects)
    merging = (other < own) & (2 * both >= other) & (both > 0)
    splitting = (own < other) & (2 * both >= own) & (both > 0)
    return int((merging.sum(1) > 1).sum()), int((splitting.sum(0) > 1).sum())


def pool_classes(by_class: Sequence[Matches]) -> Matches:
    """The matches of all classes together; a box still matches objects of its own class only."""
    starts = np.cumsum([0, *(len(of.object_image) for of in by_class)])
    shifted = [of._replace(matched_object=np.where(of.matched_object < 0, -1, of.matched_object + start))
               for of, start in zip(by_class, starts)]
    return _sort_by_score(Matches(*(np.concatenate(arrays, -1) for arrays in zip(*shifted))))


def _sort_by_score(of: Matches) -> Matches:
    order = np.argsort(-of.score, kind='stable')
    return Matches(of.score[order], of.box_image[order], of.matched_object[:, order], of.object_image,
                   of.box_number[order], of.object_number, of.ignored[:, order])
