"""A cascade: the labels of the first stage as channels of the images of the second."""

import jax
import nibabel as nib
import numpy as np
import pytest

from medjax.data.datasets import volumes
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.data.transforms.augment import Recipe
from medjax.errors import InputError

SHAPE = (6, 5, 4)
RNG = np.random.default_rng(0)
ARRAY = RNG.uniform(1, 9, (*SHAPE, 2)).astype(np.float32)
FIRST = RNG.integers(0, 3, SHAPE).astype(np.uint8)


def source():
    image, label = Image(ARRAY, np.diag([2.0, 1, 1, 1]), 'i'), Image(FIRST > 1, np.diag([2.0, 1, 1, 1]), 'l')
    case = Case(id='a', patient='a', split='train', read=lambda: (image, label))
    return Source(cases=(case,), classes=('background', 'organ', 'lesion'), channels=('t1', 't2'))


def dataset(tmp_path, **options):
    return volumes.dataset(source(), patch=(4, 4, 4), previous=str(tmp_path / 'first'), cache=str(tmp_path / 'cache'),
                           **options)


@pytest.fixture
def first(tmp_path):
    """The labels in a file whose first axis runs the other way."""
    (tmp_path / 'first' / 'labels').mkdir(parents=True)
    affine = np.diag([-2.0, 1, 1, 1])
    affine[0, 3] = 2.0 * (SHAPE[0] - 1)
    nib.save(nib.Nifti1Image(FIRST[::-1], affine), tmp_path / 'first' / 'labels' / 'a.nii.gz')


@pytest.mark.parametrize('spacing, repeats', [(None, 1), ((1.0, 1.0, 1.0), 2)])
def test_each_class_is_a_channel(tmp_path, first, spacing, repeats):
    data = dataset(tmp_path, spacing=spacing)
    (volume,) = data.prepared
    found = data.network_input(volume)
    # Linear interpolation at a quarter of a voxel's distance gives each class three quarters at its nearest voxel.
    expected = np.repeat(FIRST, repeats, 0)[..., None] == [1, 2]
    np.testing.assert_array_equal(found[..., 2:], expected)
    assert data.statistics['channels'] == 4 and len(data.intensities) == 0
    if spacing is None:
        scaled = (ARRAY - ARRAY.mean((0, 1, 2))) / ARRAY.std((0, 1, 2))
        # The mean and deviation are of voxels above the minimum, which is one voxel less.
        np.testing.assert_allclose(found[..., :2], scaled, atol=0.1)
        image, _ = data.patch_at(volume, np.array([1, 0, 0]))
        np.testing.assert_array_equal(image[..., 2:], expected[1:5, :4, :4])


def test_intensities_of_labels_are_not_augmented():
    image = np.concatenate([ARRAY, FIRST[..., None] == [1, 2]], -1).astype(np.float32)[None]
    batch = {'image': image, 'index': np.zeros(1, np.uint32)}
    changed = Recipe(brightness=1.0, noise=1.0, label_channels=2)(batch, jax.random.key(0))['image']
    np.testing.assert_array_equal(changed[..., 2:], image[..., 2:])
    assert np.abs(np.asarray(changed)[..., :2] - image[..., :2]).min() > 0
    mirrored = np.asarray(Recipe(flip=1.0, flip_axes=(0,), label_channels=2)(batch, jax.random.key(0))['image'])
    np.testing.assert_array_equal(mirrored, image[:, ::-1])


def test_cases_without_labels_are_refused(tmp_path):
    with pytest.raises(InputError, match='no labels of 1 cases .a.; expected those of evaluate --ensemble --labels'):
        dataset(tmp_path)
    with pytest.raises(InputError, match='with context=1; expected context=0'):
        volumes.dataset(source(), patch=(4, 4, 1), context=1, previous='x')
