"""Maps of space against closed forms: linear velocities have the matrix exponential; and against SimpleITK."""

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
    """The field matrix @ (x - middle), `[D, *S]` float32."""
    places = np.indices(shape) - np.reshape([(n - 1) / 2 for n in shape], (-1, *[1] * len(shape)))
    return np.einsum('ab,b...->a...', matrix, places).astype(np.float32)


@functools.cache
def smooth(shape, size=1.5, every=8):
    """A smooth random velocity."""
    return np.asarray(jax.jit(lambda key: size * warp.elastic(key, shape, every))(jax.random.key(3)))


@pytest.mark.parametrize('matrix, shape, edge', [
    ([[0.1, -0.2], [0.15, -0.1]], (41, 37), 9), ([[0.1, 0, 0.1], [0, -0.1, 0], [-0.2, 0.1, 0]], (21, 19, 23), 6)])
def test_a_linear_velocity_flows_as_the_matrix_exponential_says(matrix, shape, edge):
    got = np.asarray(jax.jit(deformation.exponential)(linear(matrix, shape)))
    want = linear(linalg.expm(np.array(matrix)) - np.eye(len(matrix)), shape)
    inner = (slice(None), *[slice(edge, -edge)] * len(shape))  # what flows in from outside is another field's
    np.testing.assert_allclose(got[inner], want[inner], atol=5e-3)
    inner = (slice(None), *[slice(edge + 1, -edge - 1)] * len(shape))
    determinants = np.asarray(jax.jit(deformation.determinants)(got))
    np.testing.assert_allclose(determinants[inner], np.exp(np.trace(matrix)), rtol=5e-3)


def test_a_constant_velocity_is_a_shift():
    velocity = np.broadcast_to(np.array([1.25, -0.5], np.float32)[:, None, None], (2, 6, 7))
    np.testing.assert_allclose(deformation.exponential(velocity), velocity, atol=1e-6)


def test_an_affine_maps_logarithm():
    generator = np.array([[0.1, -0.2, 0.05], [0.15, -0.1, 0.02]], np.float32)
    made = np.asarray(deformation.affine(generator, (21, 31)))
    power = linalg.expm(np.pad(generator, [(0, 1), (0, 0)]))
    middle, half = np.array([10, 15]), 15.5
    places = rng.random((2, 9)) * 20
    want = power[:2, :2] @ ((places - middle[:, None]) / half) + power[:2, 2:]
    np.testing.assert_allclose(deformation.moved_on(places, made), want * half + middle[:, None], atol=1e-4)
    # The same map on a grid three times as coarse, whose voxel x has its middle at 3 x + 1.
    coarse = np.asarray(deformation.moved_on((places - 1) / 3, deformation.affine(generator, (7, 31 / 3))))
    np.testing.assert_allclose(3 * coarse + 1, deformation.moved_on(places, made), atol=1e-4)
    back = deformation.affine(generator, (21, 31), -1.0)
    np.testing.assert_allclose(deformation.moved_on(deformation.moved_on(places, made), back), places, atol=1e-4)


def test_composition_is_scipys():
    first, last = (rng.normal(0, 1, (2, 9, 8)).astype(np.float32) for _ in range(2))
    where = np.indices((9, 8)) + first
    read = np.stack([ndimage.map_coordinates(part.astype(float), where, order=1, mode='nearest') for part in last])
    np.testing.assert_allclose(deformation.compose(last, first), first + read, atol=1e-5)


@pytest.mark.parametrize('shape', [(32, 40), (14, 16, 12)])
def test_there_and_back_is_nowhere_and_nothing_folds(shape):
    velocity, dims = smooth(shape, 2 / len(shape)), len(shape)
    generator = 0.05 * rng.normal(size=(dims, dims + 1)).astype(np.float32)
    there, back = (jax.jit(lambda v, way=way: way(v, generator, shape))(velocity)
                   for way in (deformation.displaced, deformation.undone))
    assert np.abs(there).max() > 1 and float(deformation.folded(there)) == 0 == float(deformation.folded(back))
    inconsistency = jax.jit(deformation.inconsistency)
    apart = float(inconsistency(there, back, [2.0] * dims))
    assert apart < 0.15 < float(inconsistency(there, -there, [2.0] * dims))
    assert float(inconsistency(there, back, [1.0] * dims)) == pytest.approx(apart / 2, rel=1e-4)


def test_the_inverse_is_simpleitks():
    there, back = (np.asarray(jax.jit(lambda v, way=way: way(v, None, (32, 40)))(smooth((32, 40))))
                   for way in (deformation.displaced, deformation.undone))
    field = sitk.GetImageFromArray(there.T.astype(np.float64), isVector=True)
    found = sitk.GetArrayFromImage(sitk.InvertDisplacementField(field, 50, 1e-4, 1e-4, False)).T
    apart = np.abs(back - found)[:, 6:-6, 6:-6]
    assert apart.max() < 0.15 and apart.mean() < 0.03 and np.abs(found[:, 6:-6, 6:-6]).mean() > 0.5


def test_a_warp_is_simpleitks():
    image, there = rng.random((24, 20)).astype(np.float32), smooth((24, 20), every=6)
    field = sitk.GetImageFromArray((there * np.array([1.5, 3.0])[:, None, None]).T, isVector=True)
    moving = sitk.GetImageFromArray(image.T)
    field.SetSpacing((1.5, 3.0))
    moving.SetSpacing((1.5, 3.0))
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    want = sitk.GetArrayFromImage(sitk.Resample(moving, moving, transform, sitk.sitkLinear, 0.0)).T
    where = np.indices(image.shape) + there
    inside = ((where >= 0) & (where <= np.reshape([23, 19], (2, 1, 1)))).all(0)
    got = np.asarray(deformation.warped(image[..., None], there))[..., 0]
    np.testing.assert_allclose(got[inside], want[inside], atol=1e-4)
    assert inside.mean() > 0.8


def test_folds_by_hand():
    still = np.zeros((2, 5, 6), np.float32)
    np.testing.assert_array_equal(deformation.determinants(still), np.ones((4, 4, 5)))
    turned = -2 * np.indices((5, 6)).astype(np.float32) * [[[1]], [[0]]]  # x goes to -x
    np.testing.assert_array_equal(deformation.determinants(turned), -np.ones((4, 4, 5)))
    assert float(deformation.folded(turned)) == 1
    one = still.copy()
    one[0, 2, 3] = 1.5  # beyond its neighbour: the two cells on either side of it, towards x + 1
    assert float(deformation.folded(one)) == pytest.approx(2 / 20)
    there = np.zeros((3, 4, 4, 4), np.float32)
    there[2] = 0.5 * np.arange(4)  # half as long again along z
    np.testing.assert_allclose(deformation.determinants(there), 1.5)


def test_a_fold_that_central_differences_miss():
    """To and fro by more than half a voxel: every second voxel is where it should be, and the map is no map."""
    there = np.zeros((2, 8, 6), np.float32)
    there[0] = 0.6 * (-1.0) ** np.arange(8)[:, None]
    inner = (np.gradient(there[0], axis=0) + 1)[1:-1]
    assert (inner > 0).all() and float(deformation.folded(there)) > 0.5
    assert float(deformation.folded(np.full((2, 4, 4), np.nan, np.float32))) == 1


def test_smoothness_by_hand():
    field = linear([[0.3, 0], [0, 0.4]], (7, 9))
    assert float(deformation.roughness(field, (2.0, 2.0))) == pytest.approx(0.25, rel=1e-5)
    assert float(deformation.bending(field, (1.0, 1.0))) == pytest.approx(0, abs=1e-9)
    # A shear of 0.5 voxels along x by one along y is 1 mm by 4 mm on voxels of 2 × 4 mm.
    assert float(deformation.roughness(linear([[0, 0.5], [0, 0]], (7, 9)), (2.0, 4.0))) == pytest.approx(0.25**2, rel=1e-5)
    curved = np.zeros((2, 6, 6), np.float32)
    curved[0] = np.arange(6)[:, None] * np.arange(6)  # only the mixed derivative, which counts twice
    assert float(deformation.bending(curved, (1.0, 1.0))) == pytest.approx(2, rel=1e-5)
    assert float(deformation.bending(curved[:, :, :2], (1.0, 1.0))) == pytest.approx(2, rel=1e-5)


def test_sizes_change_and_the_map_stays():
    field = linear([[0.1, 0.2], [0, -0.1]], (8, 12))
    np.testing.assert_allclose(deformation.resized(field, (16, 24))[:, 2:-2, 2:-2],
                               linear([[0.1, 0.2], [0, -0.1]], (16, 24))[:, 2:-2, 2:-2], atol=1e-5)


def test_target_errors_by_hand():
    there = np.zeros((2, 5, 5), np.float32)
    there[0] = 1
    far = deformation.target_error(there, jnp.array([[1.0, 1.0], [2.0, 2.5]]), jnp.array([[2.0, 1.0], [3.0, 4.5]]), (3.0, 2.0))
    np.testing.assert_allclose(far, [0, 4], atol=1e-6)
    assert deformation.target_error(there, jnp.zeros((0, 2)), jnp.zeros((0, 2)), (3.0, 2.0)).shape == (0,)
