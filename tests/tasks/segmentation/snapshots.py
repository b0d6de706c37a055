"""Snapshots of cases for tests."""

import numpy as np

from medjax.tasks.segmentation.snapshot import Snapshot


def snapshot(label, pred=None, image=None, spacing=(1.0, 1.0, 1.0), kind='volume', confidence=None):
    """A case with a label; the prediction equals it unless given."""
    pred = label if pred is None else pred
    image = np.zeros(label.shape, np.float32) if image is None else image
    return Snapshot('case', image, label, pred, confidence, spacing, kind)
