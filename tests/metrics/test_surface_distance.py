"""Both definitions of a surface against values by hand."""

import numpy as np
import pytest

from medjax.metrics.surface_distance import ELEMENTS, VOXELS, bounding_box, surface_voxels


def cube(start, size=4, shape=(16, 16, 16)):
    mask = np.zeros(shape, bool)
    mask[tuple(slice(s, s + size) for s in start)] = True
    return mask


def test_bounding_box_contains_all_masks():
    assert bounding_box(cube((1, 2, 3)), cube((5, 2, 0))) == (slice(1, 9), slice(2, 6), slice(0, 7))
    assert bounding_box(np.zeros((3, 3, 3), bool)) == (slice(0, 0),) * 3


def test_surface_of_a_cube_is_its_shell():
    # Also where the cube touches the border of the image.
    for start in ((5, 5, 5), (0, 0, 0)):
        shell = surface_voxels(cube(start))
        assert shell.sum() == 4**3 - 2**3 and not shell[tuple(s + 1 for s in start)]


@pytest.mark.parametrize('of', [VOXELS, ELEMENTS])
def test_equal_masks_have_no_distance(of):
    there, back = of.distances(cube((4, 5, 6)), cube((4, 5, 6)), (1.0, 2.0, 3.0))
    assert of.hausdorff(there, back) == of.mean_distance(there, back) == 0
    assert of.surface_dice(there, back, 0.0) == 1


@pytest.mark.parametrize('of', [VOXELS, ELEMENTS])
def test_a_shift_is_the_largest_distance(of):
    # Two cubes, one of them moved by 2 voxels of 1.5 mm: no surface point is farther than the shift.
    there, back = of.distances(cube((4, 4, 4)), cube((6, 4, 4)), (1.5, 1.0, 1.0))
    assert of.hausdorff(there, back, 100) == pytest.approx(3.0)
    assert 0 < of.mean_distance(there, back) < 3.0
    assert of.surface_dice(there, back, 3.0) == 1 and of.surface_dice(there, back, 0.5) < 1


def test_elements_of_a_large_box_have_its_area():
    mask, spacing = cube((2, 2, 2), 12), (1.0, 2.0, 0.5)
    (_, areas), _ = ELEMENTS.distances(mask, mask, spacing)
    x, y, z = (12 * s for s in spacing)
    # Edges and corners of the box are bevelled, which takes away less than a voxel's width along each edge.
    whole, edges = 2 * (x * y + y * z + z * x), 4 * (x + y + z) * max(spacing)
    assert whole - edges < areas.sum() < whole


def test_elements_of_a_single_slice_have_its_outline():
    mask = cube((3, 3, 0), 8)[:, :, :1]
    (_, lengths), _ = ELEMENTS.distances(mask, mask, (1.0, 1.0, 5.0))
    # The outline runs through the middles between voxels, with its four corners cut off.
    assert lengths.sum() == pytest.approx(4 * (8 - 1) + 4 * np.sqrt(0.5))
