"""Registration as a task: what a network learns without supervision, what refining adds, and what is refused."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.data.datasets import registration
from medjax.data.simulated import registration as simulated_registration
from medjax.errors import InputError
from medjax.losses import image_similarity
from medjax.models.registration import Model
from medjax.ops import deformation
from medjax.tasks.registration import task as registration_task
from tests.tasks.learning import learned

NCC = dict(name='ncc', window=5)


@functools.cache
def data():
    source = simulated_registration.source(cases=(8, 1, 2), shape=(24, 32), spacing=7.0, template='synthetic')
    return registration.dataset(source, size=(24, 32))


def batch(numbers):
    return {**data().batch(np.asarray(numbers)), 'mask': jnp.ones(len(numbers))}


def task(stages=('affine', 'velocity'), **options):
    module = Model(base=8, levels=2, stages=stages)
    return registration_task.task(module, statistics=data().statistics, similarity=NCC, **options)


@functools.cache
def trained():
    made = task()
    return made, learned(made, data(), steps=50, size=4, rate=4e-3, batches=2)


@functools.cache
def predicted(numbers):
    made, variables = trained()
    return jax.jit(made.predict)(variables, {name: batch(numbers)[name] for name in ('fixed', 'moving')})


def test_a_network_learns_to_register_pairs():
    out, given = predicted((0, 1, 2)), batch([0, 1, 2])
    dissimilarity = functools.partial(image_similarity.local_correlation, window=5)
    before, after = (float(dissimilarity(given['fixed'], image).mean()) for image in (given['moving'], out['moved']))
    assert after < 0.8 * before  # with four seeds .43 to .55
    assert out['displacement'].shape == out['inverse'].shape == (3, 2, 24, 32) and out['moved'].shape == (3, 24, 32, 1)
    for number in range(3):
        there, back = out['displacement'][number], out['inverse'][number]
        np.testing.assert_allclose(out['moved'][number], deformation.warp(given['moving'][number], there), atol=1e-5)
        assert float(deformation.folding_fraction(there)) == 0
        error = float(deformation.inverse_consistency_error(there, back, (1.0, 1.0)))
        assert error < 0.1 * float(jnp.abs(there).mean()) + 0.05


def test_a_pair_has_the_same_deformation_in_any_batch():
    np.testing.assert_allclose(predicted((0, 1, 2))['displacement'][2:], predicted((2,))['displacement'], atol=1e-4)


def test_the_loss_is_the_sum_of_its_parts_and_padding_counts_nothing():
    made = task(stages=('velocity',), smoothness=0.5, dice=2.0, regulariser='bending')
    variables = jax.jit(made.init)(jax.random.key(0), batch([0, 1]))
    variables = jax.tree.map(lambda x: x + 0.02, variables)  # away from no deformation at all
    value = jax.jit(lambda batch: made.loss(variables, batch, jax.random.key(0)))
    total, (_, states) = value(batch([0, 1]))
    parts = {name: float(s / n) for name, (s, n) in states.items()}
    want = parts['dissimilarity'] + 0.5 * parts['roughness'] + 2 * parts['loss_dice']
    assert float(total) == pytest.approx(want, rel=1e-5)
    assert parts['roughness'] > 0 and 0 < parts['loss_dice'] < 1
    half = {**batch([0, 1]), 'mask': jnp.array([1.0, 0.0])}
    assert float(value(half)[0]) == pytest.approx(float(value({**batch([0, 0]), 'mask': jnp.ones(2)})[0]), rel=1e-5)


def test_refining_starts_from_the_output_of_the_network():
    made = task(refine=dict(downsampling=(1,), steps=(25,), affine_steps=(0,), lr=0.1))
    given = batch([0])
    out = jax.jit(made.predict)(trained()[1], {name: given[name] for name in ('fixed', 'moving')})
    dissimilarity = functools.partial(image_similarity.local_correlation, window=5)
    assert float(dissimilarity(given['fixed'], out['moved'])[0]) < 0.8 * float(
        dissimilarity(given['fixed'], predicted((0, 1, 2))['moved'][:1])[0])
    assert float(deformation.folding_fraction(out['displacement'][0])) == 0


@pytest.mark.parametrize('regulariser', ['gradient', 'bending'])
def test_refining_counts_roughness_as_training_does(regulariser, monkeypatch):
    asked = []
    monkeypatch.setattr(registration_task, 'optimise', lambda *given: asked.append(given[-1]) or given[5])
    made = task(refine=dict(downsampling=(1,), steps=(1,), affine_steps=(0,)), regulariser=regulariser)
    jax.eval_shape(made.predict, trained()[1], {name: batch([0])[name] for name in ('fixed', 'moving')})
    field = jnp.asarray(np.random.default_rng(0).normal(size=(2, 6, 7)), jnp.float32)
    if regulariser == 'gradient':
        want = deformation.gradient_energy(field, (2.0, 2.0))
    else:
        want = deformation.bending_energy(field, (1.0, 1.0))
    assert asked and float(asked[0](field, (2.0, 2.0))) == pytest.approx(float(want))


def test_without_stages_there_is_one_affine_map_for_all():
    made = task(stages=())
    given = batch([0, 1])
    variables = jax.jit(made.init)(jax.random.key(0), given)
    assert jax.tree.map(jnp.shape, variables) == {'params': {'common': (2, 3)}}
    variables = {'params': {'common': jnp.array([[0.0, 0, 0.1], [0, 0, 0]])}}
    out = jax.jit(made.predict)(variables, given)
    np.testing.assert_allclose(out['displacement'][:, 0], 0.1 * 32 / 2, atol=1e-4)
    np.testing.assert_allclose(out['inverse'][:, 0], -0.1 * 32 / 2, atol=1e-4)


def test_volumes_are_supported():
    module = Model(dims=3, base=4, levels=2)
    statistics = {**data().statistics, 'spacing': [1.0, 1.0, 2.0]}
    made = registration_task.task(module, statistics=statistics, similarity=NCC)
    pair = {name: jax.ShapeDtypeStruct((2, 8, 8, 4, 1), jnp.float32) for name in ('fixed', 'moving')}
    variables = jax.eval_shape(made.init, jax.random.key(0), pair)
    out = jax.eval_shape(made.predict, variables, pair)
    assert out['displacement'].shape == (2, 3, 8, 8, 4) and variables['params']['velocity']['kernel'].shape == (4, 3)


@pytest.mark.parametrize('options, message', [
    (dict(regulariser='rough'), r"config\.task\.regulariser: 'rough'; expected one of: gradient, bending"),
    (dict(smoothness=-1), r'config\.task\.smoothness: -1; expected a weight of at least 0'),
    (dict(refine=dict(step=3)), r'config\.task\.refine\.step: unknown key'),
    (dict(similarity=dict(name='cosine')), r"config\.task\.similarity\.name: 'cosine'"),
    (dict(statistics={'problem': 'growth'}), r"config\.task\.name: 'registration' needs a data set of image pairs"),
    (dict(statistics={'problem': 'registration', 'classes': ['background'], 'spacing': [1, 1], 'labelled': False},
          dice=1.0), r'config\.task\.dice: 1\.0; expected 0: the training pairs have no labels'),
])
def test_invalid_input_is_refused(options, message):
    with pytest.raises(InputError, match=message):
        registration_task.task(Model(), **{**dict(statistics=data().statistics, similarity=NCC), **options})


@pytest.mark.parametrize('options',
                         [dict(stages=('velocity', 'affine')), dict(stages=('rigid',)), dict(velocity_downsampling=5)])
def test_invalid_networks_are_refused(options):
    with pytest.raises(InputError, match=r'config\.model: stages='):
        jax.eval_shape(lambda: Model(base=4, levels=2, **options).init(
            jax.random.key(0), *[jnp.zeros((1, 16, 16, 1))] * 2, train=False))
