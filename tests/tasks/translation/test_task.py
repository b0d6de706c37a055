"""Translation: one scalar loss against two optimisers, gradients of each network, and the pool of earlier images."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.core import optim
from medjax.errors import InputError
from medjax.losses import adversarial
from medjax.tasks.translation import task as translation_task

KEY = jax.random.key(0)


class Part(nn.Module):
    """A small network of single voxels, as generator or discriminator."""

    @nn.compact
    def __call__(self, x):
        return nn.Dense(1, name='out')(nn.tanh(nn.Dense(3, name='first')(x)))


class Toy(nn.Module):
    """The networks of a translation, quick to compile; tests/models has the real ones."""

    kind: str
    channels: tuple = (1, 1)

    def setup(self):
        names = dict(pix2pix=('generator', 'discriminator'), regression=('generator',),
                     cyclegan=('generator_target', 'generator_source',
                               'discriminator_source', 'discriminator_target'))[self.kind]
        self.parts = {name: Part(name=name) for name in names}

    def __call__(self, x, *, train):
        made = self.translate(x, train=train)
        if self.kind != 'regression':
            self.discriminate(made, x, train=train)
        if self.kind == 'cyclegan':
            self.discriminate(x, made, train=train, source=True)
            return made, {'cycle': self.translate(made, train=train, back=True)}
        return made, {}

    def translate(self, x, *, train, back=False):
        name = ('generator_source' if back else 'generator_target') if self.kind == 'cyclegan' else 'generator'
        return self.parts[name](x)

    def discriminate(self, x, given, *, train, source=False):
        if self.kind == 'pix2pix':
            return self.parts['discriminator'](jnp.concatenate([given, x], -1))
        return self.parts['discriminator_source' if source else 'discriminator_target'](x)


@functools.cache
def batch(count=3):
    image, target = jax.random.normal(KEY, (2, count, 4, 4, 1))
    return {'image': image, 'target': target, 'mask': jnp.ones(count)}


def test_one_scalar_is_two_optimisers_by_hand():
    """Both networks are updated at once, each by its own loss with the other one fixed."""
    module = Toy(kind='pix2pix')
    task, images = translation_task.task(module, statistics={}, l1=10.0, adversarial_loss='non_saturating'), batch()
    variables = jax.jit(task.init)(KEY, images)
    one, _ = optim.make_optimiser(9, name='adam', lr=1e-2, b1=0.5, groups={'discriminator': dict(lr=3e-3)})

    @jax.jit
    def together(params, state):
        grads = jax.grad(lambda p: task.loss({'params': p}, images, KEY)[0])(params)
        updates, state = one.update(grads, state, params)
        return optax.apply_updates(params, updates), state

    fast, slow = optax.adam(1e-2, b1=0.5), optax.adam(3e-3, b1=0.5)

    @jax.jit
    def separately(params, states):
        apply = functools.partial(module.apply, train=True)
        image, target = images['image'], images['target']

        def generator(part):
            made = apply({'params': {**params, 'generator': part}}, image, method='translate')
            output = apply({'params': params}, made, image, method='discriminate')
            return jax.nn.softplus(-output).mean() + 10 * jnp.abs(made - target).mean()

        def discriminator(part):
            made = apply({'params': params}, image, method='translate')
            real, fake = (apply({'params': {**params, 'discriminator': part}}, x, image, method='discriminate')
                          for x in (target, made))
            return jax.nn.softplus(-real).mean() + jax.nn.softplus(fake).mean()

        out, kept = {}, {}
        for name, cost, update in (('generator', generator, fast), ('discriminator', discriminator, slow)):
            changes, kept[name] = update.update(jax.grad(cost)(params[name]), states[name])
            out[name] = optax.apply_updates(params[name], changes)
        return out, kept

    params = hand = variables['params']
    state = one.init(params)
    states = {'generator': fast.init(hand['generator']), 'discriminator': slow.init(hand['discriminator'])}
    for _ in range(3):
        params, state = together(params, state)
        hand, states = separately(hand, states)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), dict(params), hand)
    assert all(np.abs(a - b).max() > 1e-3 for a, b in zip(jax.tree.leaves(params), jax.tree.leaves(
        variables['params'])) if a.ndim > 1)


def test_discriminators_of_a_cyclegan_learn_from_their_loss_alone():
    """A discriminator's gradient is that of its own loss, which gives generators none."""
    module = Toy(kind='cyclegan')
    task = translation_task.task(module, statistics={}, cycle=10.0, identity=0.5)
    quiet = translation_task.task(module, statistics={}, adversarial_weight=0.0, cycle=0.0, identity=0.0)
    variables = jax.jit(task.init)(KEY, batch())
    assert set(variables['params']) == {'generator_target', 'generator_source',
                                        'discriminator_source', 'discriminator_target'}

    full, alone = (jax.jit(jax.grad(lambda v, of=of: of.loss(v, batch(), KEY)[0]))(variables)['params']
                   for of in (task, quiet))
    for name in full:
        size = {way: float(optax.tree.norm(of[name])) for way, of in (('full', full), ('alone', alone))}
        if name.startswith('discriminator'):  # the same, whatever else is lost
            jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=1e-6), full[name], alone[name])
        assert size['full'] > 0 and (size['alone'] > 0) == name.startswith('discriminator')


def test_the_parts_of_a_cyclegans_loss_by_hand():
    module = Toy(kind='cyclegan')
    task = translation_task.task(module, statistics={}, cycle=4.0, identity=0.5)
    variables = jax.jit(task.init)(KEY, batch())
    value, (_, states) = jax.jit(task.loss)(variables, batch(), KEY)

    @jax.jit
    def hand(variables):
        apply = functools.partial(module.apply, variables, train=True)
        image, target = batch()['image'], batch()['target']
        forth, back = apply(image, method='translate'), apply(target, method='translate', back=True)
        again = apply(forth, method='translate', back=True), apply(back, method='translate')
        same = apply(target, method='translate'), apply(image, method='translate', back=True)
        output = apply(forth, image, method='discriminate'), apply(back, target, method='discriminate', source=True)
        real = apply(target, image, method='discriminate'), apply(image, target, method='discriminate', source=True)
        return {'cycle': 4 * (jnp.abs(again[0] - image).mean() + jnp.abs(again[1] - target).mean()),
                'identity': 2 * (jnp.abs(same[0] - target).mean() + jnp.abs(same[1] - image).mean()),
                'adversarial': sum(((x - 1) ** 2).mean() / 2 for x in output),
                'discriminator': sum(((x - 1) ** 2).mean() / 2 for x in real) + sum((x**2).mean() / 2 for x in output)}

    want = hand(variables)
    assert set(want) == set(states)
    for name, (total, count) in states.items():
        assert float(total / count) == pytest.approx(float(want[name]), rel=1e-4), name
    assert float(value) == pytest.approx(sum(map(float, want.values())), rel=1e-4)


def test_the_pool_is_filled_and_then_shows_earlier_images_by_one_half():
    pool, made = translation_task.empty_pool(4, jnp.zeros((1, 1, 1, 1)), 1), jnp.arange(400.0).reshape(400, 1, 1, 1)
    shown, pool = jax.jit(translation_task.draw_from_pool)(pool, made, KEY)
    shown, now = np.asarray(shown)[:, 0, 0, 0], np.arange(400)
    np.testing.assert_array_equal(shown[:4], now[:4])
    earlier = shown[4:] != now[4:]
    assert 0.4 < earlier.mean() < 0.6 and (shown <= now).all()
    # Each earlier image leaves the pool as it is shown: none comes twice, and what is left is in the pool.
    assert len(set(shown[4:][earlier])) == earlier.sum()
    assert int(pool['filled']) == 4 and set(np.asarray(pool['images']).ravel()).isdisjoint(shown[4:])


def test_the_pool_is_resumed():
    """Two batches of two with the state passed on, as in a resumed run."""
    task = translation_task.task(Toy(kind='cyclegan'), statistics={}, pool_size=3)
    images = {name: value[:2] for name, value in batch().items()}
    start = jax.jit(task.init)(KEY, images)
    assert start['pool']['source']['images'].shape == (3, 4, 4, 1) and task.joint

    @jax.jit
    def step(variables, key):
        return {**variables, **task.loss(variables, images, key)[1][0]}

    one = step(start, KEY)
    assert [int(one['pool'][side]['filled']) for side in ('source', 'target')] == [2, 2]
    two = step(one, jax.random.key(1))
    again = step({**start, 'pool': jax.tree.map(np.asarray, one['pool'])}, jax.random.key(1))
    jax.tree.map(np.testing.assert_array_equal, two['pool'], again['pool'])
    assert int(two['pool']['target']['filled']) == 3
    outputs = jax.jit(task.predict)(two, {'image': images['image']})
    assert outputs['translated'].shape == outputs['cycle'].shape == (2, 4, 4, 1)


def test_padding_has_no_effect():
    task = translation_task.task(Toy(kind='regression'), statistics={})
    variables = jax.jit(task.init)(KEY, batch())
    padded = {**batch(), 'image': batch()['image'].at[2].set(9.0), 'mask': jnp.array([1.0, 1, 0])}
    loss = jax.jit(lambda images: task.loss(variables, images, KEY)[0])
    made = task.predict(variables, batch())['translated']
    want = np.abs(made - batch()['target'])[:2].mean()
    assert float(loss(padded)) == pytest.approx(float(want), rel=1e-5)


@pytest.mark.parametrize('model, statistics, options, message', [
    (dict(kind='pix2pix'), {}, dict(adversarial_loss='wasserstein'),
     r"config\.task\.adversarial_loss: 'wasserstein'; expected one of: least"),
    (dict(kind='pix2pix'), {}, dict(adversarial_loss='chess'), r"config\.task\.adversarial_loss: 'chess' is not known"),
    (dict(kind='pix2pix'), {}, dict(l1=-1.0), r'l1: -1\.0, .*expected nothing below 0'),
    (dict(kind='pix2pix'), {}, dict(pool_size=5), r'config\.task.pool_size: 5; expected 0 except for a CycleGAN'),
    (dict(kind='pix2pix'), {'channels': [1, 3]}, {}, r'config\.model\.channels: \(1, 1\); expected \(1, 3\)'),
    (dict(kind='cyclegan', channels=(1, 3)), {'channels': [1, 3]}, {}, r'config\.task\.identity: 0\.5; expected 0'),
    (dict(kind='regression'), {'paired': False}, {}, r'config\.data\.paired: False; expected True'),
])
def test_invalid_input_is_refused(model, statistics, options, message):
    with pytest.raises(InputError, match=message):
        translation_task.task(Toy(**model), statistics=statistics, **options)


def test_every_adversarial_loss_but_those_in_need_of_a_penalty_is_offered():
    assert set(translation_task.ADVERSARIAL_LOSSES) == set(adversarial.KINDS) - {'wasserstein'}
