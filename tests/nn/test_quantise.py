"""Vector quantisation by hand."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.nn.quantise import Codebook

VECTORS = np.array([[0.0, 0], [4, 0], [0, 4]], np.float32)
STATE = {'vectors': VECTORS, 'counts': np.full(3, 2, np.float32), 'sums': 2 * VECTORS}
X = np.array([[[1.0, 0], [3, 1]], [[0, 1], [1, 0]]], np.float32)  # nearest: 0 and 1; 0 and 0


def test_nearest_vectors_and_usage():
    out, info = Codebook(3).apply({'batch_stats': STATE}, X, False)
    np.testing.assert_array_equal(info['codes'], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(out, VECTORS[np.array([[0, 1], [0, 0]])])
    np.testing.assert_allclose(info['commitment'], [(1 + 0 + 1 + 1) / 4, (0 + 1 + 1 + 0) / 4])
    np.testing.assert_allclose(info['usage'], np.exp(-(0.75 * np.log(0.75) + 0.25 * np.log(0.25))), rtol=1e-5)


def test_vectors_are_moving_averages():
    """One step with decay 0.5; the unused third vector stays the same and its count decays."""
    (_, _), changed = Codebook(3, 0.5).apply({'batch_stats': STATE}, X, True, mutable='batch_stats')
    state = changed['batch_stats']
    np.testing.assert_allclose(state['counts'], [0.5 * 2 + 0.5 * 3, 0.5 * 2 + 0.5, 1])
    np.testing.assert_allclose(state['sums'], [0.5 * np.array([2, 1]), 0.5 * np.array([8, 0]) + 0.5 * np.array([3, 1]),
                                               [0, 4]])
    np.testing.assert_allclose(state['vectors'], np.array([[1, 0.5], [5.5, 0.5], [0, 4]]) / np.array(
        [[2.5], [1.5], [1]]), atol=1e-4)


def test_gradients_are_passed_straight_through():
    gradient = jax.grad(lambda x: (Codebook(3).apply({'batch_stats': STATE}, x, False)[0] * jnp.arange(8.0).reshape(
        2, 2, 2)).sum())(X)
    np.testing.assert_array_equal(gradient, np.arange(8.0).reshape(2, 2, 2))
