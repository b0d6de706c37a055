"""Boxes on the network's grid go where the voxels of their objects go."""

import numpy as np
import pytest

from medjax.data.io.geometry import Image
from medjax.data.transforms.images import ImagePreprocess
from tests.data.cuboids import bright, extents

# Spacing in mm, and how a volume's file has its axes: as the world, both of the plane turned, and in another order.
AFFINES = [np.diag([1.0, 1, 1, 1]), np.diag([-1.0, -2, 1.5, 1]),
           np.array([[0, 0.2, -3.0, 4], [1.0, 0, 0, 0], [0, -2.0, 0.1, 7], [0, 0, 0, 1]])]


@pytest.mark.parametrize('resize_mode', ['stretch', 'pad'])
def test_a_pictures_box_goes_where_its_pixels_go(resize_mode):
    """8 columns and 4 rows; the box is of rows 1 to 3 and columns 4 to 7."""
    array, box = bright((8, 4, 1), [4, 1, 0, 7, 3, 1]), np.array([[1.0, 4, 3, 7]])
    preprocess = ImagePreprocess((24, 16), resize_mode=resize_mode, intensity=dict(name='unit'))
    grid = preprocess.grid(array.shape, np.eye(4))
    # Stretched by 6 and by 2; padded, by 2 each, and 8 rows above.
    want = [[6, 8, 18, 14]] if resize_mode == 'stretch' else [[10, 8, 14, 14]]
    assert grid.shape == (4, 8)
    np.testing.assert_allclose(grid.to_network(box), want, atol=1e-6)
    np.testing.assert_allclose(grid.to_stored(grid.to_network(box)), box, atol=1e-6)
    fitted = preprocess.normalise(preprocess.fit_to_size(Image(array, np.eye(4))), {})[..., 0]
    np.testing.assert_allclose(extents(fitted), want[0], atol=1)
    assert preprocess.fit_to_size(Image(array, np.eye(4))).shape == (24, 16, 1)


@pytest.mark.parametrize('affine', AFFINES)
@pytest.mark.parametrize('resize_mode', ['stretch', 'pad'])
def test_a_volumes_box_goes_where_its_voxels_go(resize_mode, affine):
    shape, box = (12, 9, 10), np.array([[2, 1, 5, 6, 4, 9]])
    preprocess = ImagePreprocess((36, 27, 30), resize_mode=resize_mode, intensity=dict(name='unit'))
    grid, array = preprocess.grid(shape, affine), bright(shape, box[0])
    got = grid.to_network(box)
    fitted = preprocess.normalise(preprocess.fit_to_size(Image(array, affine)), {})[..., 0]
    np.testing.assert_allclose(got[0], extents(fitted), atol=0.75)
    np.testing.assert_allclose(grid.to_stored(got), box, atol=1e-5)
    np.testing.assert_allclose(grid.to_stored(np.float32([[-5, -5, -5, 99, 99, 99]])), [[0, 0, 0, *shape]])
