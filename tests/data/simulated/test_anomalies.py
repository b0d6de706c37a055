"""Simulated slices with anomalies: reproducible, and changed by the lesion inside its mask."""

import numpy as np
import pytest
from scipy import ndimage

from medjax.data.simulated import anomalies
from tests.data import samples


@pytest.fixture(scope='module')
def masks(tmp_path_factory):
    return samples.tumour_masks(tmp_path_factory.mktemp('tumours'))


def test_slices_with_a_lesion_differ_only_within_the_mask(masks):
    source = anomalies.source(dir=str(masks), cases=(2, 1, 4))
    assert [case.target for case in source.cases] == [0, 0, 0, 0, 1, 0, 1]
    for case in source.cases:
        image, mask = case.read()
        again, _ = case.read()
        np.testing.assert_array_equal(image.array, again.array)
        assert image.array.shape == mask.array.shape == (192, 224, 1) and image.array.dtype == np.uint8
        assert mask.array.any() == bool(case.target)
        if case.target:
            # Most of a lesion is tissue: bright or dark, but no longer as what is around it.
            wide, narrow = (ndimage.binary_dilation(mask.array, iterations=n) for n in (6, 2))
            near = wide & ~narrow
            inside, around = (image.array[part & (image.array > 20)].mean() for part in (mask.array, near))
            assert abs(inside / around - 1) > 0.1
