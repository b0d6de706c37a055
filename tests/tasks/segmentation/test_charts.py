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
