"""Spatial transforms, compared with closed forms (matrix exponentials of linear velocities) and with SimpleITK."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import SimpleITK as sitk
from scipy import linalg, ndimage

from medjax.ops import deformation, warp

rng = np.random.default_rng(0)


def linear(matrix, shape):
    """The field matrix @ (x - centre), `[D, *S]` float32."""
    position = np.indices(shape) - np.reshape([(n - 1) / 2 for n in shape], (-1, *[1] * len(shape)))
    return np.einsum('ab,b...->a...', matrix, position).astype(np.float32)


@functools.cache
def smooth(shape, size=1.5, control_spacing=8):
    """A smooth random velocity field."""
    draw = jax.jit(lambda key: size * warp.elastic_displacement(key, shape, control_spacing))
    return np.asarray(draw(jax.random.key(3)))


@pytest.mark.parametrize('matrix, shape, edge', [
    ([[0.1, -0.2], [0.15, -0.1]], (41, 37), 9), ([[0.1, 0, 0.1], [0, -0.1, 0], [-0.2, 0.1, 0]], (21, 19, 23), 6)])
def test_the_exponential_of_a_linear_velocity_is_the_matrix_exponential(matrix, shape, edge):
    got = np.asarray(jax.jit(deformation.exponential)(linear(matrix, shape)))
    want = linear(linalg.expm(np.array(matrix)) - np.eye(len(matrix)), shape)
    inner = (slice(None), *[slice(edge, -edge)] * len(shape))  # points from outside follow a different velocity
    np.testing.assert_allclose(got[inner], want[inner], atol=5e-3)
    inner = (slice(None), *[slice(edge + 1, -edge - 1)] * len(shape))
    determinants = np.asarray(jax.jit(deformation.jacobian_determinants)(got))
    np.testing.assert_allclose(determinants[inner], np.exp(np.trace(matrix)), rtol=5e-3)


def test_a_constant_velocity_is_a_shift():
    velocity = np.broadcast_to(np.array([1.25, -0.5], np.float32)[:, None, None], (2, 6, 7))
    np.testing.assert_allclose(deformation.exponential(velocity), velocity, atol=1e-6)


def test_an_affine_map_from_its_logarithm():
    generator = np.array([[0.1, -0.2, 0.05], [0.15, -0.1, 0.02]], np.float32)
    matrix = np.asarray(deformation.affine_matrix(generator, (21, 31)))
    power = linalg.expm(np.pad(generator, [(0, 1), (0, 0)]))
    centre, half = np.array([10, 15]), 15.5
    points = rng.random((2, 9)) * 20
    want = power[:2, :2] @ ((points - centre[:, None]) / half) + power[:2, 2:]
    np.testing.assert_allclose(deformation.transform_points(points, matrix), want * half + centre[:, None], atol=1e-4)
    # The same map on a grid that is three times coarser, whose voxel x has its centre at 3 x + 1.
    coarse_matrix = deformation.affine_matrix(generator, (7, 31 / 3))
    coarse = np.asarray(deformation.transform_points((points - 1) / 3, coarse_matrix))
    np.testing.assert_allclose(3 * coarse + 1, deformation.transform_points(points, matrix), atol=1e-4)
    inverse = deformation.affine_matrix(generator, (21, 31), -1.0)
    restored = deformation.transform_points(deformation.transform_points(points, matrix), inverse)
    np.testing.assert_allclose(restored, points, atol=1e-4)


def test_composition_equals_scipy():
    inner, outer = (rng.normal(0, 1, (2, 9, 8)).astype(np.float32) for _ in range(2))
    position = np.indices((9, 8)) + inner
    sampled = np.stack([ndimage.map_coordinates(part.astype(float), position, order=1, mode='nearest')
                        for part in outer])
    np.testing.assert_allclose(deformation.compose(outer, inner), inner + sampled, atol=1e-5)


@pytest.mark.parametrize('shape', [(32, 40), (14, 16, 12)])
def test_forward_and_inverse_are_consistent_and_nothing_folds(shape):
    velocity, dims = smooth(shape, 2 / len(shape)), len(shape)
    generator = 0.05 * rng.normal(size=(dims, dims + 1)).astype(np.float32)
    forward, backward = (jax.jit(lambda v, field=field: field(v, generator, shape))(velocity) for field in (
        deformation.displacement_field, deformation.inverse_displacement_field))
    assert np.abs(forward).max() > 1
    assert float(deformation.folding_fraction(forward)) == 0 == float(deformation.folding_fraction(backward))
    consistency_error = jax.jit(deformation.inverse_consistency_error)
    error = float(consistency_error(forward, backward, [2.0] * dims))
    assert error < 0.15 < float(consistency_error(forward, -forward, [2.0] * dims))
    assert float(consistency_error(forward, backward, [1.0] * dims)) == pytest.approx(error / 2, rel=1e-4)


def test_the_inverse_equals_simpleitk():
    forward, backward = (np.asarray(jax.jit(lambda v, field=field: field(v, None, (32, 40)))(smooth((32, 40))))
                         for field in (deformation.displacement_field, deformation.inverse_displacement_field))
    field = sitk.GetImageFromArray(forward.T.astype(np.float64), isVector=True)
    want = sitk.GetArrayFromImage(sitk.InvertDisplacementField(field, 50, 1e-4, 1e-4, False)).T
    error = np.abs(backward - want)[:, 6:-6, 6:-6]
    assert error.max() < 0.15 and error.mean() < 0.03 and np.abs(want[:, 6:-6, 6:-6]).mean() > 0.5


def test_warping_equals_simpleitk():
    image, displacement = rng.random((24, 20)).astype(np.float32), smooth((24, 20), control_spacing=6)
    field = sitk.GetImageFromArray((displacement * np.array([1.5, 3.0])[:, None, None]).T, isVector=True)
    moving = sitk.GetImageFromArray(image.T)
    field.SetSpacing((1.5, 3.0))
    moving.SetSpacing((1.5, 3.0))
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    want = sitk.GetArrayFromImage(sitk.Resample(moving, moving, transform, sitk.sitkLinear, 0.0)).T
    position = np.indices(image.shape) + displacement
    inside = ((position >= 0) & (position <= np.reshape([23, 19], (2, 1, 1)))).all(0)
    got = np.asarray(deformation.warp(image[..., None], displacement))[..., 0]
    np.testing.assert_allclose(got[inside], want[inside], atol=1e-4)
    assert inside.mean() > 0.8


def test_folding_by_hand():
    identity = np.zeros((2, 5, 6), np.float32)
    np.testing.assert_array_equal(deformation.jacobian_determinants(identity), np.ones((4, 4, 5)))
    reflected = -2 * np.indices((5, 6)).astype(np.float32) * [[[1]], [[0]]]  # x is mapped to -x
    np.testing.assert_array_equal(deformation.jacobian_determinants(reflected), -np.ones((4, 4, 5)))
    assert float(deformation.folding_fraction(reflected)) == 1
    one = identity.copy()
    one[0, 2, 3] = 1.5  # beyond its neighbour: folds the two adjacent cells towards x + 1
    assert float(deformation.folding_fraction(one)) == pytest.approx(2 / 20)
    stretched = np.zeros((3, 4, 4, 4), np.float32)
    stretched[2] = 0.5 * np.arange(4)  # by 1.5 along z
    np.testing.assert_allclose(deformation.jacobian_determinants(stretched), 1.5)


def test_a_fold_that_central_differences_miss():
    """Alternating displacements of more than half a voxel fold the map, but central differences are 1."""
    displacement = np.zeros((2, 8, 6), np.float32)
    displacement[0] = 0.6 * (-1.0) ** np.arange(8)[:, None]
    central = (np.gradient(displacement[0], axis=0) + 1)[1:-1]
    assert (central > 0).all() and float(deformation.folding_fraction(displacement)) > 0.5
    assert float(deformation.folding_fraction(np.full((2, 4, 4), np.nan, np.float32))) == 1


def test_regularisers_by_hand():
    field = linear([[0.3, 0], [0, 0.4]], (7, 9))
    assert float(deformation.gradient_energy(field, (2.0, 2.0))) == pytest.approx(0.25, rel=1e-5)
    assert float(deformation.bending_energy(field, (1.0, 1.0))) == pytest.approx(0, abs=1e-9)
    # A shear of 0.5 voxels along x by one along y is 1 mm by 4 mm on voxels of 2 × 4 mm.
    sheared = linear([[0, 0.5], [0, 0]], (7, 9))
    assert float(deformation.gradient_energy(sheared, (2.0, 4.0))) == pytest.approx(0.25**2, rel=1e-5)
    curved = np.zeros((2, 6, 6), np.float32)
    curved[0] = np.arange(6)[:, None] * np.arange(6)  # only the mixed derivative, which is counted twice
    assert float(deformation.bending_energy(curved, (1.0, 1.0))) == pytest.approx(2, rel=1e-5)
    assert float(deformation.bending_energy(curved[:, :, :2], (1.0, 1.0))) == pytest.approx(2, rel=1e-5)


def test_resizing_preserves_the_map():
    field = linear([[0.1, 0.2], [0, -0.1]], (8, 12))
    np.testing.assert_allclose(deformation.resize(field, (16, 24))[:, 2:-2, 2:-2],
                               linear([[0.1, 0.2], [0, -0.1]], (16, 24))[:, 2:-2, 2:-2], atol=1e-5)


def test_target_registration_error_by_hand():
    displacement = np.zeros((2, 5, 5), np.float32)
    displacement[0] = 1
    points, targets = jnp.array([[1.0, 1.0], [2.0, 2.5]]), jnp.array([[2.0, 1.0], [3.0, 4.5]])
    error = deformation.target_registration_error(displacement, points, targets, (3.0, 2.0))
    np.testing.assert_allclose(error, [0, 4], atol=1e-6)
    none = jnp.zeros((0, 2))
    assert deformation.target_registration_error(displacement, none, none, (3.0, 2.0)).shape == (0,)
