"""Axis by axis is SciPy's way, for any flip, permutation, spacing and shift."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from medjax.data.io import interpolate

EXTENTS = st.lists(st.integers(1, 9), min_size=3, max_size=3)


@st.composite
def grids(draw):
    """The old and the new shape, and a matrix whose axes run along each other."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.eye(3)[draw(st.permutations(range(3)))]
    matrix[:3, :3] *= draw(st.lists(st.sampled_from([-2, -1, -0.7, 0.4, 0.5, 1, 1.3, 2]), min_size=3, max_size=3))
    matrix[:3, 3] = draw(st.lists(st.sampled_from([-1.25, 0, 0.25, 0.5, 3, 8]), min_size=3, max_size=3))
    return tuple(draw(EXTENTS)), tuple(draw(EXTENTS)), matrix


def scipys(array, matrix, shape, order, mode='nearest'):
    if order > 1:
        array = ndimage.spline_filter(array, order, output=np.float32, mode='nearest')
    return ndimage.affine_transform(array, matrix[:3, :3], matrix[:3, 3], shape, array.dtype, order, mode,
                                    prefilter=False)


@settings(max_examples=60, deadline=None)
@given(grids(), st.sampled_from([0, 1, 3]))
def test_intensities(grid, order):
    old, new, matrix = grid
    array = np.random.default_rng(0).normal(size=old).astype(np.float32)
    got = interpolate.sample(array, matrix, new, order)
    assert got.dtype == np.float32 and got.flags.c_contiguous
    np.testing.assert_allclose(got, scipys(array, matrix, new, order), atol=2e-5)


@settings(max_examples=60, deadline=None)
@given(grids())
def test_classes_win_by_their_share_and_at_a_tie_by_number(grid):
    old, new, matrix = grid
    label = np.random.default_rng(0).integers(0, 4, old).astype(np.uint8)
    shares = np.stack([scipys((label == value).astype(np.float32), matrix, new, 1) for value in range(4)])
    expected = (shares > shares.max(0) - 1e-5).argmax(0)
    np.testing.assert_array_equal(interpolate.majority_label(label, matrix, new), expected)


@settings(max_examples=30, deadline=None)
@given(grids())
def test_voxels_inside_the_old_grid(grid):
    old, new, matrix = grid
    expected = scipys(np.ones(old, np.uint8), matrix, new, 0, 'grid-constant') > 0
    np.testing.assert_array_equal(interpolate.inside_mask(matrix, new, old), expected)


@pytest.mark.parametrize('turn', [0.0, 0.3])
def test_oblique_grids_use_general_interpolation(turn):
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]]
    label = (np.random.default_rng(0).random((8, 9, 5)) > 0.5).astype(np.uint8)
    assert (interpolate._axes(matrix) is None) == bool(turn)
    got = interpolate.majority_label(label, matrix, label.shape)
    share = scipys(label.astype(np.float32), matrix, label.shape, 1)
    np.testing.assert_array_equal(got, share > 0.5 + 5e-7)
