import dataclasses

import numpy as np
import pytest

from medjax.tasks.segmentation.charts import calibration_error, voxel_reliability
from tests.tasks.segmentation.snapshots import snapshot


def test_calibration_by_hand():
    pred = np.array([1, 1, 1, 1, 0, 0, 0, 1], np.uint8).reshape(8, 1, 1)
    label = np.array([1, 1, 1, 0, 1, 0, 0, 255], np.uint8).reshape(8, 1, 1)
    # The sixth is certain background, the seventh outside of the network's input, the eighth ignored.
    confidence = np.array([0.75, 0.75, 0.75, 0.75, 0.55, 0.999, 0.0, 0.6]).reshape(8, 1, 1)
    bins = voxel_reliability([snapshot(label, pred, confidence=confidence)], 2)
    assert bins == pytest.approx(np.array([[1, 4], [0.55, 0.75], [0.0, 0.75]]))
    assert calibration_error(bins) == pytest.approx(0.55 / 5)
    assert voxel_reliability([snapshot(label, pred)], 2) is None


def test_calibration_of_regions_is_that_of_being_inside():
    """The whole is of both classes, the core of the second: predicted as whole, the core is right, not the reverse."""
    pred = np.array([1, 1, 1, 2, 2, 0, 0], np.uint8).reshape(7, 1, 1)
    label = np.array([1, 2, 0, 2, 1, 0, 2], np.uint8).reshape(7, 1, 1)
    confidence = np.array([0.85, 0.85, 0.85, 0.65, 0.65, 0.55, 0.4]).reshape(7, 1, 1)  # the last is outside
    case = dataclasses.replace(snapshot(label, pred, confidence=confidence),
                               members=np.array([[False, True, True], [False, False, True]]))
    bins = voxel_reliability([case], 3)
    assert bins == pytest.approx(np.array([[1, 2, 3], [0.55, 0.65, 0.85], [1, 1 / 2, 2 / 3]]))
