"""Generators and critics: sizes, what the class does, bounds, and that nothing hangs on a batch."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.gan import VARIANTS, Model, doubled, halved, halvings
from medjax.nn.style import Modulated, unit_length

KEY = jax.random.key(0)
SMALL = dict(size=(8, 8), latent=4, base=4)


def model(variant, **options):
    return Model(**{**VARIANTS[variant], **SMALL, **options})


@functools.cache
def made(variant):
    """A network and its variables."""
    net = model(variant)
    return net, jax.jit(functools.partial(net.init, train=False))(KEY, jnp.zeros((1, 8, 8, 1)), jnp.zeros(1))


@pytest.mark.parametrize('size, want', [((28, 28), 2), ((32, 64), 3), ((30, 28), 1), ((29, 29), 0), ((8, 8, 16), 1)])
def test_how_often_a_size_is_halved(size, want):
    assert halvings(size) == want


@pytest.mark.parametrize('variant, size, channels', [
    ('dcgan', (28, 28), 1), ('dcgan', (8, 8, 16), 1), ('projection', (30, 28), 3), ('projection', (4, 4, 8), 1),
    ('style', (29, 29), 1), ('style', (4, 8, 8), 1)])
def test_images_of_any_size(variant, size, channels):
    net = model(variant, size=size, channels=channels)
    image, label = jnp.zeros((2, *size, channels)), jnp.zeros(2)
    told, feats = jax.eval_shape(lambda: net.init_with_output(KEY, image, label, train=False))[0]
    assert told.shape == (2,) and feats['sample'].shape == image.shape and feats['sample'].dtype == jnp.float32


@pytest.mark.parametrize('variant', ['projection', 'style'])
def test_parts_are_named_and_the_class_counts_for_both(variant):
    net, variables = made(variant)
    assert set(variables['params']) == {'generator', 'critic'}
    # Scales and shifts by the class begin at nothing: as if they had learned something.
    variables = {**variables, 'params': jax.tree.map(lambda leaf: leaf + 0.1, variables['params'])}
    latent, keys = jax.random.normal(KEY, (2, 4)).at[1].set(0), jax.random.split(KEY, 2)

    @jax.jit
    def told(label):
        image = net.apply(variables, latent, label, keys, train=False, method='generate')
        return image, net.apply(variables, jnp.ones((2, 8, 8, 1)), label, train=False, method='judge')
    (one, says), (two, other) = told(jnp.array([0, 0])), told(jnp.array([1, 0]))
    assert np.abs(one[0] - two[0]).max() > 1e-3 and abs(says[0] - other[0]) > 1e-4
    np.testing.assert_allclose(one[1], two[1], atol=1e-6)  # and not for its neighbour
    np.testing.assert_allclose(says[1], other[1], atol=1e-6)


def test_without_classes_the_label_says_nothing():
    net = model('projection', classes=1)
    variables = jax.eval_shape(lambda: net.init(KEY, jnp.zeros((1, 8, 8, 1)), jnp.zeros(1), train=False))
    assert 'classes' not in variables['params']['generator'] and 'classes' not in variables['params']['critic']


def test_a_critic_of_spectral_norm_is_bounded():
    """After some power iterations no layer stretches more than by 1."""
    net, variables = made('projection')
    image, label = jax.random.normal(KEY, (2, 8, 8, 1)), jnp.zeros(2)
    judge = jax.jit(functools.partial(net.apply, train=True, mutable=['batch_stats'], method='judge'))
    for _ in range(30):
        told, changed = judge(variables, image, label)
        variables = {**variables, **changed}
    kernel = np.asarray(variables['params']['critic']['first0']['kernel'])
    sigma = variables['batch_stats']['critic']['first0_norm']['first0/kernel/sigma']
    assert sigma == pytest.approx(np.linalg.norm(kernel.reshape(-1, kernel.shape[-1]), 2), rel=1e-3)
    ten = {**variables, 'params': {**variables['params'], 'critic': {
        name: {**part, 'kernel': part['kernel'] * 10} for name, part in variables['params']['critic'].items()}}}
    again = judge(ten, image, label)[0]  # kernels ten times as large are the same ones; biases are not scaled
    np.testing.assert_allclose(again, told, rtol=1e-3)
    assert 'batch_stats' not in made('style')[1]


def test_a_modulated_convolution_is_one_of_modulated_kernels():
    """As Karras 2020 has it: each example's kernel scaled and divided by its outputs' norms, one example at a time."""
    x, style = jax.random.normal(KEY, (2, 5, 5, 3)), jax.random.normal(jax.random.key(1), (2, 4))
    layer = Modulated(6, (3, 3))
    variables = layer.init(KEY, x, style)
    found = layer.apply(variables, x, style)
    kernel, dense = variables['params']['kernel'], variables['params']['style']
    for number in range(2):
        scale = 1 + style[number] @ dense['kernel'] + dense['bias']
        own = kernel * scale[:, None]
        own = own / jnp.sqrt((own**2).sum((0, 1, 2)) + 1e-8)
        want = jax.lax.conv_general_dilated(x[number:number + 1], own, (1, 1), 'SAME',
                                            dimension_numbers=('NHWC', 'HWIO', 'NHWC'))[0]
        np.testing.assert_allclose(found[number], want * np.sqrt(2), atol=1e-5)


def test_lengths_and_sizes():
    np.testing.assert_allclose(unit_length(jnp.array([[3.0, 4.0]])), [[3 / np.sqrt(12.5), 4 / np.sqrt(12.5)]])
    x = jnp.arange(16.0).reshape(1, 4, 4, 1)
    np.testing.assert_allclose(halved(x)[0, ..., 0], [[2.5, 4.5], [10.5, 12.5]])
    np.testing.assert_allclose(halved(doubled(x)), x)
    assert doubled(x)[0, 1, 1, 0] == x[0, 0, 0, 0] and doubled(x).shape == (1, 8, 8, 1)


@pytest.mark.parametrize('options, shape, message', [
    (dict(kind='big'), (1, 8, 8, 1), r"config\.model\.kind: 'big'; expected one of: dcgan, projection, style"),
    (dict(), (1, 8, 9, 1), r'config\.model: size=\(8, 8\), channels=1; the images are of \(8, 9\) and 1'),
    (dict(size=(2, 8)), (1, 2, 8, 1), r'config\.model: size=\(2, 8\).*extents of at least 4'),
])
def test_what_is_refused(options, shape, message):
    with pytest.raises(InputError, match=message):
        net = Model(**{**SMALL, **options})
        jax.eval_shape(lambda: net.init(KEY, jnp.zeros(shape), jnp.zeros(1), train=False))
