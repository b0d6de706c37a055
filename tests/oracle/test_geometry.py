"""Grids against SimpleITK and nibabel: all 48 axis orders and oblique affines."""

import itertools

import nibabel as nib
import numpy as np
import pytest
import SimpleITK as sitk

from medjax.data import geometry, itk, nifti
from medjax.data.geometry import Image

ORDERS = [(order, signs) for order in itertools.permutations(range(3)) for signs in itertools.product((1, -1), repeat=3)]
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
def test_canonical_is_nibabels(order, signs):
    image = bumps(turned(order, signs, (0.2, -0.1, 0.15)))
    theirs = nib.as_closest_canonical(nib.Nifti1Image(image.array, image.affine))
    ours = geometry.canonical(image)
    np.testing.assert_array_equal(ours.array, np.asarray(theirs.dataobj))
    np.testing.assert_allclose(ours.affine, theirs.affine, atol=1e-9)
    back = geometry.restore(ours, image, 'linear')
    np.testing.assert_array_equal(back.array, image.array)
    np.testing.assert_array_equal(back.affine, image.affine)


@pytest.mark.parametrize('kind,theirs,width', [('linear', sitk.sitkLinear, 0), ('cubic', sitk.sitkBSpline, 0)])
@pytest.mark.parametrize('angles', [(0, 0, 0), (0.3, -0.2, 0.4)])
@pytest.mark.parametrize('order,signs', ORDERS)
def test_onto_is_simpleitks(order, signs, angles, kind, theirs, width):
    image = bumps(turned(order, signs, angles), (20, 18, 22))
    target = turned((0, 1, 2), (1, 1, 1))
    centre = image.affine @ [*(np.array(image.array.shape) / 2), 1]
    target[:3, 3] += (centre - target @ [5, 5, 5, 1])[:3]  # ten voxels about the centre: all in the interior
    grid = to_itk(Image(np.zeros((10, 10, 10), np.float32), target))
    resampler = sitk.ResampleImageFilter()
    resampler.SetReferenceImage(grid)
    resampler.SetInterpolator(theirs)
    expected = sitk.GetArrayFromImage(resampler.Execute(to_itk(image))).transpose(2, 1, 0)
    ours = geometry.onto(image, target, (10, 10, 10), kind)
    assert ours.array.dtype == np.float32
    inside = geometry.onto(Image(np.ones(image.array.shape, np.float32), image.affine), target, (10, 10, 10), 'linear',
                           fill=0).array
    lattice = np.linalg.inv(image.affine) @ target @ np.stack([*np.indices((10, 10, 10)).reshape(3, -1), np.ones(1000)])
    margin = 1 if kind == 'linear' else 5  # a cubic spline's coefficients feel the border for a few voxels
    deep = ((lattice[:3] >= margin) & (lattice[:3] <= np.array(image.array.shape)[:, None] - 1 - margin)).all(0)
    deep = deep.reshape(10, 10, 10)
    assert deep.sum() > 200 and inside[deep].all()
    np.testing.assert_allclose(ours.array[deep], expected[deep], atol=1e-4)


@pytest.mark.parametrize('millimetres', [(1.3, 0.9, 1.0), (2.0, 2.2, 3.4)])
def test_resample_is_gaussian_then_linear(millimetres):
    image = bumps(turned((2, 0, 1), (1, -1, 1), (0.1, 0.2, 0.3)), (24, 26, 28))
    ours = geometry.resample(image, millimetres, 'linear')
    assert geometry.spacing(ours.affine) == pytest.approx(millimetres)
    smooth = to_itk(image)
    factor = np.array(millimetres) / SPACING
    for axis in range(3):
        if factor[axis] > 1:  # FWHM of the new voxel, less the old one's, in mm
            kernel = sitk.DiscreteGaussianImageFilter()
            variance = [0.0, 0.0, 0.0]
            variance[axis] = (factor[axis] ** 2 - 1) / 2.355**2 * SPACING[axis] ** 2
            kernel.SetVariance(variance)
            kernel.SetMaximumError(1e-6)
            kernel.SetMaximumKernelWidth(64)
            smooth = kernel.Execute(smooth)
    grid = to_itk(Image(np.zeros(ours.array.shape, np.float32), ours.affine))
    expected = sitk.GetArrayFromImage(sitk.Resample(smooth, grid, sitk.Transform(), sitk.sitkLinear)).transpose(2, 1, 0)
    # ITK's kernel is the discrete Gaussian (Bessel functions), ours the sampled one: equal for broad kernels only.
    np.testing.assert_allclose(interior(ours.array, 4), interior(expected, 4), atol=0.02)


@pytest.mark.parametrize('order,signs', ORDERS[::5])
@pytest.mark.parametrize('suffix', ['.nrrd', '.mha', '.mhd', '.nii', '.nii.gz'])
def test_formats_agree_on_the_world(tmp_path, suffix, order, signs):
    rng = np.random.default_rng(1)
    image = Image(rng.integers(-900, 3000, SIZE).astype(np.int16), turned(order, signs, (0.3, 0.1, -0.2)))
    path = tmp_path / f'a{suffix}'
    sitk.WriteImage(to_itk(image), str(path))
    ours = nifti.read(path)
    assert ours.array.dtype == np.int16
    np.testing.assert_array_equal(ours.array, image.array)
    np.testing.assert_allclose(ours.affine, image.affine, atol=1e-4)


@pytest.mark.parametrize('suffix', ['.nii', '.nii.gz'])
def test_written_files_are_what_others_read(tmp_path, suffix):
    image = Image(np.arange(6 * 5 * 4, dtype=np.int64).reshape(6, 5, 4), turned((1, 0, 2), (-1, 1, 1), (0.2, 0.1, 0.3)))
    path = tmp_path / f'a{suffix}'
    nifti.write(path, image.array, image.affine)
    np.testing.assert_array_equal(np.asarray(nib.load(path).dataobj), image.array)
    np.testing.assert_allclose(nib.load(path).affine, image.affine, atol=1e-5)
    theirs, affine = itk.from_itk(sitk.ReadImage(str(path)))
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
    ours, theirs = nifti.read(path), nib.load(path)
    assert ours.array.dtype == np.float32
    np.testing.assert_allclose(ours.array, theirs.get_fdata(), rtol=1e-6)
    assert geometry.spacing(ours.affine) == pytest.approx((2, 3, 4))
    assert itk.from_itk(sitk.ReadImage(str(path)))[1].diagonal() == pytest.approx(ours.affine.diagonal())
