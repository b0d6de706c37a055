"""FreeSurfer's conformed grid, against positions in the world and nibabel's axes."""

import re

import nibabel as nib
import numpy as np
import pytest

from medjax.data.io.geometry import Image
from medjax.data.transforms.conform import Conform, conform
from medjax.errors import InputError

AFFINE = np.array([[0, 0, 1.5, -40], [2.0, 0, 0, -30], [0, -1.2, 0, 50], [0, 0, 0, 1]])


def test_the_grid_and_positions_on_it():
    array = np.zeros((20, 30, 40), np.float32)
    array[4, 6, 9] = 5
    found = conform(Image(array, AFFINE, 'a.nii'))
    assert found.array.shape == (256, 256, 256) and nib.aff2axcodes(found.affine) == ('L', 'I', 'A')
    np.testing.assert_allclose(nib.affines.voxel_sizes(found.affine), 1)
    # The centre of the field of view is in the centre of the grid, as mri_convert defines both: half the extents.
    np.testing.assert_allclose(found.affine @ [128, 128, 128, 1], AFFINE @ [10, 15, 20, 1])
    peak = np.array(np.unravel_index(found.array.argmax(), found.array.shape))
    distance = (found.affine @ [*peak, 1] - AFFINE @ [4, 6, 9, 1])[:3]
    assert (np.abs(distance) <= 0.5).all()
    np.testing.assert_array_equal(conform(found).array, found.array)  # conformed already


def test_intensities_between_two_percentiles():
    rng = np.random.default_rng(0)
    array = rng.integers(0, 200, (64, 64, 64)).astype(np.int16)
    volume = Conform(2, 98).network_input(Image(array, np.diag([4.0, 4, 4, 1]), 'a.nii'), {})
    low, high = np.percentile(conform(Image(array, np.diag([4.0, 4, 4, 1]), 'a.nii')).array, [2, 98])
    assert volume.image.shape == (256, 256, 256, 1) and volume.image.dtype == np.float32
    assert volume.image.min() == 0 and volume.image.max() == 1
    middle = volume.image[128, 128, 128, 0] * (high - low) + low
    np.testing.assert_allclose(middle, conform(Image(array, np.diag([4.0, 4, 4, 1]), 'a.nii')).array[128, 128, 128],
                               rtol=1e-4)


@pytest.mark.parametrize('array, message', [
    (np.zeros((8, 8, 8)), 'percentiles 2 and 98 of its intensities are both 0'),
    (np.zeros((8, 8, 8, 3)), '3 channels; expected one'), (np.zeros((8, 8, 1)), 'a single slice; expected a volume'),
    (np.full((8, 8, 8), np.nan), 'a.nii')])
def test_images_that_are_refused(array, message):
    with pytest.raises(InputError, match=re.escape(message)):
        Conform(2, 98).network_input(Image(array.astype(np.float32), np.eye(4), 'a.nii'), {})
