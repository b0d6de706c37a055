"""Which found boxes hit which true ones, in 2D and 3D, in float64 on the host.

Matching is COCO's (Lin 2014): in each image and class the found boxes, the surest first, each take the free object
that they overlap most, by an IoU of the threshold at least; the others are false positives.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

LIMIT = 100  # found boxes of an image and class that count, the surest
DIGITS = 2  # boxes are compared in hundredths of a voxel, so that an IoU at a threshold is on the same side everywhere


class ImageBoxes(NamedTuple):
    """An image's objects, and what was found: boxes `[N, 2D]`, class numbers `[N]`, and scores of those found."""

    truth: np.ndarray
    truth_labels: np.ndarray
    found: np.ndarray
    found_labels: np.ndarray
    scores: np.ndarray


class Matches(NamedTuple):
    """Found boxes of a class, or of all, in all images, by falling score.

    Attributes:
      score: `[D]`.
      image: `[D]`, in which.
      object: `[T, D]`: which object each took at each IoU; -1 for none.
      where: `[G]`: the image of each object.
      number: `[D]`: which of its image's found boxes it is.
      mine: `[G]`: which of its image's objects it is.
    """

    score: np.ndarray
    image: np.ndarray
    object: np.ndarray
    where: np.ndarray
    number: np.ndarray
    mine: np.ndarray


def box_iou(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """IoU `[N, M]` float64 of boxes `[N, 2D]` and `[M, 2D]`, rounded to DIGITS; 0 for boxes without extent."""
    # In whole numbers sums and products are exact.
    a, b = (np.rint(np.asarray(boxes, np.float64) * 10**DIGITS) for boxes in (a, b))
    (low, high), (low_b, high_b) = np.split(a[:, None], 2, -1), np.split(b[None], 2, -1)
    both = np.clip(np.minimum(high, high_b) - np.maximum(low, low_b), 0, None).prod(-1)
    union = np.clip(high - low, 0, None).prod(-1) + np.clip(high_b - low_b, 0, None).prod(-1) - both
    return both / np.where(union > 0, union, 1)


def match_boxes(shared: np.ndarray, least: np.ndarray) -> np.ndarray:
    """Which object each found box takes.

    Args:
      shared: `[D, G]` IoU, the surest found box first.
      least: `[T]` thresholds.

    Returns:
      `[T, D]` int: the object; -1 for none.
    """
    least = np.minimum(least, 1 - 1e-10)
    taken, free = np.full((len(least), len(shared)), -1), np.ones((len(least), shared.shape[1]), bool)
    for number in np.flatnonzero((shared >= least.min()).any(1)):
        # Of objects that it overlaps equally the last is taken, as COCO's loop does.
        fits = np.where(free & (shared[number] >= least[:, None]), shared[number], -1)[:, ::-1]
        chosen = shared.shape[1] - 1 - fits.argmax(1)
        at = np.flatnonzero(fits.max(1) >= 0)
        taken[at, number], free[at, chosen[at]] = chosen[at], False
    return taken


def match_classes(images: Sequence[ImageBoxes], classes: int, least: np.ndarray) -> list[Matches]:
    """Matches the found boxes of each class in all images, at thresholds `[T]`."""
    return [_of_class(images, label, least) for label in range(classes)]


def _of_class(images: Sequence[ImageBoxes], label: int, least: np.ndarray) -> Matches:
    parts, count = [], 0
    for number, seen in enumerate(images):
        mine = np.flatnonzero(seen.true_labels == label)
        found = np.flatnonzero(seen.pred_labels == label)
        found = found[np.argsort(-seen.scores[found], kind='stable')][:LIMIT]
        taken = match_boxes(box_iou(seen.pred_boxes[found], seen.true_boxes[mine]), least) if len(mine) else np.full(
            (len(least), len(found)), -1)
        parts.append(Matches(seen.scores[found], np.full(len(found), number), np.where(taken < 0, -1, taken + count),
                             np.full(len(mine), number), found, mine))
        count += len(mine)
    return _sorted(Matches(*(np.concatenate(arrays, -1) for arrays in zip(*parts))))


def pool_classes(each: Sequence[Matches]) -> Matches:
    """All classes together; a found box is right where its class is."""
    starts = np.cumsum([0, *(len(of.object_image) for of in each)])
    each = [of._replace(matched_object=np.where(of.matched_object < 0, -1, of.matched_object + start)) for of, start in zip(each, starts)]
    return _sorted(Matches(*(np.concatenate(arrays, -1) for arrays in zip(*each))))


def _sorted(of: Matches) -> Matches:
    order = np.argsort(-of.score, kind='stable')
    return Matches(of.score[order], of.box_image[order], of.matched_object[:, order], of.object_image, of.box_number[order], of.object_number)
