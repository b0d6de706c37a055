import itertools

import nibabel as nib
import numpy as np
import pytest

from medjax.data.io.geometry import (
    Image,
    check_pair,
    crop_or_pad,
    cropped_affine,
    describe,
    resample,
    resample_to_grid,
    restore,
    same_grid,
    spacing,
    to_canonical,
)
from medjax.errors import InputError

rng = np.random.default_rng(0)
AXES = [(order, flips) for order in itertools.permutations(range(3)) for flips in itertools.product((1, -1), repeat=3)]


def affine_of(order, flips, millimetres=(1.0, 1.5, 2.5), origin=(-7.0, 3.0, 11.0)):
    """The affine whose array axes run along the world axes `order`, forwards or backwards."""
    affine = np.eye(4)
    affine[:3, :3] = 0
    for axis, (world, sign) in enumerate(zip(order, flips)):
        affine[world, axis] = sign * millimetres[axis]
    affine[:3, 3] = origin
    return affine


@pytest.mark.parametrize('order, flips', AXES)
def test_canonical_equals_nibabel_for_all_48_axis_orders(order, flips):
    image = Image(rng.random((4, 5, 6)).astype(np.float32), affine_of(order, flips))
    got = to_canonical(image)
    want = nib.as_closest_canonical(nib.Nifti1Image(image.array, image.affine))
    np.testing.assert_array_equal(got.array, want.get_fdata(dtype=np.float32))
    np.testing.assert_allclose(got.affine, want.affine)
    back = restore(got, image, 'linear')
    np.testing.assert_array_equal(back.array, image.array)
    np.testing.assert_array_equal(back.affine, image.affine)


def test_a_crop_is_put_back_where_it_was():
    label = np.zeros((9, 8, 7), np.uint8)
    label[2:6, 3:5, 1:4] = rng.integers(1, 4, (4, 2, 3))
    whole = Image(label, affine_of((2, 0, 1), (1, -1, 1)))
    affine = whole.affine.copy()
    affine[:3, 3] += affine[:3, :3] @ (2, 3, 1)
    crop = Image(label[2:6, 3:5, 1:4], affine)
    for kind in ('label', 'linear'):
        np.testing.assert_array_equal(restore(to_canonical(crop), whole, kind).array, label)


def test_resampling_keeps_the_corner_and_a_ramp():
    affine = affine_of((0, 1, 2), (1, 1, 1), (2.0, 2.0, 2.0))
    x = np.arange(12, dtype=np.float32)[:, None, None] * np.ones((1, 10, 8), np.float32)
    for kind in ('linear', 'cubic'):
        got = resample(Image(x, affine), (1.0, 2.0, 4.0), kind)
        assert got.array.shape == (24, 10, 4) and got.array.dtype == np.float32 and spacing(got.affine) == (1, 2, 4)
        # The corner of the first voxel: half a voxel before its centre.
        np.testing.assert_allclose(got.affine @ [-0.5, -0.5, -0.5, 1], affine @ [-0.5, -0.5, -0.5, 1])
        np.testing.assert_allclose(got.array[8:-8, 5, 2], (np.arange(24)[8:-8] - 0.5) / 2, atol=2e-3)


def test_coarser_grids_do_not_alias():
    stripes = np.tile([0.0, 1.0], 32)[:, None, None].astype(np.float32) * np.ones((1, 4, 4), np.float32)
    got = resample(Image(stripes, np.eye(4)), (4.0, 1.0, 1.0), 'linear')
    np.testing.assert_allclose(got.array[2:-2], 0.5, atol=0.02)


def test_labels_keep_their_classes_and_volume():
    x, y, z = np.meshgrid(*[np.arange(24)] * 3, indexing='ij')
    radius = np.sqrt((x - 11.5) ** 2 + (y - 11.5) ** 2 + (z - 11.5) ** 2)
    label = np.where(radius < 5, 7, np.where(radius < 9, 3, 0)).astype(np.uint8)
    got = resample(Image(label, np.eye(4)), (1.5, 1.5, 1.5), 'label')
    assert got.array.dtype == np.uint8 and set(np.unique(got.array)) == {0, 3, 7}
    for value in (3, 7):
        assert abs((got.array == value).sum() * 1.5**3 / (label == value).sum() - 1) < 0.06
    again = restore(got, Image(label, np.eye(4)), 'label').array
    assert (again == label).mean() > 0.97


@pytest.mark.parametrize('values', [(1, 2), (2, 1)])
def test_labels_at_a_tie_are_the_lower_number(values):
    label = Image(np.array(values, np.uint8)[:, None, None], np.eye(4))
    between = np.eye(4)
    between[0, 3] = 0.5
    assert resample_to_grid(label, between, (1, 1, 1), 'label').array.item() == 1


def test_outside_is_filled_and_not_smeared():
    image = Image(np.ones((4, 4, 4), np.float32), np.eye(4))
    far = np.eye(4)
    far[:3, 3] = -2.25
    got = resample_to_grid(image, far, (9, 9, 9), 'linear', fill=0).array
    assert got[0, 0, 0] == 0 and got[4, 4, 4] == 1 and set(np.unique(got)) == {0, 1}


def test_channels_are_resampled_each():
    x = rng.random((6, 6, 6, 2)).astype(np.float32)
    got = resample(Image(x, np.eye(4)), (0.5, 1, 1), 'linear').array
    for channel in range(2):
        one = resample(Image(x[..., channel], np.eye(4)), (0.5, 1, 1), 'linear').array
        np.testing.assert_array_equal(got[..., channel], one)


def test_a_pair_on_two_grids_is_refused_with_both_geometries():
    image = Image(np.zeros((4, 5, 6)), np.eye(4), 'a.nii')
    moved = np.diag([1.0, 1.0, 2.0, 1.0])
    for label in (Image(np.zeros((4, 5, 7)), np.eye(4), 'b.nii'), Image(np.zeros((4, 5, 6)), moved, 'b.nii')):
        with pytest.raises(InputError) as error:
            check_pair(image, label)
        assert str(error.value).count('voxels of') == 2 and 'b.nii' in str(error.value) and '\n' not in str(error.value)
    check_pair(image, Image(np.zeros((4, 5, 6)), np.eye(4) + 1e-5))
    for shift, fits in ((0.09, True), (0.11, False)):  # of a voxel
        near = np.diag([0.5, 0.5, 0.5, 1.0])
        near[0, 3] = shift / 2
        label = Image(np.zeros((4, 5, 6)), near)
        assert same_grid(Image(np.zeros((4, 5, 6)), np.diag([0.5, 0.5, 0.5, 1.0])), label) == fits
    assert describe(image) == '4×5×6 voxels of 1×1×1 mm, axes RAS, origin (0, 0, 0)'


def test_a_box_beyond_the_array_is_filled():
    array = np.arange(6).reshape(3, 2, 1)
    np.testing.assert_array_equal(crop_or_pad(array, (1, 0, 0), (2, 2, 1))[..., 0], [[2, 3], [4, 5]])
    np.testing.assert_array_equal(crop_or_pad(array, (-1, 0, 0), (5, 1, 1), 9).ravel(), [9, 0, 2, 4, 9])
    channels = crop_or_pad(np.zeros((1, 1, 1, 2)), (0, -1, 0), (1, 2, 1), np.array([7, 8]))
    assert channels[0, :, 0].tolist() == [[7, 8], [0, 0]]
    affine = np.diag([2.0, 3.0, 4.0, 1.0])
    assert cropped_affine(affine, (1, -1, 2))[:3, 3].tolist() == [2, -3, 8] and not affine[:3, 3].any()


def test_grids_that_differ_a_little_are_distinguished_in_the_message():
    """A spacing of 1.2341 and of 1.2349 mm: 0.4 mm at voxel 511. Rotated by 1 degree: spacing and origin are equal."""
    array = np.zeros((512, 4, 4), np.uint8)
    image = Image(array, np.diag([1.2341, 1.0, 1.0, 1.0]), 'a.nii')
    with pytest.raises(InputError, match=r'1\.2349×1×1 mm.*expected .*1\.2341×1×1 mm.*up to 0\.4088 mm apart'):
        check_pair(image, Image(array, np.diag([1.2349, 1.0, 1.0, 1.0]), 'b.nii'))
    turn = np.eye(4)
    turn[:2, :2] = [[np.cos(np.pi / 180), -np.sin(np.pi / 180)], [np.sin(np.pi / 180), np.cos(np.pi / 180)]]
    plain = Image(array, np.eye(4), 'a.nii')
    with pytest.raises(InputError, match=f'up to {511 * np.sin(np.pi / 180):.3f} mm apart'):
        check_pair(plain, Image(array, turn, 'b.nii'))
