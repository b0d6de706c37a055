"""A scan on an oblique grid, and what was found in it."""

import numpy as np
import pytest

from medjax.core.contracts import Findings
from tests.clinic import scans

SHAPE = (20, 16, 9)


def labels():
    """Two classes that are absent in some slices; the first has a hole, and a part that touches another at a corner."""
    out = np.zeros(SHAPE, np.uint8)
    out[3:9, 4:12, 2:4] = 1
    out[5:7, 6:9, 2] = 0
    out[9:11, 12:14, 3] = 1
    out[10:15, 5:9, 5:8] = 2
    return out


@pytest.fixture
def found():
    """Labels and probabilities of three classes."""
    label = labels()
    probs = np.stack([np.where(label == number, 0.8, 0.1) for number in range(3)], -1).astype(np.float32)
    return Findings(('background', 'liver', 'tumour'), '', label, probs)


@pytest.fixture(scope='session')
def scan(tmp_path_factory):
    """A folder with an oblique CT series whose SpacingBetweenSlices is wrong."""
    folder = tmp_path_factory.mktemp('scan') / 'series'
    scans.series(folder, np.random.default_rng(0).integers(-1000, 1000, SHAPE).astype(np.int16))
    return folder
