"""Signed distances of masks."""

import numpy as np

from medjax.data.datasets import tumour_visits


def test_an_empty_mask_has_no_distance():
    assert (tumour_visits.signed_distance(np.zeros((4, 4)), (1, 1)) == tumour_visits.FAR).all()
    assert (tumour_visits.signed_distance(np.ones((4, 4)), (1, 1)) == -tumour_visits.FAR).all()
    # Few voxels and many go different ways to the same numbers.
    mask = np.zeros((40, 40, 40), np.uint8)
    mask[10:20, 5:30, 12:14] = 1
    small = tumour_visits.signed_distance(mask, (1, 2, 3))
    tumour_visits.THREADED, kept = 0, tumour_visits.THREADED
    try:
        np.testing.assert_allclose(tumour_visits.signed_distance(mask, (1, 2, 3)), small, atol=1e-4)
    finally:
        tumour_visits.THREADED = kept
