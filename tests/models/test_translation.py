"""Generators and critics: extents, what a critic's number is of, and what is refused."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.translation import PARTS, VARIANTS, Critic, Model

KEY = jax.random.key(0)
SMALL = dict(base=4, levels=3, blocks=1, width=4, depth=2)


@pytest.mark.parametrize('variant, dims, channels', [
    ('pix2pix', 2, (1, 3)), ('cyclegan', 2, (3, 1)), ('regression', 3, (1, 1)), ('cyclegan', 3, (1, 2))])
def test_extents_stay_and_channels_are_the_targets(variant, dims, channels):
    model = Model(**{**VARIANTS[variant], **SMALL, 'dims': dims, 'channels': channels})
    image, target = (jnp.zeros((2, *(16,) * dims, c)) for c in channels)
    variables = jax.eval_shape(lambda: model.init(KEY, image, train=False))
    assert set(variables['params']) == set(PARTS[model.kind])
    made, feats = jax.eval_shape(lambda v: model.apply(v, image, train=False), variables)
    assert made.shape == target.shape and made.dtype == jnp.float32
    if variant == 'cyclegan':
        assert feats['cycle'].shape == image.shape
    if variant != 'regression':
        judged = jax.eval_shape(lambda v: model.apply(v, target, image, train=True, method='judge'), variables)
        assert judged.shape == (2, *(4,) * dims, 1)


@pytest.mark.parametrize('depth, patch', [(1, 16), (2, 34), (3, 70)])
def test_a_critics_number_is_of_a_patch(depth, patch):
    """Which voxels of a row a number in the middle hangs on, by its gradient."""
    critic, row = Critic(1, 2, depth, 'none', 'float32'), jax.random.normal(KEY, (1, 192, 1))
    variables = critic.init(KEY, row, False)
    slope = jax.jit(jax.grad(lambda x: critic.apply(variables, x, False)[0, 96 // 2**depth, 0]))(row)
    where = np.flatnonzero(np.asarray(slope)[0, :, 0])
    assert where[-1] - where[0] + 1 == patch


@pytest.mark.parametrize('options, message', [
    (dict(kind='gan'), r"config\.model\.kind: 'gan'; expected one of: pix2pix, regression, cyclegan"),
    (dict(kind='pix2pix', generator='vit'), r"config\.model\.generator: 'vit'; expected one of: unet, residual"),
    (dict(kind='pix2pix', norm='batch'), r"config\.model\.norm: 'batch'; expected one of: instance, none"),
    (dict(kind='pix2pix', dims=3), r'config\.model\.dims: 3, but images have 2'),
])
def test_what_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: Model(**{**SMALL, **options}).init(KEY, jnp.zeros((1, 16, 16, 1)), train=False))


def test_extents_that_do_not_come_back_are_refused():
    with pytest.raises(InputError, match=r'config\.data\.patch: \(18, 16\); expected multiples of 4'):
        jax.eval_shape(lambda: Model(**{**VARIANTS['cyclegan'], **SMALL}).init(KEY, jnp.zeros((1, 18, 16, 1)),
                                                                               train=False))
