import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.vit import Model
from tests.models.drawn import drawn

SMALL = dict(classes=3, patch=4, width=8, depth=2, heads=2)


def image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@functools.partial(jax.jit, static_argnums=0)
def run(model, params, x):
    return model.apply({'params': params}, x, train=False)


def test_attention_and_tokens_have_the_patches_places():
    x = image(2, 8, 12, 1)
    _, feats = run(Model(**SMALL), drawn(Model(**SMALL), x)['params'], x)
    assert feats['tokens'].shape == (2, 2, 3, 8) and feats['attention'].shape == (2, 2, 2, 7, 7)
    single = Model(**SMALL | dict(depth=1))
    params, moved = drawn(single, x)['params'], x.at[1, 4:8, 8:12].add(1.0)  # the last patch of the second image
    (_, one), (_, other) = (run(single, params, y) for y in (x, moved))
    change = np.abs(np.asarray(one['tokens']) - np.asarray(other['tokens'])).max(-1)
    np.testing.assert_array_equal(np.argwhere(change > 0), [[1, 1, 2]])
    # Shares of a row change together, by what the softmax divides by: all but that patch's keep their proportions.
    ratio = np.asarray(other['attention'] / one['attention'])[1, 0, :, 0]  # of the class token's
    np.testing.assert_allclose(ratio[:, :6], ratio[:, :1] * np.ones(6), rtol=1e-4)
    assert (np.abs(ratio[:, 6] / ratio[:, 0] - 1) > 1e-3).all()


def test_without_positions_the_order_of_patches_does_not_matter():
    model, x = Model(**SMALL), image(1, 8, 8, 1)
    params = drawn(model, x)['params']
    turned = jnp.concatenate([x[:, 4:], x[:, :4]], 1)
    logits = [run(model, p, y)[0] for p in (params, params | {'positions': jnp.zeros((1, 5, 8))}) for y in (x, turned)]
    assert not np.allclose(logits[0], logits[1], atol=1e-4)
    np.testing.assert_allclose(logits[2], logits[3], atol=1e-5)


def test_another_size_than_at_first_is_refused():
    params = drawn(Model(**SMALL), image(1, 8, 8, 1))['params']
    with pytest.raises(InputError, match=r'config\.data\.size: 6 patches; expected 4, for which the network was made'):
        jax.eval_shape(lambda p: run(Model(**SMALL), p, image(1, 8, 12, 1)), params)
