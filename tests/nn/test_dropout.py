"""Dropout and stochastic depth."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.nn.dropout import Dropout

KEY = jax.random.key(0)


def test_kept_features_are_rescaled():
    got = Dropout(0.25).apply({}, jnp.ones((400, 100)), True, rngs={'dropout': KEY})
    np.testing.assert_allclose(np.unique(got), [0, 4 / 3], rtol=1e-6)
    np.testing.assert_allclose((got > 0).mean(), 0.75, atol=0.01)  # five standard deviations are 0.011


def test_a_branch_is_dropped_as_a_whole():
    got = Dropout(0.5, whole=True).apply({}, jnp.ones((200, 3, 4, 2)), True, rngs={'dropout': KEY})
    flat = got.reshape(200, -1)
    np.testing.assert_array_equal(flat, flat[:, :1] * np.ones_like(flat))
    assert 70 < (flat[:, 0] > 0).sum() < 130


def test_dropout_is_active_in_training_or_with_a_key():
    x = jnp.ones((4, 50))
    np.testing.assert_array_equal(Dropout(0.5).apply({}, x, False), x)
    np.testing.assert_array_equal(Dropout(0.0).apply({}, x, True), x)
    drawn = [Dropout(0.5).apply({}, x, False, rngs={'dropout': key}) for key in jax.random.split(KEY)]
    assert not np.array_equal(*drawn) and all((d == 0).any() for d in drawn)


def test_a_rate_of_one_raises():
    with pytest.raises(InputError, match=r'config\.model: a dropout rate of 1.0; expected at least 0 and below 1'):
        Dropout(1.0).apply({}, jnp.ones((1, 1)), False)
