"""MeshNet: its receptive field, its options, and what it learns."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from medjax import build
from medjax.errors import InputError
from medjax.models.meshnet import Model

KEY = jax.random.key(0)


def test_a_voxel_sees_as_far_as_the_dilations_say():
    model = Model(classes=2, dims=2, base=2, dilations=(1, 3), activation='elu')
    image = jnp.zeros((1, 15, 15, 1))
    variables = model.init(KEY, image, train=False)
    influence = jax.grad(lambda x: model.apply(variables, x, train=False)[0][0, 7, 7].sum())(image)[0, :, :, 0] != 0
    seen = np.abs(np.arange(15) - 7)
    reach = (seen <= 4) & np.isin(seen, (0, 1, 2, 3, 4))
    np.testing.assert_array_equal(np.asarray(influence.any(0)), reach)
    np.testing.assert_array_equal(np.asarray(influence.any(1)), reach)


def test_norm_and_dropout():
    model = Model(classes=2, dims=2, base=3, dilations=(1, 2), norm='batch', dropout=0.5)
    image = jax.random.normal(KEY, (2, 8, 8, 1))
    variables = model.init(KEY, image, train=False)
    assert {name.split('/')[-1] for name in flatten_dict(variables['batch_stats'], sep='/')} == {'mean', 'var'}
    first, second = (model.apply(variables, image, train=True, rngs={'dropout': jax.random.key(n)},
                                 mutable=['batch_stats'])[0][0] for n in (0, 1))
    assert not np.allclose(first, second)


def test_invalid_fields():
    with pytest.raises(InputError, match=r"config\.model\.activation: 'tanh'; expected"):
        build.network(dict(name='meshnet', variant='gwm', classes=2, activation='tanh'), 'float32')
    with pytest.raises(InputError, match='config.model.dims: 3, but images have 2'):
        Model(classes=2).init(KEY, jnp.zeros((1, 4, 4, 1)), train=False)
