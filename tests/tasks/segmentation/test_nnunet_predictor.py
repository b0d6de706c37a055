"""nnU-Net's windows and mirroring, by hand; tests/oracle/test_nnunet_prediction.py compares whole cases."""

import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.data.io.geometry import Image
from medjax.data.transforms.nnunet_grid import Grid, NnunetPreprocess, Resampling
from medjax.tasks.segmentation.nnunet_predictor import logit_windows, window_starts, window_weights


def test_windows_are_those_of_nnunet():
    assert window_starts(110, 64, 0.5) == [0, 23, 46]  # the example in nnU-Net's code
    assert window_starts(64, 64, 0.5) == [0] and window_starts(13, 5, 0.5) == [0, 2, 4, 6, 8]
    weights = window_weights((1, 8, 6))
    assert weights.shape == (1, 8, 6) and weights.max() == 10 and weights.argmax() == 4 * 6 + 3 and weights.min() > 0
    assert weights[0, 4, 2] == pytest.approx(10 * np.exp(-0.5 / (6 / 8) ** 2), rel=1e-3)


def test_mirror_images_are_averaged():
    """A network that shifts by a voxel: over all mirror images the mean of the shifts is symmetric."""
    image = np.random.default_rng(0).normal(size=(1, 6, 4, 2)).astype(np.float32)
    windows = logit_windows(lambda _, x: jnp.roll(x, 1, 1), (1, 6, 4), (1, 2))
    found = windows.probabilities({}, image)
    np.testing.assert_allclose(found, (np.roll(image, 1, 1) + np.roll(image, -1, 1)) / 2, rtol=1e-5)
    alone = logit_windows(lambda _, x: jnp.roll(x, 1, 1), (1, 6, 4), ())
    np.testing.assert_allclose(alone.probabilities({}, image), np.roll(image, 1, 1), rtol=1e-5)


def test_thick_slices_are_resampled_by_themselves():
    array = np.random.default_rng(0).normal(size=(4, 6, 5))
    found = Resampling(order=3)(array, (8, 9, 5), (6.0, 1.5, 1.0), (3.0, 1.0, 1.0))
    expected = [np.clip(ndimage.zoom(one, (1.5, 1), order=3, mode='nearest', grid_mode=True), one.min(), one.max())
                for one in array]
    for number in range(8):
        assert np.abs(found[number] - expected[number // 2]).max() < 0.5
    assert found.min() >= array.min() and found.max() <= array.max()
    together = Resampling(order=1, separate=False)(array, (8, 6, 5), (6.0, 1.5, 1.0), (3.0, 1.5, 1.0))
    np.testing.assert_allclose(together[1], 0.75 * array[0] + 0.25 * array[1])
    assert Resampling()(array, array.shape, (1, 1, 1), (2, 2, 2)) is array


def test_images_are_cropped_and_normalised_and_labels_restored():
    rng, box = np.random.default_rng(0), np.s_[2:8, 1:7, 1:4]
    array = np.zeros((10, 8, 5, 2), np.float32)
    array[box] = rng.uniform(1, 9, (6, 6, 3, 2))
    array[4, 3, 2] = 0  # a hole, which is filled
    preprocess = NnunetPreprocess((2, 0, 1), (1.0, 3.0, 2.0), ('ZScoreNormalization', 'CTNormalization'), (True, False),
                                  ({}, {'percentile_00_5': 2.0, 'percentile_99_5': 8.0, 'mean': 5.0, 'std': 2.0}))
    found, grid = preprocess(Image(array, np.diag([1.0, 2.0, 3.0, 1.0]), 'x.nii'))
    assert grid == Grid((10, 5, 8), (slice(2, 8), slice(1, 4), slice(1, 7)), (1.0, 3.0, 2.0), (1.0, 3.0, 2.0))
    cropped = array[box].transpose(0, 2, 1, 3)
    first = cropped[..., 0]
    np.testing.assert_allclose(found[..., 0], (first - first.mean()) / first.std(), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(found[..., 1], (np.clip(cropped[..., 1], 2, 8) - 5) / 2, rtol=1e-5)
    truth = rng.integers(0, 3, (10, 8, 5)).astype(np.uint8)
    logits = np.eye(3)[truth[box].transpose(0, 2, 1)]
    label = preprocess.labels(0, logits, len(logits), grid, regions=False)
    np.testing.assert_array_equal(label[box], truth[box])
    assert label.sum() == truth[box].sum()
    regions = np.stack([truth > 0, truth > 1], -1)[box].transpose(0, 2, 1, 3) - 0.5
    np.testing.assert_array_equal(preprocess.labels(0, regions, len(regions), grid, regions=True), label)


@pytest.mark.parametrize('axis', range(3))
@pytest.mark.parametrize('old, shape', [((1.0, 1.0, 1.0), (13, 9, 4)), ((5.0, 1.0, 1.0), (11, 6, 15)),
                                        ((1.0, 1.0, 1.0), (3, 12, 6))])
def test_planes_are_resampled_as_they_come(axis, old, shape):
    """The labels are those of SciPy's resampling of whole classes, slices by themselves where they are thick."""
    logits = np.random.default_rng(axis).normal(size=(6, 7, 8, 5)).astype(np.float32)
    grid = Grid((15, 15, 16), tuple(slice(1, 1 + n) for n in shape), (1.0, 1.0, 1.0), old)
    thick, each = old[0] > 3, []
    for logit in np.moveaxis(logits.astype(np.float64), -1, 0):
        factors = [n / m for n, m in zip(shape, logit.shape)]
        if thick:
            logit = np.stack([ndimage.zoom(part, factors[1:], order=1, mode='nearest', grid_mode=True)
                              for part in logit])
            logit = logit[np.clip(np.floor(6 / 11 * (np.arange(11) + 0.5)).astype(int), 0, 5)]
        else:
            logit = ndimage.zoom(logit, factors, order=1, mode='nearest', grid_mode=True)
        each.append(logit)
    found = np.stack(each, -1)
    preprocess = NnunetPreprocess((0, 1, 2), (1.0, 1.0, 1.0), ('NoNormalization',), (False,), ({},))
    expected = np.zeros(grid.shape, np.uint8)
    expected[grid.box] = found.argmax(-1)
    planes = np.moveaxis(logits, axis, 0)
    label = preprocess.labels(axis, iter(planes), len(planes), grid, regions=False)
    np.testing.assert_array_equal(label, expected.transpose(2, 1, 0))
    expected[grid.box] = (5 - (found > 0)[..., ::-1].argmax(-1)) * (found > 0).any(-1)
    label = preprocess.labels(axis, iter(planes), len(planes), grid, regions=True)
    np.testing.assert_array_equal(label, expected.transpose(2, 1, 0))
