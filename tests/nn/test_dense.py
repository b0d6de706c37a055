"""Dense layers and layer norm."""

import jax
import jax.numpy as jnp
import numpy as np

from medjax.nn.dense import Dense, LayerNorm

KEY = jax.random.key(0)


def image(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


def test_layer_norm_is_per_voxel_and_precise_far_from_zero():
    x = image(2, 3, 4, 8)
    near, far = (LayerNorm().init_with_output(KEY, x + offset)[0] for offset in (0.0, 1000.0))
    np.testing.assert_allclose(near, (x - x.mean(-1, keepdims=True)) / x.std(-1, keepdims=True), atol=1e-5)
    np.testing.assert_allclose(far, near, atol=1e-3)


def test_the_gradient_of_a_bias_is_summed_in_float32():
    x, layer = jnp.ones((1, 64, 64, 1)), Dense(2, dtype='bfloat16')
    gradient = jax.grad(lambda v: layer.apply(v, x).astype(jnp.float32).sum())(layer.init(KEY, x))['params']
    np.testing.assert_array_equal(gradient['bias'], [4096, 4096])  # in bfloat16, 256 + 1 = 256
