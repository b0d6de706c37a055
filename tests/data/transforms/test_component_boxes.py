"""Boxes of connected components, against SciPy."""

import numpy as np
import pytest
from scipy import ndimage

from medjax.data.transforms.component_boxes import component_boxes


@pytest.mark.parametrize('shape', [(20, 24), (14, 12, 10)])
def test_components_equal_scipy(shape):
    mask = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=shape), 1) > 0.25
    places = ndimage.find_objects(ndimage.label(mask, np.ones((3,) * len(shape)))[0])
    want = sorted([*(s.start for s in p), *(s.stop for s in p)] for p in places)
    assert sorted(component_boxes(mask).astype(int).tolist()) == want and len(want) > 2
    assert component_boxes(np.zeros(shape, bool)).shape == (0, 2 * len(shape))
