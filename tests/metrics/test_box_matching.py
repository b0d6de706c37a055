"""Matching of predicted boxes to true ones, by hand."""

import numpy as np
import pytest

from medjax.metrics.box_matching import box_iou, match_boxes


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
