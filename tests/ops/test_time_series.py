"""Last observation carried forward and events within a horizon, by hand, for NumPy and JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import time_series

VALUES = np.array([[[1.0, 9.0], [2.0, 5.0], [3.0, 9.0], [4.0, 6.0]]], np.float32)
OBSERVED = np.array([[[0, 0], [1, 1], [0, 0], [1, 0]]], np.float32)


@pytest.mark.parametrize('as_array', [np.asarray, jnp.asarray])
def test_values_are_carried_forward(as_array):
    got = time_series.carry_forward(as_array(VALUES), as_array(OBSERVED))
    assert isinstance(got, type(as_array(VALUES)))
    np.testing.assert_array_equal(got, [[[0, 0], [2, 5], [2, 5], [4, 5]]])


def test_unobserved_values_have_no_gradient():
    gradient = jax.jit(jax.grad(lambda values: (time_series.carry_forward(values, OBSERVED)**2).sum()))
    np.testing.assert_array_equal(gradient(jnp.asarray(VALUES)), [[[0, 0], [2 * 2 * 2, 3 * 5 * 2], [0, 0], [2 * 4, 0]]])


@pytest.mark.parametrize('as_array', [np.asarray, jnp.asarray])
def test_events_within_a_horizon(as_array):
    """Two events, horizon 2: the first, the second at the horizon, censored before, censored after, too late."""
    gap, event = as_array(np.array([1.0, 2.0, 1.0, 3.0, 2.5])), as_array(np.array([1, 2, 0, 0, 1]))
    occurs, known = time_series.events_within(gap, event, 2.0, 2)
    np.testing.assert_array_equal(occurs, [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(known, [[1, 1], [1, 1], [0, 0], [1, 1], [1, 1]])


def test_the_event_of_a_patient_broadcasts_over_visits():
    occurs, known = time_series.events_within(np.array([[5.0, 1.0], [4.0, 0.5]]), np.array([[1], [0]]), 2.0, 1)
    np.testing.assert_array_equal(occurs[..., 0], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(known[..., 0], [[1, 1], [1, 0]])
