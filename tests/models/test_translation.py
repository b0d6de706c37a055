"""Generators and discriminators of image translation: shapes and receptive fields."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.translation import PARTS, VARIANTS, Discriminator, Model

KEY = jax.random.key(0)
SMALL = dict(base=4, levels=3, blocks=1, width=4, depth=2)


@pytest.mark.parametrize('variant, dims, channels', [
    ('pix2pix', 2, (1, 3)), ('cyclegan', 2, (3, 1)), ('regression', 3, (1, 1)), ('cyclegan', 3, (1, 2))])
def test_shapes(variant, dims, channels):
    model = Model(**{**VARIANTS[variant], **SMALL, 'dims': dims, 'channels': channels})
    image, target = (jnp.zeros((2, *(16,) * dims, c)) for c in channels)
    variables = jax.eval_shape(lambda: model.init(KEY, image, train=False))
    assert set(variables['params']) == set(PARTS[model.kind])
    translated, feats = jax.eval_shape(lambda v: model.apply(v, image, train=False), variables)
    assert translated.shape == target.shape and translated.dtype == jnp.float32
    if variant == 'cyclegan':
        assert feats['cycle'].shape == image.shape
    if variant != 'regression':
        scores = jax.eval_shape(lambda v: model.apply(v, target, image, train=True, method='discriminate'), variables)
        assert scores.shape == (2, *(4,) * dims, 1)


@pytest.mark.parametrize('depth, patch', [(1, 16), (2, 34), (3, 70)])
def test_the_receptive_field_of_a_discriminator(depth, patch):
    """The extent of the gradient of one output."""
    discriminator, row = Discriminator(1, 2, depth, 'none', 'float32'), jax.random.normal(KEY, (1, 192, 1))
    variables = discriminator.init(KEY, row, False)
    output = lambda x: discriminator.apply(variables, x, False)[0, 96 // 2**depth, 0]
    gradient = np.asarray(jax.jit(jax.grad(output))(row))[0, :, 0]
    where = np.flatnonzero(gradient)
    assert where[-1] - where[0] + 1 == patch


@pytest.mark.parametrize('options, message', [
    (dict(kind='gan'), r"config\.model\.kind: 'gan'; expected one of: pix2pix, regression, cyclegan"),
    (dict(kind='pix2pix', generator='vit'), r"config\.model\.generator: 'vit'; expected one of: unet, residual"),
    (dict(kind='pix2pix', norm='batch'), r"config\.model\.norm: 'batch'; expected one of: instance, none"),
    (dict(kind='pix2pix', dims=3), r'config\.model\.dims: 3, but images have 2'),
])
def test_invalid_fields_raise(options, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: Model(**{**SMALL, **options}).init(KEY, jnp.zeros((1, 16, 16, 1)), train=False))


def test_sizes_that_are_not_multiples_raise():
    with pytest.raises(InputError, match=r'config\.data\.patch: \(18, 16\); expected multiples of 4'):
        jax.eval_shape(lambda: Model(**{**VARIANTS['cyclegan'], **SMALL}).init(KEY, jnp.zeros((1, 18, 16, 1)),
                                                                               train=False))
