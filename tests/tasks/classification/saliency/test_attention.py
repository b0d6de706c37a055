"""Attention rollout by hand."""

import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.tasks.classification.saliency.attention import attention_rollout
from tests.tasks.classification.saliency.networks import attending, explained, forward_of, random_cnn


def test_attention_rollout_is_the_product_of_the_layers_by_hand():
    rng = np.random.default_rng(0)
    attention = rng.random((2, 3, 4, 7, 7)).astype(np.float32)
    attention /= attention.sum(-1, keepdims=True)
    got = explained('attention_rollout', attending(attention, (2, 3)), jnp.zeros((2, 2, 3, 1)), jnp.array([0, 1]))
    first, second, third = ((attention[:, i].mean(1) + np.eye(7)) / 2 for i in range(3))
    np.testing.assert_allclose(got, (third @ second @ first)[:, 0, 1:].reshape(2, 2, 3), rtol=1e-5)


def test_attention_to_one_patch_is_located_in_3d():
    attention = np.zeros((1, 1, 1, 9, 9), np.float32)
    attention[..., 6] = 1.0  # the fifth patch of 2 × 2 × 2: the second half of the first axis
    maps = explained('attention_rollout', attending(attention, (2, 2, 2)), jnp.zeros((1, 8, 8, 8, 1)), jnp.array([0]))
    assert np.unravel_index(maps[0].argmax(), (8, 8, 8))[0] >= 4
    assert float(maps[0, 7, 0, 7]) == pytest.approx(0.5)


def test_a_network_without_attention_has_no_rollout():
    module, variables, image, target = random_cnn()
    with pytest.raises(InputError, match="expected 'attention' and 'tokens'"):
        attention_rollout(forward_of(module, variables), image, target)
    with pytest.raises(InputError, match='class token'):
        attention_rollout(attending(np.zeros((1, 1, 1, 4, 4)), (2, 2)), image, target)
