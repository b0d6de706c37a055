"""Runs of detection in 2D, with its report, and in 3D."""

import pytest

from medjax import restore
from tests.tasks.detection import detections


@pytest.fixture(scope='session')
def flat(tmp_path_factory):
    """Images, with a report."""
    folder = detections.make(tmp_path_factory.mktemp('detections') / 'flat', 2, count=20)
    restore.write_report(folder)
    return folder


@pytest.fixture(scope='session')
def deep(tmp_path_factory):
    """Volumes, without a report."""
    return detections.make(tmp_path_factory.mktemp('detections') / 'deep', 3, count=12)
