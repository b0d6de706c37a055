"""Matching of predicted boxes to true ones, by hand."""

import numpy as np
import pytest

from medjax.metrics.box_matching import (
    IgnoredRegions,
    ImageBoxes,
    box_iou,
    drop_ignored,
    found_on_ignored,
    ignored_boxes,
    match_boxes,
    match_centres,
    match_classes,
    merged_and_split,
)


def test_iou_by_hand_in_two_and_three_dimensions():
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 9], [0, 0, 0.01, 0.01]])
    assert box_iou(a, np.array([[0, 5, 10, 15], [20, 20, 30, 30], [0, 0, 10, 10]])) == pytest.approx(
        np.array([[1 / 3, 0, 1], [0, 0, 0], [0, 0, 1e-6]]))
    assert box_iou(np.array([[0, 0, 0, 2, 2, 2.0]]), np.array([[1, 1, 1, 3, 3, 3.0]])) == pytest.approx(1 / 15)
    assert box_iou(np.zeros((0, 4)), a).shape == (0, 3)


def test_an_iou_equal_to_the_threshold_matches():
    """.1 + .2 and similar sums must not put an IoU of exactly .5 below the threshold."""
    for low in np.arange(0, 3, 0.1):
        pair = box_iou(np.array([[low, 0, low + 0.3, 1]]), np.array([[low + 0.1, 0, low + 0.4, 1]]))
        assert pair.item() == 0.5 and match_boxes(pair, np.array([0.5])).item() == 0


def test_boxes_match_in_order_of_score_to_the_largest_iou():
    iou = np.array([[0.6, 0.7], [0.1, 0.9], [0.55, 0.0], [0.8, 0.8]])
    assert match_boxes(iou, np.array([0.5, 0.6, 0.75])).tolist() == [
        [1, -1, 0, -1], [1, -1, -1, 0], [-1, 1, -1, 0]]


def test_ignored_regions_by_hand():
    """Of the box [0, 10) one half lies in the region [5, 25): .5 of the box, an IoU of 5 / 25."""
    span = lambda low, high: [0, low, 1, high]
    boxes = np.array([span(0, 10), span(4, 26), span(30, 40)], float)
    regions = lambda crowd: IgnoredRegions(np.array([span(5, 25)], float), np.zeros(1, int), np.array([crowd]))
    at = np.array([0.5, 0.6])
    assert ignored_boxes(boxes, regions(True), at).tolist() == [[True, True, False], [False, True, False]]
    assert ignored_boxes(boxes, regions(False), at).tolist() == [[False, True, False], [False, True, False]]


@pytest.mark.parametrize('crowd', [True, False])
def test_boxes_on_ignored_regions_are_no_false_positives(crowd):
    """VOC: any number of boxes on a difficult object; but a box that an object is left for is that object's."""
    square = lambda x: [0, x, 10, x + 10]
    image = ImageBoxes(np.array([square(0), square(2)], float), np.zeros(2, int),
                       np.array([square(0), square(100), square(100), square(2), square(50), square(100)], float),
                       np.array([0, 0, 0, 0, 0, 1]), np.array([0.9, 0.8, 0.7, 0.6, 0.5, 0.4]),
                       IgnoredRegions(np.array([square(100), square(2)], float), np.zeros(2, int), np.full(2, crowd)))
    first, second = match_classes([image], 2, np.array([0.5]))
    assert first.matched_object.tolist() == [[0, -1, -1, 1, -1]]
    assert first.ignored.tolist() == [[False, True, True, False, False]]
    assert second.ignored.tolist() == [[False]]  # of another class
    kept = drop_ignored(first, 0)
    assert kept.score.tolist() == [0.9, 0.6, 0.5] and kept.box_number.tolist() == [0, 3, 4]
    assert found_on_ignored(image, 0.5).tolist() == [True, True, True, True, False, False]


@pytest.mark.parametrize('found, true, want', [
    ([(0, 22)], [(0, 10), (12, 22)], (1, 0)), ([(0, 10), (12, 22)], [(0, 22)], (0, 1)),
    ([(0, 10), (1, 11)], [(0, 10)], (0, 0)),  # two of its size are no parts of it
    ([(0, 14)], [(0, 10), (11, 22)], (0, 0)),  # it has less than half of the second
    ([], [(0, 10)], (0, 0))])
def test_merged_and_split_objects_by_hand(found, true, want):
    boxes = lambda spans: np.array([[0, low, 1, high] for low, high in spans], float).reshape(-1, 4)
    assert merged_and_split(boxes(found), boxes(true)) == want


def test_matching_by_centres_by_hand():
    """LUNA16: within the radius, twice on a nodule, on two nodules at once, on an excluded finding, beside all."""
    ball = lambda x, radius: [x - radius, -radius, -radius / 2, x + radius, radius, radius / 2]  # slices twice as thick
    small = lambda x: [x - 1, -1, -1, x + 1, 1, 1]
    found = [(3, 0.9), (-3.9, 0.8), (4.1, 0.7), (20, 0.6), (54, 0.5), (54, 0.4), (100, 0.3)]
    image = ImageBoxes(np.array([ball(0, 4), ball(21, 2), ball(19, 2), ball(200, 9)], float), np.zeros(4, int),
                       np.array([small(x) for x, _ in found], float), np.zeros(7, int), np.array([s for _, s in found]),
                       IgnoredRegions(np.array([ball(50, 5), ball(3, 9)], float), np.array([0, 1]), np.zeros(2, bool)))
    of = match_centres([image, image._replace(ignored=None)], 2)
    first, second = ([(score, object_) for score, object_, at in zip(of.score, of.matched_object[0], of.box_image)
                      if at == number] for number in range(2))
    assert sorted(first) == [(0.3, -1), (0.6, 1), (0.6, 2), (0.7, -1), (0.9, 0)]
    assert sorted(second) == [(0.3, -1), (0.4, -1), (0.5, -1), (0.6, 5), (0.6, 6), (0.7, -1), (0.9, 4)]
    assert of.object_image.tolist() == [0] * 4 + [1] * 4 and not of.ignored.any()
    nothing = match_centres([image._replace(pred_boxes=np.zeros((0, 6)), pred_labels=np.zeros(0, int),
                                            scores=np.zeros(0))], 1)
    assert nothing.matched_object.shape == (1, 0) and len(nothing.object_image) == 4
