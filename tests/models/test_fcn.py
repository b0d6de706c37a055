"""Fully convolutional networks: shapes and initial upsampling."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from medjax.errors import InputError
from medjax.models.fcn import VARIANTS, Model

KEY = jax.random.key(0)
SMALL = dict(classes=3, base=2, fc=4)


def shapes(model, shape):
    """Shapes of the logits and of every feature."""
    def run(x):
        return model.apply(model.init(KEY, x, train=False), x, train=False)
    logits, feats = jax.eval_shape(run, jnp.zeros(shape))
    assert logits.dtype == jnp.float32
    return logits.shape, {k: v.shape for k, v in feats.items()}


@pytest.mark.parametrize('variant', VARIANTS)
@pytest.mark.parametrize('space', [(64, 96), (32, 64, 32)])
def test_logits_have_the_size_of_the_image(variant, space):
    model = Model(**VARIANTS[variant], **SMALL, dims=len(space), dtype='bfloat16')
    logits, feats = shapes(model, (2, *space, 1))
    assert logits == (2, *space, 3)
    widths = [2, 4, 8, 16, 16, 4]
    want = {f'enc{n}': (2, *(s // min(2**(n + 1), 32) for s in space), width) for n, width in enumerate(widths)}
    assert feats == want


@pytest.mark.parametrize('factor', [2, 8])
def test_upsampling_is_initially_linear_interpolation(factor):
    class Upsampling(Model):
        @nn.compact
        def __call__(self, x):
            return self._upsample(x, factor, 'up')
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, 4, 5, 3)), jnp.float32)
    got = Upsampling(**SMALL).init_with_output(KEY, x)[0]
    want = jax.image.resize(x, (1, 4 * factor, 5 * factor, 3), 'linear')
    inner = slice(factor // 2, -(factor // 2))  # inside of the outermost voxel centres
    np.testing.assert_allclose(got[:, inner, inner], want[:, inner, inner], atol=1e-5)


@pytest.mark.parametrize('options, shape, message', [
    (dict(stride=4), (1, 32, 32, 1), r'config\.model\.stride: 4; expected 8, 16 or 32'),
    (dict(), (1, 32, 48, 1), r'config\.data\.patch: \(32, 48\); expected 2 extents, multiples of 32'),
    (dict(dims=3), (1, 32, 32, 1), r'config\.data\.patch: \(32, 32\); expected 3 extents'),
])
def test_invalid_shapes_and_options_raise(options, shape, message):
    with pytest.raises(InputError, match=message):
        shapes(Model(**{**SMALL, **options}), shape)
