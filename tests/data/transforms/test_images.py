"""Preprocessing of images to one size: axes, resizing, padding and intensities by hand; invalid options."""

import numpy as np
import pytest

from medjax.data.io.geometry import Image
from medjax.data.transforms.images import ImagePreprocess, image_preprocess, resize
from medjax.errors import InputError


def picture(rows):
    """A 2D image as readers return it, columns first, of a list of rows."""
    return np.array(rows, np.uint8).T[:, :, None]


def test_pictures_are_rows_first_and_volumes_ras():
    preprocess = ImagePreprocess((2, 3))
    image = Image(picture([[1, 2, 3], [4, 5, 6]]), np.eye(4))
    assert preprocess.fit_to_size(image)[..., 0].tolist() == [[1, 2, 3], [4, 5, 6]]
    volume = np.arange(24, dtype=np.uint8).reshape(2, 3, 4)
    affine = np.array([[0, -1, 0, 2], [1, 0, 0, 0], [0, 0, 1, 0], [0, 0, 0, 1]])
    turned = ImagePreprocess((3, 2, 4)).fit_to_size(Image(volume, affine))
    np.testing.assert_array_equal(turned[..., 0], volume.swapaxes(0, 1)[::-1])


def test_shrinking_averages_and_padding_keeps_proportions():
    halves = np.zeros((4, 8, 1), np.float32)
    halves[:, 4:] = 10
    np.testing.assert_allclose(resize(halves, (2, 2))[..., 0], [[10 / 7, 60 / 7]] * 2, rtol=1e-6)
    padded = ImagePreprocess((8, 8), resize_mode='pad').fit_to_size(Image(np.full((8, 4, 1), 7, np.uint8), np.eye(4)))
    assert padded.shape == (8, 8, 1) and (padded[2:6] == 7).all()
    wide = np.full((8, 4, 1), 7, np.uint8)
    wide[0, 0] = 3
    assert (ImagePreprocess((8, 8), resize_mode='pad').fit_to_size(Image(wide, np.eye(4)))[:2] == 3).all()


@pytest.mark.parametrize('intensity, want', [
    ({'name': 'unit'}, [0, 0.2, 1]), ({'name': 'fixed', 'mean': (0.5,), 'std': (0.5,)}, [-1, -0.6, 1]),
    ({'name': 'training'}, [(0 - 0.4) / 0.1, (0.2 - 0.4) / 0.1, (1 - 0.4) / 0.1]),
    ({'name': 'window', 'low': 51, 'high': 153}, [0, 0, 1]),
    ({'name': 'zscore'}, (np.array([0, 51, 255]) - 102) / np.std([0, 51, 255]))])
def test_intensities_by_hand(intensity, want):
    got = ImagePreprocess((1, 3), intensity=intensity).normalise(
        np.array([[[0], [51], [255]]], np.uint8), {'mean': [0.4], 'std': [0.1]})
    np.testing.assert_allclose(got.ravel(), want, rtol=1e-5, atol=1e-6)


def test_a_volume_keeps_its_proportions_in_millimetres():
    cube = np.full((8, 8, 2), 7, np.uint8)
    cube[0, 0, 0] = 3
    padded = ImagePreprocess((8, 8, 8), resize_mode='pad').fit_to_size(Image(cube, np.diag([1.0, 1.0, 4.0, 1.0])))
    assert padded.shape == (8, 8, 8, 1) and (padded[1:, 1:] == 7).all()


def test_black_and_white_is_the_whole_range():
    mask = np.array([[[True]], [[False]]])
    assert ImagePreprocess((1, 2)).fit_to_size(Image(mask, np.eye(4))).ravel().tolist() == [255, 0]


@pytest.mark.parametrize('options', [
    dict(size=8), dict(size=(8.0, 8.0)), dict(size=(8, 8), intensity='unit'),
    dict(size=(8, 8), channels=1, intensity=dict(name='fixed', mean=(0.5, 0.5, 0.5), std=(1.0,))),
    dict(size=(8, 8), intensity=dict(name='fixed', mean=(0.5,), std=(0.0,)))])
def test_invalid_sizes_are_refused(options):
    with pytest.raises(InputError, match='config.data'):
        image_preprocess(**options)
