"""Generators and discriminators: sizes, classes, spectral norm, and independence of examples."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.gan import VARIANTS, Model, halvings

KEY = jax.random.key(0)
SMALL = dict(size=(8, 8), latent=4, base=4)


def model(variant, **options):
    return Model(**{**VARIANTS[variant], **SMALL, **options})


@functools.cache
def build_case(variant):
    """A network and its variables."""
    net = model(variant)
    return net, jax.jit(functools.partial(net.init, train=False))(KEY, jnp.zeros((1, 8, 8, 1)), jnp.zeros(1))


@pytest.mark.parametrize('size, want', [((28, 28), 2), ((32, 64), 3), ((30, 28), 1), ((29, 29), 0), ((8, 8, 16), 1)])
def test_halvings_by_hand(size, want):
    assert halvings(size) == want


@pytest.mark.parametrize('variant, size, channels', [
    ('dcgan', (28, 28), 1), ('dcgan', (8, 8, 16), 1), ('projection', (30, 28), 3), ('projection', (4, 4, 8), 1),
    ('style', (29, 29), 1), ('style', (4, 8, 8), 1)])
def test_images_of_any_size(variant, size, channels):
    net = model(variant, size=size, channels=channels)
    image, label = jnp.zeros((2, *size, channels)), jnp.zeros(2)
    outputs, feats = jax.eval_shape(lambda: net.init_with_output(KEY, image, label, train=False))[0]
    assert outputs.shape == (2,) and feats['sample'].shape == image.shape and feats['sample'].dtype == jnp.float32


@pytest.mark.parametrize('variant', ['projection', 'style'])
def test_both_networks_depend_on_the_class(variant):
    net, variables = build_case(variant)
    assert set(variables['params']) == {'generator', 'discriminator'}
    # Conditional scales and shifts are initially zero.
    variables = {**variables, 'params': jax.tree.map(lambda leaf: leaf + 0.1, variables['params'])}
    latent, keys = jax.random.normal(KEY, (2, 4)).at[1].set(0), jax.random.split(KEY, 2)

    @jax.jit
    def outputs(label):
        image = net.apply(variables, latent, label, keys, train=False, method='generate')
        return image, net.apply(variables, jnp.ones((2, 8, 8, 1)), label, train=False, method='discriminate')
    (image, score), (other_image, other_score) = outputs(jnp.array([0, 0])), outputs(jnp.array([1, 0]))
    assert np.abs(image[0] - other_image[0]).max() > 1e-3 and abs(score[0] - other_score[0]) > 1e-4
    # The other example does not change.
    np.testing.assert_allclose(image[1], other_image[1], atol=1e-6)
    np.testing.assert_allclose(score[1], other_score[1], atol=1e-6)


def test_an_unconditional_gan_has_no_class_parameters():
    net = model('projection', classes=1)
    variables = jax.eval_shape(lambda: net.init(KEY, jnp.zeros((1, 8, 8, 1)), jnp.zeros(1), train=False))
    assert 'classes' not in variables['params']['generator'] and 'classes' not in variables['params']['discriminator']


def test_spectral_norm_bounds_the_discriminator():
    """After some power iterations the estimated norm of a layer is exact."""
    net, variables = build_case('projection')
    image, label = jax.random.normal(KEY, (2, 8, 8, 1)), jnp.zeros(2)
    discriminate = jax.jit(functools.partial(net.apply, train=True, mutable=['batch_stats'], method='discriminate'))
    for _ in range(30):
        outputs, changed = discriminate(variables, image, label)
        variables = {**variables, **changed}
    kernel = np.asarray(variables['params']['discriminator']['first0']['kernel'])
    sigma = variables['batch_stats']['discriminator']['first0_norm']['first0/kernel/sigma']
    assert sigma == pytest.approx(np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2), rel=1e-3)
    scaled = {**variables, 'params': {**variables['params'], 'discriminator': {
        name: {**part, 'kernel': part['kernel'] * 10} for name, part in variables['params']['discriminator'].items()}}}
    # Kernels are normalised, so that a factor of 10 has no effect.
    np.testing.assert_allclose(discriminate(scaled, image, label)[0], outputs, rtol=1e-3)
    assert 'batch_stats' not in build_case('style')[1]


@pytest.mark.parametrize('options, shape, message', [
    (dict(kind='big'), (1, 8, 8, 1), r"config\.model\.kind: 'big'; expected one of: dcgan, projection, style"),
    (dict(), (1, 8, 9, 1), r'config\.model: size=\(8, 8\), channels=1; the images are of \(8, 9\) and 1'),
    (dict(size=(2, 8)), (1, 2, 8, 1), r'config\.model: size=\(2, 8\).*extents of at least 4'),
])
def test_invalid_fields_raise(options, shape, message):
    with pytest.raises(InputError, match=message):
        net = Model(**{**SMALL, **options})
        jax.eval_shape(lambda: net.init(KEY, jnp.zeros(shape), jnp.zeros(1), train=False))
