"""Latent diffusion: encoding and decoding equal the autoencoder, and only the denoiser is trained."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models import autoencoder
from medjax.models.latent_diffusion import Model
from medjax.tasks.synthesis import diffusion_task

KEY = jax.random.key(0)
FIRST = dict(base=4, blocks=(1, 1), latent=3)
SMALL = dict(classes=2, autoencoder=FIRST, denoiser=dict(base=8, levels=1, attention=False))
TWO = {'classes': ['left', 'right'], 'problem': 'binary'}


def batch(size):
    return {'image': jnp.asarray(np.random.default_rng(0).normal(size=(4, *size, 1)), jnp.float32),
            'label': jnp.array([0, 1, 0, 1]), 'mask': jnp.ones(4)}


def test_encode_and_decode_equal_the_autoencoder():
    module = Model(size=(8, 12), **SMALL)
    variables = jax.jit(diffusion_task.task(module, statistics=TWO).init)(KEY, batch((8, 12)))
    first = autoencoder.Model(**{**autoencoder.VARIANTS['grid'], **FIRST, 'dims': 2})
    image = batch((8, 12))['image']
    first_variables = {name: collection['image_autoencoder'] for name, collection in variables.items()}
    want, feats = jax.jit(lambda v, x: first.apply(v, x, train=False))(first_variables, image)
    code = jax.jit(lambda v, x: module.apply(v, x, method='encode'))(variables, image)
    assert code.shape[1:] == module.space == (4, 6, 3)
    np.testing.assert_allclose(code, feats['grid'], atol=1e-6)
    decoded = jax.jit(lambda v, z: module.apply(v, z, method='decode'))(variables, code)
    np.testing.assert_allclose(decoded, want, atol=1e-5)


@pytest.mark.parametrize('kind, size', [('ddpm', (8, 8)), ('flow', (4, 8, 8))])
def test_only_the_denoiser_is_trained(kind, size):
    module = Model(size=size, **SMALL)
    task = diffusion_task.task(module, statistics=TWO, kind=kind, sampling_steps=2)
    variables = jax.jit(task.init)(KEY, batch(size))

    def cost(params):
        return task.loss({**variables, 'params': params}, batch(size), KEY)[0]

    gradient = jax.jit(jax.grad(cost))(variables['params'])
    norms = {part: sum(float(jnp.abs(leaf).sum()) for leaf in jax.tree.leaves(tree)) for part, tree in gradient.items()}
    assert norms['image_autoencoder'] == 0 < norms['latent_denoiser']
    _, (changed, _) = jax.jit(task.loss)(variables, batch(size), KEY)
    jax.tree.map(np.testing.assert_array_equal, changed['batch_stats'], variables['batch_stats'])
    inputs = {'seed': jnp.arange(4, dtype=jnp.uint32), 'label': jnp.array([0, 1, 0, 1])}
    samples = jax.jit(task.predict)(variables, inputs)['sample']
    assert samples.shape == (4, *size, 1) and float(jnp.abs(samples[0] - samples[2]).max()) > 1e-3
    single = jax.jit(task.predict)(variables, {name: value[2:3] for name, value in inputs.items()})['sample']
    np.testing.assert_allclose(single[0], samples[2], atol=1e-4)


@pytest.mark.parametrize('change, message', [
    (dict(autoencoder=dict(kind='vae')), r'config\.model\.autoencoder\.kind: unknown key'),
    (dict(autoencoder='grid'), r"config\.model\.autoencoder: 'grid'; expected options"),
    (dict(channels=3), r'config\.model: size=\(8, 8\), channels=3; expected those of the images, \(8, 8\) and 1'),
    (dict(autoencoder=dict(width=3)), r'config\.model\.autoencoder\.width: unknown key'),
    (dict(denoiser=dict(channels=3)), r'config\.model\.denoiser\.channels: unknown key'),
    (dict(size=(9, 8)), r'config\.data\.size: \(9, 8\); expected multiples of 2'),
])
def test_invalid_fields_raise(change, message):
    with pytest.raises(InputError, match=message):
        task = diffusion_task.task(Model(**{**SMALL, 'size': (8, 8), **change}), statistics=TWO)
        variables = jax.eval_shape(task.init, KEY, batch((8, 8)))
        jax.eval_shape(task.loss, variables, batch((8, 8)), KEY)


def test_clipping_of_latents_raises():
    with pytest.raises(InputError, match=r'config\.task\.clip: 1\.0; expected 0'):
        diffusion_task.task(Model(size=(8, 8), **SMALL), statistics=TWO, clip=1.0)
