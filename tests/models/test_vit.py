"""Vision transformers: attention, tokens and positions."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.vit import Model
from tests.models.random_variables import random_variables

SMALL = dict(classes=3, patch=4, width=8, depth=2, heads=2)


def image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, x):
    return model.apply({'params': params}, x, train=False)


def test_attention_and_tokens_have_the_layout_of_the_patches():
    x = image(2, 8, 12, 1)
    _, feats = run(Model(**SMALL), random_variables(Model(**SMALL), x)['params'], x)
    assert feats['tokens'].shape == (2, 2, 3, 8) and feats['attention'].shape == (2, 2, 2, 7, 7)
    single = Model(**SMALL | dict(depth=1))
    params = random_variables(single, x)['params']
    changed = x.at[1, 4:8, 8:12].add(1.0)  # the last patch of the second image
    (_, one), (_, other) = (run(single, params, y) for y in (x, changed))
    change = np.abs(np.asarray(one['tokens']) - np.asarray(other['tokens'])).max(-1)
    np.testing.assert_array_equal(np.argwhere(change > 0), [[1, 1, 2]])
    # The softmax rescales the weights of a row together: except for that patch, their ratios stay the same.
    ratio = np.asarray(other['attention'] / one['attention'])[1, 0, :, 0]  # of the class token
    np.testing.assert_allclose(ratio[:, :6], ratio[:, :1] * np.ones(6), rtol=1e-4)
    assert (np.abs(ratio[:, 6] / ratio[:, 0] - 1) > 1e-3).all()


def test_without_position_embeddings_the_order_of_patches_has_no_effect():
    model, x = Model(**SMALL), image(1, 8, 8, 1)
    params = random_variables(model, x)['params']
    swapped = jnp.concatenate([x[:, 4:], x[:, :4]], 1)
    logits = [run(model, p, y)[0] for p in (params, params | {'positions': jnp.zeros((1, 5, 8))}) for y in (x, swapped)]
    assert not np.allclose(logits[0], logits[1], atol=1e-4)
    np.testing.assert_allclose(logits[2], logits[3], atol=1e-5)


def test_another_size_than_at_initialisation_raises():
    params = random_variables(Model(**SMALL), image(1, 8, 8, 1))['params']
    with pytest.raises(InputError, match=r'config\.data\.size: 6 patches; expected 4, the number that the network was'):
        jax.eval_shape(lambda p: run(Model(**SMALL), p, image(1, 8, 12, 1)), params)
