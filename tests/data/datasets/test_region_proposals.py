"""Region proposals: most bright objects lie in a proposed box, in 2D and 3D."""

import numpy as np
import pytest

from medjax.data.datasets.detection import dataset
from medjax.data.datasets.region_proposals import propose_boxes
from medjax.data.simulated import detection


@pytest.mark.parametrize('shape, count', [((64, 64), 60), ((40, 40, 40), 300)])
def test_proposals_hold_most_balls(shape, count, tmp_path):
    source = detection.source(cases=(4, 0, 0), shape=shape)
    data = dataset(source, size=shape, proposals=count, cache=str(tmp_path))
    best = []
    for number in range(4):
        boxes, dims = data.proposed(number), len(shape)
        assert len(boxes) <= count and (boxes >= 0).all() and (boxes[:, dims:] <= shape).all()
        for truth in data.truth(number)[0]:
            common = np.maximum(np.minimum(boxes, truth)[:, dims:] - np.maximum(boxes, truth)[:, :dims], 0).prod(-1)
            both = (boxes[:, dims:] - boxes[:, :dims]).prod(-1) + (truth[dims:] - truth[:dims]).prod() - common
            best.append((common / both).max())
    assert np.mean(np.array(best) > 0.5) > 0.8
    again = dataset(data.source, size=shape, proposals=count, cache=str(tmp_path))
    np.testing.assert_array_equal(again.proposed(3), propose_boxes(np.asarray(data.arrays[3]), count))
    assert propose_boxes(np.zeros((*shape, 1), np.uint8), 9).shape == (0, 2 * len(shape))
