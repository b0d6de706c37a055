"""Attention, compared with flax, and channel and spatial gates by hand."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import InputError
from medjax.nn.attention import CBAM, SelfAttention, SqueezeExcitation, apply_gate

KEY = jax.random.key(0)


def image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def sigmoid(x):
    return 1 / (1 + np.exp(-x))


def test_self_attention_equals_flax():
    x, rng = image(2, 5, 8), np.random.default_rng(1)
    ours, theirs = SelfAttention(2), nn.MultiHeadDotProductAttention(2)
    shapes = jax.eval_shape(ours.init, KEY, x)['params']
    params = jax.tree.map(lambda s: jnp.asarray(rng.normal(size=s.shape), jnp.float32), shapes)
    split = {name: {'kernel': p['kernel'].reshape(8, 2, 4), 'bias': p['bias'].reshape(2, 4)}
             for name, p in params.items() if name != 'out'}
    split['out'] = params['out'] | {'kernel': params['out']['kernel'].reshape(2, 4, 8)}
    got, weights = jax.jit(ours.apply)({'params': params}, x)
    want, state = jax.jit(lambda p: theirs.apply(p, x, sow_weights=True, mutable=['intermediates']))({'params': split})
    np.testing.assert_allclose(got, want, atol=1e-4)
    np.testing.assert_allclose(weights, state['intermediates']['attention_weights'][0], atol=1e-5)


def test_the_softmax_is_float32():
    x = image(1, 300, 8).astype(jnp.bfloat16)
    (out, weights), _ = jax.jit(lambda: SelfAttention(2, 'bfloat16').init_with_output(KEY, x))()
    assert out.dtype == jnp.bfloat16 and weights.dtype == jnp.float32
    np.testing.assert_allclose(weights.sum(-1), 1, atol=1e-5)  # in bfloat16 the sum of 300 weights would be off by 1e-2
    with pytest.raises(InputError, match=r'config\.model\.heads: 3; expected a divisor of the width, 8'):
        jax.eval_shape(SelfAttention(3).init, KEY, x)


def test_squeeze_and_excitation_by_hand():
    """Channel means 1 and 3, one hidden feature 2·1 + 3 - 1 = 4, and logits -4 and 4/2 + 1."""
    x = jnp.array([[[0.0, 2.0], [2.0, 4.0]]])
    params = {'channels': {'reduce': {'kernel': jnp.array([[2.0], [1.0]]), 'bias': jnp.array([-1.0])},
                           'expand': {'kernel': jnp.array([[-1.0, 0.5]]), 'bias': jnp.array([0.0, 1.0])}}}
    got = SqueezeExcitation().apply({'params': params}, x)
    np.testing.assert_allclose(got, x * sigmoid(np.array([-4.0, 3.0])), rtol=1e-6)


def test_cbam_by_hand():
    x = jnp.array([[[0.0, 2.0], [4.0, 4.0]]])  # two positions, two channels: means 2 and 3, maxima 4 and 4
    params = {'channels': {'reduce': {'kernel': jnp.array([[1.0], [-1.0]]), 'bias': jnp.array([2.0])},
                           'expand': {'kernel': jnp.array([[0.1, -0.1]]), 'bias': jnp.array([0.0, 0.5])}},
              'place': {'kernel': jnp.zeros((7, 2, 1)).at[3].set(jnp.array([[1.0], [2.0]])).at[4, 0, 0].set(-1.0),
                        'bias': jnp.array([0.25])}}
    channels = sigmoid(np.array([0.1 * (1 + 2), 1 - 0.1 * (1 + 2)]))
    y = np.asarray(x[0]) * channels
    mean, largest = y.mean(-1), y.max(-1)
    place = sigmoid(mean + 2 * largest - np.append(mean[1:], 0) + 0.25)  # the tap at 4 reads the next position
    got = CBAM().apply({'params': params}, x)
    np.testing.assert_allclose(got[0], y * place[:, None], rtol=1e-5)


@pytest.mark.parametrize('kind', ['none', 'se', 'cbam'])
@pytest.mark.parametrize('space', [(6, 5), (4, 3, 5)])
def test_gates_scale_by_0_to_1(kind, space):
    class Gated(nn.Module):
        @nn.compact
        def __call__(self, x):
            return apply_gate(x, kind)
    x = image(2, *space, 32).astype(jnp.bfloat16)
    got, variables = jax.jit(lambda: Gated().init_with_output(KEY, x))()
    assert got.shape == x.shape and got.dtype == x.dtype
    factor = np.asarray(got, np.float32) / np.asarray(x, np.float32)
    assert (factor >= 0).all() and (factor <= 1).all() and ((factor < 0.9).any() == (kind != 'none'))
    assert set(variables.get('params', {})) == (set() if kind == 'none' else {'attention'})


def test_an_unknown_gate_raises():
    with pytest.raises(InputError, match=r"config\.model\.attention: 'eca'; expected one of: none, se, cbam"):
        apply_gate(image(1, 2, 2, 1), 'eca')
