"""Intensities and grids: by hand, and the same in training and in prediction."""

import numpy as np
import pytest

from medjax.data.io.geometry import Image
from medjax.data.transforms.volumes import VolumePreprocess, with_context
from medjax.errors import InputError

rng = np.random.default_rng(0)


def test_zscore_is_within_the_body():
    array = np.zeros((6, 6, 6, 2), np.float32)
    array[1:4, 1:4, 1:4] = rng.normal([100, -5], [10, 2], (3, 3, 3, 2))
    array[..., 1] = np.where(array[..., 1] == 0, -50, array[..., 1])
    pre = VolumePreprocess(intensity={'name': 'zscore'}, crop=False)
    _, _, case = pre.to_grid(Image(array, np.eye(4)))
    inside = array[1:4, 1:4, 1:4]
    np.testing.assert_allclose(case['mean'], inside.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(case['std'], inside.std((0, 1, 2)), rtol=1e-5)
    out = pre.normalise(array, case, {})[1:4, 1:4, 1:4]
    np.testing.assert_allclose(out.mean((0, 1, 2)), 0, atol=1e-5)
    np.testing.assert_allclose(out.std((0, 1, 2)), 1, rtol=1e-5)
    assert out.dtype == np.float32


def test_a_constant_image_is_no_division_by_zero():
    pre = VolumePreprocess()
    image, _, case = pre.to_grid(Image(np.full((4, 4, 4), 7, np.int16), np.eye(4)))
    np.testing.assert_array_equal(pre.normalise(image.array, case, {}), 0)


def test_resampling_does_not_make_the_background_body():
    """Cubics swing below the background; mean and deviation are still those of the body."""
    array = np.zeros((40, 40, 40), np.float32)
    array[10:30, 10:30, 10:30] = rng.normal(1000, 50, (20, 20, 20))
    plain, coarse = (VolumePreprocess(spacing=(mm, mm, mm), crop=False).to_grid(Image(array, np.eye(4)))
                     for mm in (1, 1.5))
    assert coarse[0].array.min() < -1 and plain[2] == coarse[2]
    assert coarse[2]['mean'][0] == pytest.approx(1000, abs=3) and coarse[2]['min'] == [0]


def test_percentiles_are_of_the_training_cases():
    pre = VolumePreprocess(intensity={'name': 'percentile', 'low': 10, 'high': 90})
    cases = [np.arange(0.0, 50.0)[:, None], np.arange(50.0, 101.0)[:, None]]
    stats = pre.training_statistics(cases)
    assert stats['low'] == [10] and stats['high'] == [90]
    clipped = np.clip(np.arange(101.0), 10, 90)
    assert stats['mean'] == pytest.approx([clipped.mean()]) and stats['std'] == pytest.approx([clipped.std()])
    out = pre.normalise(np.array([[-1000.0], [50.0], [1000.0]]), {'mean': [1e9], 'std': [1e9]}, stats)
    np.testing.assert_allclose(out[:, 0], (np.array([10, 50, 90]) - 50) / clipped.std(), rtol=1e-5)
    with pytest.raises(InputError, match='the training cases have 0 of them'):
        pre.training_statistics([np.zeros((0, 1))])


def test_a_window_is_in_hu():
    pre = VolumePreprocess(intensity={'name': 'window', 'low': -1000, 'high': 400})
    np.testing.assert_allclose(pre.normalise(np.array([-2000, -1000, -300, 400, 3000]), {}, {}), [0, 0, 0.5, 1, 1])


@pytest.mark.parametrize('intensity, word', [
    ({'name': 'minmax'}, 'zscore'), ({'name': 'window', 'low': 1}, 'window'), ({'name': 'zscore', 'low': 1}, 'zscore'),
    ({'name': 'window', 'low': 4, 'high': 4}, 'must be below')])
def test_wrong_intensities_are_named(intensity, word):
    with pytest.raises(InputError, match=word):
        VolumePreprocess(intensity=intensity)


def test_the_grid_is_cropped_and_resampled_with_its_label():
    array = np.full((20, 16, 12), -1000, np.int16)
    array[4:14, 3:13, 2:10] = 50
    label = np.zeros(array.shape, np.uint8)
    label[6:10, 5:9, 4:6] = 1
    affine = np.diag([-2.0, 1.0, 3.0, 1.0])  # counts to the left
    affine[:3, 3] = (30, -4, 5)
    image, truth, _ = VolumePreprocess(spacing=(1.0, 1.0, 1.0)).to_grid(Image(array, affine), Image(label, affine))
    assert image.array.shape == (20, 10, 24, 1) and truth.array.shape == (20, 10, 24)
    np.testing.assert_allclose(np.diag(image.affine)[:3], 1)
    # 2 × 1 × 3 mm³ a voxel; where shares are equal, at edges and corners, the background wins.
    assert 0.85 * 6 * label.sum() < truth.array.sum() <= 6 * label.sum()
    where = np.argwhere(truth.array) @ image.affine[:3, :3].T + image.affine[:3, 3]
    before = np.argwhere(label) @ affine[:3, :3].T + affine[:3, 3]
    np.testing.assert_allclose(where.mean(0), before.mean(0), atol=1e-6)
    whole, _, _ = VolumePreprocess(crop=False).to_grid(Image(array, affine))
    assert whole.array.shape == (20, 16, 12, 1)


def test_context_is_the_neighbours_with_the_border_repeated():
    array = np.arange(5.0)[None, None, :, None] * np.ones((2, 2, 1, 1))
    out = with_context(array, 1, 2)
    np.testing.assert_array_equal(out[0, 0], [[0, 0, 1], [0, 1, 2], [1, 2, 3], [2, 3, 4], [3, 4, 4]])


def test_a_new_image_is_prepared_as_a_training_image():
    array = rng.normal(size=(5, 6, 4)).astype(np.float32)
    preprocess = VolumePreprocess(context=1)
    volume = preprocess.network_input(Image(array, np.eye(4)), {'channels': 1, 'intensities': {}}, axis=2)
    grid, _, case = preprocess.to_grid(Image(array, np.eye(4)))
    np.testing.assert_array_equal(volume.image, with_context(preprocess.normalise(grid.array, case, {}), 1, 2))
    assert volume.background.tolist() == [volume.image.min()] * 3 and (volume.affine == grid.affine).all()
    with pytest.raises(InputError, match='a.nii: 1 channels; expected 2, as in training'):
        preprocess.network_input(Image(array, np.eye(4), 'a.nii'), {'channels': 2, 'intensities': {}})
    with pytest.raises(InputError, match='a.nii: 120 voxels are NaN'):
        preprocess.network_input(Image(array * np.nan, np.eye(4), 'a.nii'), {'channels': 1, 'intensities': {}})
