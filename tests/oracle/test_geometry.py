"""Grids against SimpleITK and nibabel: all 48 axis orders and oblique affines."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medjax.data.io import geometry, image_files, simpleitk
from medjax.data.io.geometry import Image

ORDERS = list(itertools.product(itertools.permutations(range(3)), itertools.product((1, -1), repeat=3)))
SIZE, SPACING = (9, 10, 12), (0.8, 1.1, 1.7)
LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


def turned(order, signs, angles=(0, 0, 0)):
    """An affine whose array axes go along the world axes `order`, with signs, then turned about x, y, z."""
    turn = np.eye(3)
    for axis, angle in enumerate(angles):
        a, b = [i for i in range(3) if i != axis]
        one = np.eye(3)
        one[[a, a, b, b], [a, b, a, b]] = np.cos(angle), -np.sin(angle), np.sin(angle), np.cos(angle)
        turn = turn @ one
    affine = np.eye(4)
    affine[:3, :3] = turn @ (np.eye(3)[:, list(order)] * signs) @ np.diag(SPACING)
    affine[:3, 3] = 12.0, -34.5, 7.25
    return affine


def to_itk(image: Image) -> sitk.Image:
    """Written here once more, the other way round than in medjax."""
    lps = LPS @ image.affine
    out = sitk.GetImageFromArray(np.ascontiguousarray(image.array.transpose(2, 1, 0)))
    scale = np.sqrt((lps[:3, :3] ** 2).sum(0))
    out.SetSpacing(scale.tolist())
    out.SetDirection((lps[:3, :3] / scale).ravel().tolist())
    out.SetOrigin(lps[:3, 3].tolist())
    return out


def bumps(affine, size=SIZE, seed=0):
    rng = np.random.default_rng(seed)
    return Image(rng.normal(size=size).astype(np.float32), affine)


def interior(array, width):
    return array[tuple(slice(width, -width or None) for _ in range(3))]


@pytest.mark.parametrize('order,signs', ORDERS)
def test_canonical_equals_nibabel(order, signs):
    image = bumps(turned(order, signs, (0.2, -0.1, 0.15)))
    theirs = nib.as_closest_canonical(nib.Nifti1Image(image.array, image.affine))
    ours = geometry.to_canonical(image)
    np.testing.assert_array_equal(ours.array, np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-9)
    back = geometry.restore(ours, image, 'linear')
    np.testing.assert_array_equal(back.array, image.array)
    np.testing.assert_array_equal(back.affine, image.affine)


@pytest.mark.parametrize('kind,theirs,margin', [
    ('linear', sitk.sitkLinear, 0),
    # A spline's coefficients feel how the border is continued, in which the two differ: by 0.268 to the power of the
    # voxels in between.
    ('cubic', sitk.sitkBSpline, 8),
])
@pytest.mark.parametrize('angles', [(0, 0, 0), (0.3, -0.2, 0.4)])
@pytest.mark.parametrize('order,signs', ORDERS)
def test_resampling_to_a_grid_equals_simpleitk(order, signs, angles, kind, theirs, margin):
    image, side = bumps(turned(order, signs, angles), (32, 30, 34)), 8
    target = turned((0, 1, 2), (1, 1, 1))
    target[:3, :3] *= 0.6  # finer than the image, so that all of it fits within the margin
    middle = image.affine @ [*((np.array(image.array.shape) - 1) / 2 + 0.3), 1]
    target[:3, 3] += (middle - target @ [*[(side - 1) / 2] * 3, 1])[:3]
    places = np.linalg.inv(image.affine) @ target @ [*np.indices([side] * 3).reshape(3, -1), np.ones(side**3)]
    beyond = np.maximum(margin - places[:3].T, places[:3].T - (np.array(image.array.shape) - 1 - margin))
    assert beyond.max() <= 0
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(to_itk(Image(np.zeros([side] * 3, np.float32), target)))
    resampler.SetInterpolator(theirs)
    expected = sitk.GetArrayFromImage(resampler.Execute(to_itk(image))).transpose(2, 1, 0)
    ours = geometry.resample_to_grid(image, target, [side] * 3, kind)
    assert ours.array.dtype == np.float32
    np.testing.assert_allclose(ours.array, expected, atol=1e-4)
    np.testing.assert_array_equal(ours.affine, target)


@pytest.mark.parametrize('millimetres', [(1.3, 0.9, 1.0), (2.0, 2.2, 3.4)])
def test_resampling_is_a_gaussian_and_linear_interpolation(millimetres):
    affine = turned((2, 0, 1), (1, -1, 1), (0.1, 0.2, 0.3))
    # Long waves: for short ones ITK's kernel, the discrete Gaussian (Bessel functions), is another than ours, the
    # sampled one.
    waves = sum(np.cos(2 * np.pi * axis / length) for axis, length in zip(np.indices((34, 36, 38)), (12, 14, 16)))
    image = Image(waves.astype(np.float32), affine)
    ours = geometry.resample(image, millimetres, 'linear')
    assert geometry.spacing(ours.affine) == pytest.approx(millimetres)
    smooth = to_itk(image)
    for axis, factor in enumerate(np.array(millimetres) / SPACING):
        if factor > 1:  # FWHM of the new voxel, less the old one's, in mm
            kernel = sitk.DiscreteGaussianImageFilter()
            variance = [0.0, 0.0, 0.0]
            variance[axis] = (factor**2 - 1) / (8 * np.log(2)) * SPACING[axis] ** 2
            kernel.SetVariance(variance)
            kernel.SetMaximumError(1e-6)
            kernel.SetMaximumKernelWidth(64)
            smooth = kernel.Execute(smooth)
    grid = to_itk(Image(np.zeros(ours.array.shape, np.float32), ours.affine))
    expected = sitk.GetArrayFromImage(sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear)).transpose(2, 1, 0)
    rough = geometry.resample(image, millimetres, 'linear', smooth=False)
    ours, rough, expected = (interior(array, 4) for array in (ours.array, rough.array, expected))
    assert np.abs(ours - expected).max() < 0.1 * np.abs(rough - expected).max()


@pytest.mark.parametrize('order,signs', ORDERS[::5])
@pytest.mark.parametrize('suffix', ['.nrrd', '.mha', '.mhd', '.nii', '.nii.gz'])
def test_formats_agree_on_the_world(tmp_path, suffix, order, signs):
    rng = np.random.default_rng(1)
    image = Image(rng.integers(-900, 3000, SIZE).astype(np.int16), turned(order, signs, (0.3, 0.1, -0.2)))
    path = tmp_path / f'a{suffix}'
    sitk.WriteImage(to_itk(image), str(path))
    ours = image_files.read(path)
    assert ours.array.dtype == np.int16
    np.testing.assert_array_equal(ours.array, image.array)
    np.testing.assert_allclose(ours.affine, image.affine, atol=1e-4)


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_written_files_are_read_alike_by_other_libraries(tmp_path, suffix):
    image = Image(np.arange(6 * 5 * 4, dtype=np.int64).reshape(6, 5, 4), turned((1, 0, 2), (-1, 1, 1), (0.2, 0.1, 0.3)))
    path = tmp_path / f'a{suffix}'
    image_files.write(path, image.array, image.affine)
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), image.array)
    np.testing.assert_allclose(nib.load(path).affine, image.affine, atol=1e-5)
    theirs, affine = simpleitk.from_itk(sitk.ReadImage(str(path)))
    np.testing.assert_array_equal(theirs, image.array)
    np.testing.assert_allclose(affine, image.affine, atol=1e-4)


def test_scaled_and_micron_nifti(tmp_path):
    array = np.arange(24, dtype=np.int16).reshape(2, 3, 4)
    file = nib.Nifti1Image(array, np.diag([2000.0, 3000.0, 4000.0, 1.0]))
    file.header.set_xyzt_units('micron')
    file.header.set_slope_inter(0.5, -7)
    path = tmp_path / 'a.nii'
    path.write_bytes(file.to_bytes())
    # to_bytes writes slope and intercept into the header and divides the voxels by them
    ours, theirs = image_files.read(path), nib.load(path)
    assert ours.array.dtype == np.float32
    np.testing.assert_allclose(ours.array, theirs.get_fdata(), rtol=1e-6)
    assert geometry.spacing(ours.affine) == pytest.approx((2, 3, 4))
    assert simpleitk.from_itk(sitk.ReadImage(str(path)))[1].diagonal() == pytest.approx(ours.affine.diagonal())
