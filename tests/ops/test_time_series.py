"""Series by hand: what was measured last, and what comes soon; numpy and jax alike."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.ops import time_series

VALUES = np.array([[[1.0, 9.0], [2.0, 5.0], [3.0, 9.0], [4.0, 6.0]]], np.float32)
OBSERVED = np.array([[[0, 0], [1, 1], [0, 0], [1, 0]]], np.float32)


@pytest.mark.parametrize('make', [np.asarray, jnp.asarray])
def test_values_are_carried_forward(make):
    got = time_series.carried(make(VALUES), make(OBSERVED))
    assert isinstance(got, type(make(VALUES)))
    np.testing.assert_array_equal(got, [[[0, 0], [2, 5], [2, 5], [4, 5]]])


def test_no_gradient_from_what_was_not_measured():
    slope = jax.jit(jax.grad(lambda values: (time_series.carried(values, OBSERVED)**2).sum()))(jnp.asarray(VALUES))
    np.testing.assert_array_equal(slope, [[[0, 0], [2 * 2 * 2, 3 * 5 * 2], [0, 0], [2 * 4, 0]]])


@pytest.mark.parametrize('make', [np.asarray, jnp.asarray])
def test_what_comes_soon(make):
    """Of two events within 2: the first, the second at the very time, censored before, censored after, too late."""
    gap, event = make(np.array([1.0, 2.0, 1.0, 3.0, 2.5])), make(np.array([1, 2, 0, 0, 1]))
    happened, known = time_series.soon(gap, event, 2.0, 2)
    np.testing.assert_array_equal(happened, [[1, 0], [0, 1], [0, 0], [0, 0], [0, 0]])
    np.testing.assert_array_equal(known, [[1, 1], [1, 1], [0, 0], [1, 1], [1, 1]])


def test_a_patients_event_with_each_of_the_visits():
    happened, known = time_series.soon(np.array([[5.0, 1.0], [4.0, 0.5]]), np.array([[1], [0]]), 2.0, 1)
    np.testing.assert_array_equal(happened[..., 0], [[0, 1], [0, 0]])
    np.testing.assert_array_equal(known[..., 0], [[1, 1], [1, 0]])
