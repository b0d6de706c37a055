"""Lesions in masks: diameters against pairs of voxels and formulas, peaks, and which lesion is which later."""

import itertools

import numpy as np
import pytest
from scipy import ndimage

from medjax.metrics import lesions
from medjax.metrics.lesions import LabelledVoxels

SPACING = (0.7, 1.1, 3.0)


def brute(mask, spacing):
    """The longest diameter over all pairs of voxel centres of every slice, as the definition reads."""
    planes = [np.argwhere(mask[:, :, z]) * spacing[:2] for z in range(mask.shape[2])]
    return max(float(np.hypot(*(a - b))) for points in planes for a, b in itertools.combinations(points, 2))


@pytest.mark.parametrize('seed', range(12))
def test_diameters_are_those_of_all_pairs(seed):
    rng = np.random.default_rng(seed)
    spacing = tuple(rng.uniform(0.5, 3, 3)) if seed else (1.0, 1.0, 1.0)
    mask = ndimage.gaussian_filter(rng.normal(size=(9, 8, 3)), 1) > 0.1
    longest, short = lesions.diameters(np.argwhere(mask), spacing)
    assert longest == pytest.approx(brute(mask, spacing)) and 0 <= short <= longest


def ellipse(x, y):
    return (x / 20)**2 + (y / 8)**2 <= 1


def ring(x, y):  # an ellipse with a necrotic centre
    return ellipse(x, y) & ~((x / 12)**2 + (y / 4)**2 <= 1)


def crescent(x, y):  # between radii of 17 and 25 mm, 70 degrees to each side
    return (abs(np.hypot(x, y) - 21) <= 4) & (abs(np.arctan2(x, y)) <= np.radians(70))


def ell(x, y):  # two arms, 30 mm long and 7 mm wide
    return (np.minimum(x, y) >= 0) & (np.maximum(x, y) <= 30) & (np.minimum(x, y) <= 7)


@pytest.mark.parametrize('spacing', [(0.5, 0.7, 3.0), (0.9, 0.4, 5.0)])
@pytest.mark.parametrize('angle', [0.0, 0.3, 1.0, 2.5])
@pytest.mark.parametrize('shape, longest, short', [
    (ellipse, 40, 16), (ring, 40, 16),
    # The widest chord parallel to the axis of symmetry begins where the inner arc ends.
    (crescent, 50 * np.sin(np.radians(70)),
     np.sqrt(25**2 - (17 * np.sin(np.radians(70)))**2) - 17 * np.cos(np.radians(70))),
    (ell, 30 * np.sqrt(2), 7 * np.sqrt(2))])  # the extent across the diameter is 26.2 mm
def test_the_short_axis_is_the_longest_chord_across(shape, longest, short, angle, spacing):
    x, y = (np.moveaxis(np.indices((220, 220)), 0, -1) - 110.0).dot(np.diag(spacing[:2])).transpose(2, 0, 1)
    mask = shape(np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x)
    found = lesions.diameters(np.argwhere(mask[:, :, None]), spacing)
    np.testing.assert_array_less(np.abs(np.subtract(found, (longest, short))), (2.0, 1.5))  # sharp tips have no centre


def test_diameters_by_hand():
    box = np.argwhere(np.ones((4, 3, 5)))
    # From corner to corner (3, 2); across from (2, 0) to (0, 2), which is 2 / sqrt(13) from perpendicular.
    assert lesions.diameters(box, (1, 1, 9)) == pytest.approx((np.hypot(3, 2), 10 / np.hypot(3, 2)))
    assert lesions.diameters(np.argwhere(np.eye(6)[:, :, None]), (1, 1, 1)) == (pytest.approx(np.hypot(5, 5)), 0)
    column, row = np.argwhere(np.ones((1, 1, 20))), np.argwhere(np.ones((1, 6, 1)))
    assert lesions.diameters(column, SPACING) == (0, 0)  # its length is along the body
    assert lesions.diameters(row, SPACING) == (pytest.approx(5.5), 0)


def test_the_diameter_of_a_ball_is_nearly_unbiased():
    rng, errors = np.random.default_rng(0), []
    for _ in range(30):
        radius, centre = rng.uniform(5, 9), rng.uniform(9.5, 10.5, 3)
        mask = np.linalg.norm(np.indices((20, 20, 20)).transpose(1, 2, 3, 0) - centre, axis=-1) <= radius
        found = np.array(lesions.diameters(np.argwhere(mask), (1, 1, 1)))
        errors.append(found - 2 * radius)
    longest, short = np.mean(errors, 0)
    assert -0.35 < longest < 0 and -0.7 < short < 0 and np.min(errors) > -1.2 and np.max(errors) <= 0


def test_parts_touch_at_corners_and_keep_their_numbers():
    mask = np.zeros((8, 8, 8), np.uint8)
    mask[0, 0, 0] = mask[1, 1, 1] = 7
    mask[2:4, 2:4, 2:4] = 3  # touches the first, of another number
    mask[6, 6, 6:] = 7
    found = lesions.connected_parts(mask)
    assert [(number, len(index)) for number, index in found] == [(3, 8), (7, 2), (7, 2)]
    assert {tuple(index) for number, part in found for index in part.tolist()} == set(
        map(tuple, np.argwhere(mask).tolist()))
    assert [len(index) for _, index in lesions.connected_parts(mask > 0)] == [10, 2]
    assert lesions.connected_parts(np.zeros((3, 3, 3), bool)) == []


def test_the_peak_is_the_hottest_sphere():
    rng = np.random.default_rng(1)
    image, spacing = rng.uniform(1, 5, (9, 8, 5)), (2.0, 2.5, 3.0)
    index = np.array([[0, 0, 0], [4, 4, 2], [8, 7, 4], [5, 4, 2]])
    places = np.argwhere(np.ones(image.shape))
    radius = (3000 / (4 * np.pi)) ** (1 / 3)
    means = [image[tuple(places[np.linalg.norm((places - at) * spacing, axis=1) <= radius].T)].mean() for at in index]
    assert lesions.peak_uptake(image, index, spacing) == pytest.approx(max(means))
    assert 4 / 3 * np.pi * radius**3 == pytest.approx(1000)


def test_a_lesion_is_the_sum_of_its_pieces():
    piece, other = np.argwhere(np.ones((11, 5, 1))), np.argwhere(np.ones((1, 8, 1))) + 20
    found = lesions.measure_lesion('target', [piece, other], (1.0, 1.0, 2.0))
    assert found.longest == pytest.approx(np.hypot(10, 4) + 7) and found.thickness == 2
    assert found.volume == pytest.approx(63 * 2 / 1000) and np.isnan(found.peak)


def grid(mask, affine=None):
    """Parts of a number image as a grid's voxels."""
    index = np.argwhere(mask)
    return LabelledVoxels(index, mask[tuple(index.T)].astype(int), np.eye(4) if affine is None else affine, mask.shape)


def test_overlaps_count_what_is_shared_in_the_world():
    rng = np.random.default_rng(2)
    a, b = rng.integers(0, 3, (2, 6, 6, 6))
    expected = {(i, j): ((a == i) & (b == j)).sum() * 2.0 for i in (1, 2) for j in (1, 2)}
    affine = np.diag([1.0, 2, 1, 1])
    assert lesions.shared_volumes(grid(a, affine), grid(b, affine)) == expected
    mirror = affine @ np.array([[-1, 0, 0, 5], [0, 1, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1.0]])
    assert lesions.shared_volumes(grid(a, affine), grid(b[::-1], mirror)) == expected  # stored the other way round


def test_a_small_lesion_is_found_between_coarse_centres():
    fine, coarse = np.zeros((12, 12, 12), int), np.zeros((3, 3, 3), int)
    fine[4, 4, 4], coarse[1, 1, 1] = 5, 9
    affine = np.diag([4.0, 4, 4, 1])
    affine[:3, 3] = 1.5  # a voxel of the one holds 64 of the other
    for now, seen, key in ((grid(fine), grid(coarse, affine), (5, 9)), (grid(coarse, affine), grid(fine), (9, 5))):
        assert lesions.shared_volumes(now, seen) == {key: 1.0}
    assert lesions.shared_volumes(grid(np.zeros((2, 2, 2), int)), grid(fine)) == {}


def test_lesions_fall_apart_merge_and_come_back():
    def line(*spans):
        out = np.zeros((20, 1, 1), int)
        for number, (start, stop) in enumerate(spans, 1):
            out[start:stop] = number
        return grid(out)

    first = line((0, 6), (8, 10), (15, 17))
    assert lesions.match_lesions(line((0, 2), (4, 6), (12, 13)), [first]) == ({1: 1, 2: 1}, {1})
    assert lesions.match_lesions(line((3, 10)), [first]) == ({1: 1}, {1, 2})  # 3 voxels of the one, 2 of the other
    known, touched = lesions.match_lesions(line((15, 16)), [line((0, 6)), first])
    assert known == {1: 3} and touched == {3}  # gone in between
