"""Optimisers, schedules and parameter groups against hand calculations."""

import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.core.config import bind
from medjax.core.optim import evaluation_params, make_optimiser
from medjax.errors import InputError


def test_polynomial_schedule_is_nnunets():
    _, curve = make_optimiser(1000, name='sgd', lr=0.01, schedule={'name': 'polynomial'})
    np.testing.assert_allclose(curve(250), 0.01 * 0.75**0.9, rtol=1e-6)
    assert curve(1000) == 0.0


def test_cosine_warms_up_and_ends_at_zero():
    _, curve = make_optimiser(100, name='adamw', lr=1.0, schedule={'name': 'cosine', 'warmup': 10})
    np.testing.assert_allclose([curve(0), curve(5), curve(10), curve(55), curve(100)], [0, 0.5, 1, 0.5, 0], atol=1e-6)


def test_average_of_weights_by_hand():
    optimiser, _ = make_optimiser(2, name='sgd', lr=1.0, momentum=0.0, nesterov=False, ema=0.75)
    params = {'w': jnp.array(4.0)}
    state = optimiser.init(params)
    for _ in range(2):
        updates, state = optimiser.update({'w': jnp.array(2.0)}, state, params)
        params = optax.apply_updates(params, updates)
    # Weights 4, 2, 0; the average is .75*4 + .25*2 = 3.5, then .75*3.5 + .25*0.
    assert params['w'] == 0.0 and evaluation_params(params, state)['w'] == 0.75 * 3.5


def test_clipping_is_by_the_global_norm():
    optimiser, _ = make_optimiser(1, name='sgd', lr=1.0, momentum=0.0, nesterov=False, clip=2.0)
    params = {'a': jnp.array([0.0]), 'b': jnp.array([0.0])}
    for grads, expected in (((3.0, 4.0), (-1.2, -1.6)), ((0.6, 0.8), (-0.6, -0.8))):  # norms 5 and 1
        grads = dict(zip('ab', (jnp.array([g]) for g in grads)))
        updates, _ = optimiser.update(grads, optimiser.init(params), params)
        np.testing.assert_allclose([updates['a'][0], updates['b'][0]], expected, rtol=1e-6)


def test_weight_decay_spares_biases():
    optimiser, _ = make_optimiser(1, name='adamw', lr=1.0, weight_decay=0.5)
    params = {'kernel': jnp.ones((2, 2)), 'bias': jnp.ones(2)}
    updates, _ = optimiser.update({'kernel': jnp.zeros((2, 2)), 'bias': jnp.zeros(2)}, optimiser.init(params), params)
    assert (updates['kernel'] == -0.5).all() and (updates['bias'] == 0).all()


def test_parameter_groups_have_their_own_rate_and_interval():
    sgd = dict(name='sgd', lr=1.0, momentum=0.0, nesterov=False)
    optimiser, curve = make_optimiser(6, **sgd, update_every=3, ema=0.5,
                                      groups={'discriminator': {'lr': 0.5, 'update_every': 1, 'clip': 2.0}})
    params = {'generator': {'w': jnp.array([0.0])}, 'discriminator': {'w': jnp.array([0.0])}}
    state, weights = optimiser.init(params), []
    for _ in range(4):
        gradient = {'generator': {'w': jnp.array([1.0])}, 'discriminator': {'w': jnp.array([4.0])}}
        updates, state = optimiser.update(gradient, state, params)
        params = optax.apply_updates(params, updates)
        weights.append((float(params['generator']['w'][0]), float(params['discriminator']['w'][0])))
    # The generator is updated at steps 0 and 3; the discriminator always, by half of its gradient clipped at 2.
    assert weights == [(-1, -1), (-1, -2), (-1, -3), (-2, -4)]
    assert evaluation_params(params, state)['generator']['w'] == -1.4375  # halves of -1, -1, -1, -2
    assert curve(5) == 1.0


@pytest.mark.parametrize('section, message', [
    ({'name': 'adam', 'lr': 1, 'groups': {'discriminator': {'momentum': 1}}},
     'config.optim.groups.discriminator.momentum: unknown key'),
    ({'name': 'adam', 'lr': 1, 'groups': {'discriminator': 3}},
     "config.optim.groups: {'discriminator': 3}; expected a section of sections"),
    ({'name': 'adam', 'lr': 1, 'update_every': 0},
     'config.optim.update_every: 0; expected a whole number of at least 1'),
    ({'name': 'adam', 'lr': 1, 'momentum': 0.9}, 'config.optim.momentum: unknown key'),
    ({'name': 'adm', 'lr': 1}, "config.optim.name: 'adm' is not known; expected one of: adam, adamw, sgd"),
    ({'name': 'adam', 'lr': 1, 'schedule': {'name': 'cosine', 'power': 2}}, 'config.optim.schedule.power: unknown key'),
    ({'name': 'adam'}, 'config.optim.lr: this key is missing'),
])
def test_a_wrong_key_is_named(section, message):
    with pytest.raises(InputError, match=message):
        bind(make_optimiser, section, 'config.optim', steps=10)


def test_an_unknown_parameter_group_is_named():
    optimiser, _ = make_optimiser(10, name='adam', lr=1.0, groups={'discriminator': {}})
    message = ('config.optim.groups.discriminator: the network has no parameter group of this name; '
               'expected some of: a, b')
    with pytest.raises(InputError, match=message):
        optimiser.init({'b': jnp.ones(1), 'a': jnp.ones(1)})
