"""Interpolation, compared with SciPy's map_coordinates, and properties of transforms."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.ops import warp

rng = np.random.default_rng(0)


@pytest.mark.parametrize('shape', [(11, 14), (7, 9, 8), (6, 1, 5)])
@pytest.mark.parametrize('kind, order', [('linear', 1), ('nearest', 0)])
@pytest.mark.parametrize('fill', ['mirror', 'nearest'])
def test_sample_equals_scipy(shape, kind, order, fill):
    image = rng.random((*shape, 2)).astype(np.float32)
    extent = np.array(shape).reshape(-1, *[1] * len(shape))
    # Inside, and up to half an image beyond each side.
    positions = (rng.random((len(shape), *shape)) * 2 - 0.5) * extent
    got = warp.sample(jnp.asarray(image), jnp.asarray(positions, jnp.float32), kind, fill)
    positions = positions.astype(np.float32).astype(np.float64)
    want = np.stack([ndimage.map_coordinates(image[..., c], positions, order=order, mode=fill) for c in range(2)], -1)
    if kind == 'nearest':  # SciPy may round ties differently
        place = np.abs(positions - np.floor(positions) - 0.5).min(0) > 1e-4
        got, want = got[place], want[place]
    np.testing.assert_allclose(got, want, atol=1e-5)


def test_the_identity_preserves_the_image():
    image = rng.random((5, 6, 7, 1)).astype(np.float32)
    positions = warp.sampling_positions((5, 6, 7), jnp.array([1.0, 0.7, 3.0]), jnp.eye(3))
    np.testing.assert_allclose(positions, np.indices((5, 6, 7)), atol=1e-5)
    np.testing.assert_allclose(warp.sample(jnp.asarray(image), positions, 'linear'), image, atol=1e-5)
    np.testing.assert_array_equal(warp.sample(jnp.asarray(image), positions, 'nearest'), image)


@pytest.mark.parametrize('axis, plane', [(0, (1, 2)), (1, (0, 2)), (2, (0, 1))])
def test_a_quarter_turn_is_rot90(axis, plane):
    image = rng.random((8, 8, 8, 1)).astype(np.float32)
    matrix = warp.rotation_matrix(jnp.zeros(3).at[axis].set(jnp.pi / 2))
    got = warp.sample(jnp.asarray(image), warp.sampling_positions((8, 8, 8), jnp.ones(3), matrix), 'linear')
    # Sampling at rotated positions rotates the image back; rot90 rotates from the first axis to the second.
    turns = 1 if axis == 1 else -1
    np.testing.assert_allclose(got, np.rot90(image, turns, plane), atol=1e-5)


def test_rotation_matrices_are_orthogonal_and_composed_in_order():
    angles = jnp.array([0.3, -0.5, 1.1])
    matrix = warp.rotation_matrix(angles)
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(matrix) == pytest.approx(1, abs=1e-5)
    single = [warp.rotation_matrix(jnp.zeros(3).at[a].set(angles[a])) for a in range(3)]
    np.testing.assert_allclose(matrix, single[2] @ single[1] @ single[0], atol=1e-6)


def test_rotations_of_anisotropic_voxels_preserve_lengths():
    """A quarter turn of a bar 12 mm long along x, on voxels of 1 × 3 mm, is a bar 12 mm long along y."""
    bar = np.zeros((25, 9, 1), np.float32)
    bar[6:19, 4] = 1
    positions = warp.sampling_positions((25, 9), jnp.array([1.0, 3.0]), warp.rotation_matrix(jnp.array([jnp.pi / 2])))
    got = np.asarray(warp.sample(jnp.asarray(bar), positions, 'linear'))[..., 0]
    along = np.flatnonzero(got[12] > 0.5)
    assert (along[-1] - along[0]) * 3 == 12
    np.testing.assert_allclose(got[10:15, 4], [1 / 3, 2 / 3, 1, 2 / 3, 1 / 3], atol=1e-5)  # 3 mm thick, now along x


def test_integer_shifts_are_exact_and_repeat_the_border():
    image = rng.random((6, 7, 1)).astype(np.float32)
    shift = jnp.array([2.0, -6.0])  # mm: 2 rows, 3 columns
    positions = warp.sampling_positions((6, 7), jnp.array([1.0, 2.0]), jnp.eye(2), shift)
    for kind in ('linear', 'nearest'):
        got = np.asarray(warp.sample(jnp.asarray(image), positions, kind, 'nearest'))
        np.testing.assert_allclose(got[:4, 3:], image[2:, :-3], atol=0 if kind == 'nearest' else 1e-6)
        np.testing.assert_allclose(got[:4, :3], np.repeat(image[2:, :1], 3, 1), atol=0 if kind == 'nearest' else 1e-6)
        np.testing.assert_allclose(got[4:], np.repeat(got[3:4], 2, 0), atol=1e-6)


def test_a_shear_shifts_each_column_by_the_factor_times_its_position():
    image = rng.random((9, 5, 1)).astype(np.float32)
    positions = warp.sampling_positions((9, 5), jnp.ones(2), warp.shear_matrix(jnp.array([2.0])))
    got = warp.sample(jnp.asarray(image), positions, 'linear', 'nearest')
    for column in range(5):
        want = image[np.clip(np.arange(9) + 2 * (column - 2), 0, 8), column]
        np.testing.assert_allclose(got[:, column], want, atol=1e-5)
    matrix = warp.shear_matrix(jnp.array([0.1, 0.2, 0.3]))
    np.testing.assert_array_equal(matrix, np.array([[1, 0.1, 0.2], [0, 1, 0.3], [0, 0, 1]], np.float32))


def test_elastic_is_smooth_and_of_unit_deviation_at_control_points():
    fields = jax.vmap(lambda key: warp.elastic_displacement(key, (64, 48)))(jax.random.split(jax.random.key(0), 200))
    assert fields.shape == (200, 2, 64, 48)
    assert 0.6 < np.std(fields) < 1.1  # below 1 between control points
    steps = np.abs(np.diff(fields, axis=2)).max()
    assert steps < 0.5
    assert warp.elastic_displacement(jax.random.key(0), (32, 1, 16)).shape == (3, 32, 1, 16)
