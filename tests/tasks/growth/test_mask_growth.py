"""Masks that grow or shrink to a number of voxels, and the foreground of an image."""

import numpy as np

from medjax.tasks.growth import mask_growth
from tests.data import growing_squares

SPACING = (2.0, 2.0, 5.0)


def test_masks_are_resized_to_a_number_of_voxels():
    mask = growing_squares.square(4)[..., 0]
    allowed = np.ones((12, 12), bool)
    assert (mask_growth.resize_mask(mask, SPACING, 16, allowed) == mask).all()
    more = mask_growth.resize_mask(mask, SPACING, 32, allowed)
    np.testing.assert_array_equal(more[3], [0, 0, 0, 0, 1, 1, 1, 1, 0, 0, 0, 0])  # each side, and no corner
    assert more.sum() == 32 and more[3, 3] == 0 and (more & mask == mask).all()
    less = mask_growth.resize_mask(mask, SPACING, 4, allowed)
    assert less.sum() == 4 and less[5:7, 5:7].all()
    allowed[:, 7:] = False
    beside = mask_growth.resize_mask(mask, SPACING, 40, allowed)
    assert beside.sum() == 40 and beside[:, 8:].sum() == 0
    assert mask_growth.resize_mask(mask, SPACING, 500, allowed).sum() == allowed.sum() + 4  # what is there stays
    assert not mask_growth.resize_mask(np.zeros_like(mask), SPACING, 9, allowed).any()
    assert not mask_growth.resize_mask(mask, SPACING, 0, allowed).any()


def test_the_foreground_is_not_the_constant_background():
    image = np.random.default_rng(0).normal(size=(9, 9, 1))
    assert mask_growth.foreground(image).all()
    image[:2] = image[:, :3] = image[-1] = 0
    assert mask_growth.foreground(image).sum() == 6 * 6
