"""Autoencoders: reconstruction, latents, and encoder weights that fit a classifier."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.errors import InputError
from medjax.models import mae, resnet
from medjax.models.autoencoder import Model
from medjax.tasks.anomaly import autoencoder_task

KEY = jax.random.key(0)
SMALL = dict(base=8, blocks=(1, 1), small_images=True, norm='none')


@functools.cache
def images(count=32):
    """Bright squares at random places on nothing."""
    rng, out = np.random.default_rng(0), np.zeros((count, 8, 8, 1), np.float32)
    for image in out:
        row, column = rng.integers(0, 5, 2)
        image[row:row + 3, column:column + 3] = 1
    return {'image': jnp.asarray(out), 'mask': jnp.ones(count)}


def learned(task, steps=150):
    batch, update = images(), optax.adam(1e-2)
    variables = jax.jit(task.init)(KEY, batch)

    @jax.jit
    def step(variables, state, key):
        def cost(params):
            return task.loss({**variables, 'params': params}, batch, key)
        (value, (changed, states)), gradient = jax.value_and_grad(cost, has_aux=True)(variables['params'])
        changes, state = update.update(gradient, state)
        return {**variables, **changed, 'params': optax.apply_updates(variables['params'], changes)}, state, states

    state = update.init(variables['params'])
    for number in range(steps):
        variables, state, states = step(variables, state, jax.random.fold_in(KEY, number))
    return variables, states


@pytest.mark.parametrize('kind, options', [('plain', dict(noise=0.3)), ('vae', dict(sigma=0.1)), ('vq', {}),
                                           ('grid', dict(sigma=0.1))])
def test_images_are_reconstructed(kind, options):
    """Far better than by their mean, from few numbers; also of a VAE, whose latent is sampled."""
    task = autoencoder_task.task(Model(kind=kind, latent=6, codebook_size=16, **SMALL), statistics={}, **options)
    variables, states = learned(task)
    outputs = jax.jit(task.predict)(variables, images())
    image = np.asarray(images()['image'])
    assert outputs['recon'].shape == image.shape and outputs['residual'].shape == image.shape[:-1]
    squared = (np.asarray(outputs['recon']) - image) ** 2
    np.testing.assert_allclose(outputs['error'], squared.mean((1, 2, 3)), rtol=1e-4)
    # With four seeds .01 to .06 of it.
    assert outputs['error'].mean() < 0.4 * ((image - image.mean(0)) ** 2).mean()
    walking = autoencoder_task.task(Model(kind=kind, latent=6, codebook_size=16, **SMALL), statistics={},
                                    interpolations=3, **options)
    walk = jax.jit(walking.predict)(variables, images())['interpolated']
    assert walk.shape == (32, 3, 8, 8, 1)
    for place, want in ((0, outputs['recon']), (2, jnp.roll(outputs['recon'], 1, 0))):
        np.testing.assert_allclose(walk[:, place], want, atol=1e-4)
    assert np.abs(walk[:, 1] - outputs['recon']).max() > 0.05
    if kind == 'vq':
        assert 1 < states['usage'][0] <= 16 and states['commitment'][0] > 0
    if kind in ('vae', 'grid'):
        assert states['divergence'][0] > 0
    if kind == 'grid':
        module = Model(kind=kind, latent=6, **SMALL)
        recon, feats = jax.jit(functools.partial(module.apply, train=True, mutable=['batch_stats']))(
            variables, images()['image'], rngs={'dropout': KEY})[0]
        np.testing.assert_allclose(feats['grid'].mean((0, 1, 2)), 0, atol=1e-5)
        np.testing.assert_allclose(feats['grid'].std((0, 1, 2)), 1, atol=1e-3)


def test_the_bound_by_hand():
    module = Model(kind='vae', latent=3, **SMALL)
    task, batch = autoencoder_task.task(module, statistics={}, sigma=0.5, beta=2.0), images(4)
    variables = jax.jit(task.init)(KEY, batch)
    outputs = jax.jit(task.predict)(variables, batch)
    _, feats = jax.jit(functools.partial(module.apply, train=False))(variables, batch['image'])
    mean, log = (np.asarray(feats[name]) for name in ('mean', 'log_variance'))
    divergence = 0.5 * (mean**2 + np.exp(log) - 1 - log).sum(1)
    want = np.asarray(outputs['error']) / 0.25 / 2 + 2 * divergence / 64
    np.testing.assert_allclose(outputs['bound'], want, rtol=1e-5)


def test_a_classifier_can_begin_with_the_encoder():
    have = jax.eval_shape(lambda: Model(**SMALL).init(KEY, images()['image'], train=False))['params']
    want = jax.eval_shape(lambda: resnet.Model(classes=2, **SMALL).init(KEY, images()['image'], train=False))['params']
    parts = [name for name in want if name != 'logits']
    assert parts and all(jax.tree.map(jnp.shape, have[name]) == jax.tree.map(jnp.shape, want[name]) for name in parts)


def test_volumes_are_supported():
    volume = jnp.zeros((1, 4, 4, 8, 1))
    out, feats = jax.eval_shape(lambda: Model(dims=3, **SMALL).init_with_output(KEY, volume, train=False))[0]
    assert out.shape == volume.shape and feats['mean'].shape == (1, 32)


@pytest.mark.parametrize('model, options, message', [
    ({}, dict(interpolations=1), r'config\.task\.interpolations: 1; expected 0, or at least 2'),
    (dict(kind='gan'), {}, r"config\.model\.kind: 'gan'; expected one of: plain, vae, vq, grid"),
    ({}, dict(sigma=0), r'config\.task: sigma=0'),
    ({}, dict(reconstruction_loss='cosine'),
     r"config\.task\.reconstruction_loss: 'cosine'; expected one of: squared, absolute"),
])
def test_invalid_input_is_refused(model, options, message):
    with pytest.raises(InputError, match=message):
        task = autoencoder_task.task(Model(**SMALL, **model), statistics={}, **options)
        jax.eval_shape(task.init, KEY, images())


def test_masked_autoencoders_do_not_interpolate():
    with pytest.raises(InputError, match=r'config\.task\.interpolations: 3; expected 0 for medjax\.models\.mae'):
        autoencoder_task.task(mae.Model(), statistics={}, interpolations=3)


def test_sizes_that_are_not_restored_by_decoding_are_refused():
    with pytest.raises(InputError, match=r'config\.data\.size: \(7, 7\); expected multiples of 2'):
        jax.eval_shape(lambda: Model(**SMALL).init(KEY, jnp.zeros((1, 7, 7, 1)), train=False))


def test_restoration_changes_unlikely_voxels():
    """An image with a bright row that no training image has is changed more than without it, and most in that row."""
    task = autoencoder_task.task(Model(kind='vae', latent=6, **SMALL), statistics={}, sigma=0.2,
                                 restoration_steps=10, restoration_tv=0.1)
    variables, _ = learned(task)
    image = images(8)['image']
    changed = image.at[:, 0, 0].set(3.0)
    plain, outputs = (jax.jit(task.predict)(variables, {'image': x}) for x in (image, changed))
    assert outputs['change'].shape == (8, 8, 8) and (outputs['restored'] > plain['restored']).all()
    # With four seeds 32 to 84 times.
    assert outputs['change'][:, 0, 0].mean() > 3 * outputs['change'][:, 1:].mean()
