"""Outputs, features, gradients and learning of all classifiers, with tiny networks."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax import build
from medjax.core.task import init_variables, train_forward
from medjax.errors import InputError
from medjax.models import convnext, resnet
from tests.models.random_variables import random_variables

KEY = jax.random.key(0)
BATCH = 8

# Sections of config.model, and the size of an image along each axis.
NETWORKS = {
    'cnn': (dict(name='cnn', features=(4, 4), dense=8, dropout=0.1), 16),
    'cnn3d': (dict(name='cnn', features=(4, 4), dense=8, dims=3), 10),
    'vgg': (dict(name='vgg', base=2, dense=16, norm='batch', dropout=0.1), 32),
    'resnet': (dict(name='resnet', blocks=(1, 1), base=4, dropout=0.1), 16),
    'preactivated': (dict(name='resnet', variant='50', blocks=(1, 1), base=4, preactivation=True), 16),
    'se3d': (dict(name='resnet', blocks=(1, 1), base=4, attention='se', small_images=True, norm='instance', dims=3), 8),
    'cbam': (dict(name='resnet', blocks=(1, 1), base=4, attention='cbam', pool='spp'), 16),
    'densenet': (dict(name='densenet', blocks=(2, 2), growth=4, dropout=0.1), 16),
    'convnext': (dict(name='convnext', blocks=(1, 2), widths=(8, 16), stochastic_depth=0.1), 16),
    'convnext3d': (dict(name='convnext', blocks=(1, 1), widths=(4, 8), dims=3), 8),
    'vit': (dict(name='vit', patch=4, width=16, depth=2, heads=2, dropout=0.1), 16),
    'vit3d': (dict(name='vit', patch=(4, 4, 2), width=16, depth=1, heads=2, dims=3), 8),
    'mil': (dict(name='mil', blocks=(1, 1), base=4, hidden=8, small_images=True), 8),
    'mil3d': (dict(name='mil', blocks=(1, 1), base=4, hidden=8, small_images=True, dims=3), 4),
}
PLANAR = [name for name in NETWORKS if not name.endswith('3d')]  # gradients of 3D convolutions are tested elsewhere
STOCHASTIC = [name for name, (section, _) in NETWORKS.items() if {'dropout', 'stochastic_depth'} & set(section)]


@functools.cache
def build_case(name, precision='float32'):
    """A network, its variables, and a batch of images with one bright half."""
    section, size = NETWORKS[name]
    network, rng = build.network({'classes': 2, **section}, precision), np.random.default_rng(0)
    label = np.arange(BATCH) % 2
    image = rng.normal(0, 0.3, (BATCH, *[size] * network.dims, 1)).astype(np.float32)
    image[label == 0, :size // 2] += 1
    image[label == 1, size // 2:] += 1
    if name.startswith('mil'):  # a bag of this instance and two of noise
        noise = rng.normal(0, 0.3, (BATCH, 2, *image.shape[1:])).astype(np.float32)
        image = np.concatenate([noise, image[:, None]], 1)
    data = {'image': image, 'label': label, 'mask': np.ones(BATCH, np.float32)}
    return network, random_variables(network, image), data


@functools.partial(jax.jit, static_argnums=0)
def forward(network, variables, image):
    return network.apply(variables, image, train=False)


def spatial(feats):
    return {name: f for name, f in feats.items() if name not in ('pooled', 'attention')}


@pytest.mark.parametrize('name', NETWORKS)
def test_logits_features_and_collections(name):
    network, variables, data = build_case(name)
    assert set(variables) == ({'params', 'batch_stats'} if getattr(network, 'norm', '') == 'batch' else {'params'})
    logits, feats = forward(network, variables, data['image'])
    assert logits.shape == (BATCH, 2) and logits.dtype == jnp.float32 and np.isfinite(logits).all()
    assert feats['pooled'].shape[0] == BATCH and feats['pooled'].ndim == 2 and feats['pooled'].dtype == jnp.float32
    lead = 2 if name.startswith('mil') else 1
    assert spatial(feats) and all(f.ndim == lead + network.dims + 1 and f.shape[:lead] == data['image'].shape[:lead]
                                  for f in spatial(feats).values())
    if 'attention' in feats:
        assert feats['attention'].dtype == jnp.float32
        np.testing.assert_allclose(feats['attention'].sum(-1), 1, atol=1e-5)


@pytest.mark.parametrize('name', PLANAR)
def test_gradients_of_a_logit_by_parameters_and_spatial_features(name):
    network, variables, data = build_case(name)
    logits, feats = forward(network, variables, data['image'])

    @jax.jit
    def gradients(params, perturbations):
        def logit(params, perturbations):
            collections = {**variables, 'params': params, 'perturbations': perturbations}
            out, _ = network.apply(collections, data['image'], train=False)
            return out[:, 0].sum(), out
        return jax.grad(logit, (0, 1), has_aux=True)(params, perturbations)

    zeros = jax.tree.map(jnp.zeros_like, spatial(feats))
    (by_params, by_feats), out = gradients(variables['params'], zeros)
    np.testing.assert_allclose(out, logits, atol=1e-5)
    assert all(np.isfinite(gradient).all() for gradient in jax.tree.leaves((by_params, by_feats)))
    assert all(np.abs(gradient).max() > 0 for gradient in by_feats.values())
    names = ('stem', 'conv0', 'patches0', 'embed', 'stage0_0')
    first = min((leaf for name, leaf in by_params.items() if name in names),
                key=lambda leaf: len(jax.tree.leaves(leaf)))
    assert max(np.abs(leaf).max() for leaf in jax.tree.leaves(first)) > 0


@pytest.mark.parametrize('options', [dict(), dict(preactivation=True, bottleneck=2), dict(dims=3, attention='se')])
def test_the_gradient_before_mean_pooling_is_the_weight_divided_by_the_number_of_voxels(options):
    network = resnet.Model(classes=3, blocks=(1, 1), base=4, small_images=True, **options)
    x = jnp.asarray(np.random.default_rng(0).normal(size=(2, *[6] * network.dims, 1)), jnp.float32)
    variables = random_variables(network, x)
    assert set(variables) == {'params', 'batch_stats'}
    _, feats = forward(network, variables, x)

    def logit(perturbation):
        perturbations = jax.tree.map(jnp.zeros_like, spatial(feats)) | {'stage1': perturbation}
        return network.apply({**variables, 'perturbations': perturbations}, x, train=False)[0][:, 1].sum()
    gradient = jax.jit(jax.grad(logit))(jnp.zeros_like(feats['stage1']))
    weight = variables['params']['logits']['kernel'][:, 1] / 3**network.dims
    np.testing.assert_allclose(gradient, np.broadcast_to(weight, gradient.shape), rtol=1e-5)


@pytest.mark.parametrize('name', ['cnn', 'convnext', 'vit', 'mil'])
def test_classifiers_learn_which_half_is_bright(name):
    network, variables, data = build_case(name)
    params, rest = variables['params'], {k: v for k, v in variables.items() if k != 'params'}
    optimiser = optax.adam(1e-2)

    @jax.jit
    def step(params, rest, state, key):
        def loss(params):
            (logits, _), new = train_forward(network, {'params': params, **rest}, data, key)
            return optax.softmax_cross_entropy_with_integer_labels(logits, data['label']).mean(), new
        (value, rest), gradients = jax.value_and_grad(loss, has_aux=True)(params)
        updates, state = optimiser.update(gradients, state)
        return optax.apply_updates(params, updates), rest, state, value, optax.tree.norm(gradients)

    state, losses = optimiser.init(params), []
    for number in range(30):
        params, rest, state, value, norm = step(params, rest, state, jax.random.fold_in(KEY, number))
        losses.append(float(value))
        assert np.isfinite(norm) and norm > 0
        if len(losses) > 3 and max(losses[-3:]) < 0.5 * losses[0]:
            return  # with four seeds after at most 6, 6, 11 and 21 steps, in the order of the names
    raise AssertionError(losses)


@pytest.mark.parametrize('name', ['cnn', 'vgg', 'cbam', 'densenet', 'convnext', 'vit', 'mil'])
def test_bfloat16_is_close_to_float32(name):
    full, variables, data = build_case(name)
    half, other, _ = build_case(name, 'bfloat16')
    assert {leaf.dtype for leaf in jax.tree.leaves(other)} == {jnp.dtype('float32')}
    want, _ = forward(full, variables, data['image'])
    got, feats = forward(half, variables, data['image'])
    assert got.dtype == feats['pooled'].dtype == jnp.float32
    assert {f.dtype for f in spatial(feats).values()} == {jnp.dtype('bfloat16')}
    np.testing.assert_allclose(got, want, atol=0.05 * np.abs(want).max())


@pytest.mark.parametrize('name', STOCHASTIC)
def test_dropout_depends_on_the_key(name):
    network, variables, data = build_case(name)
    draw = jax.jit(lambda key: network.apply(variables, data['image'], train=False, rngs={'dropout': key})[0])
    one, repeated, other = draw(KEY), draw(KEY), draw(jax.random.key(1))
    np.testing.assert_array_equal(one, repeated)
    fixed = forward(network, variables, data['image'])[0]
    assert np.abs(one - other).max() > 1e-3 and np.abs(one - fixed).max() > 1e-3


def test_initialisation_follows_the_papers():
    """Glorot uniform and zeros for the CNN, as in Keras; ConvNeXt's branches are scaled by a millionth."""
    cnn = build.network(dict(name='cnn', features=(32,), dense=64, classes=1), 'float32')
    params = jax.jit(lambda: init_variables(cnn, KEY, {'image': jnp.zeros((1, 10, 10, 3))}))()['params']
    for part, ins, outs in (('conv0', 9 * 3, 9 * 32), ('dense', 4 * 4 * 32, 64), ('logits', 64, 1)):
        limit, kernel = (6 / (ins + outs))**0.5, np.asarray(params[part]['kernel'])
        assert 0.9 * limit < np.abs(kernel).max() <= limit and abs(kernel.mean()) < 0.2 * limit, part
        assert not params[part]['bias'].any()
    block = convnext.Block(0.0, 'float32')
    scale = jax.jit(lambda: block.init(KEY, jnp.zeros((1, 2, 2, 4)), False))()['params']['scale']
    np.testing.assert_allclose(scale, 1e-6 * np.ones(4))


@pytest.mark.parametrize('spaces, options', [
    ([(16, 16), (20, 28)], dict(name='resnet', blocks=(1, 1), base=4, pool='spp')),
    ([(8, 8, 8), (12, 6, 10)], dict(name='resnet', blocks=(1,), base=4, pool='spp', small_images=True, dims=3)),
    ([(32, 32), (40, 72)], dict(name='vgg', base=2, dense=8)),
])
def test_the_pooled_features_do_not_depend_on_the_image_size(spaces, options):
    network = build.network({'classes': 2, **options}, 'float32')
    variables = jax.eval_shape(lambda: init_variables(network, KEY, {'image': jnp.zeros((1, *spaces[0], 1))}))
    shapes = [jax.eval_shape(lambda v, s=s: network.apply(v, jnp.zeros((3, *s, 1)), train=False)[1]['pooled'],
                             variables).shape for s in spaces]
    assert shapes[0] == shapes[1] and shapes[0][0] == 3


@pytest.mark.parametrize('options, space, message', [
    (dict(name='cnn', features=(4, 4)), (9, 10), r'config\.data\.size: \(9, 10\); expected at least 10'),
    (dict(name='vgg', base=2), (31, 64), r'config\.data\.size: \(31, 64\); expected at least 32'),
    (dict(name='convnext'), (28, 28), r'config\.data\.size: \(28, 28\); expected at least 32'),
    (dict(name='densenet'), (28, 28), r'config\.data\.size: \(28, 28\); expected at least 32'),
    (dict(name='vit'), (28, 32), r'config\.data\.size: \(28, 32\); expected 2 multiples of config\.model\.patch'),
    (dict(name='vit', patch=(4, 4, 4)), (8, 8), r'config\.data\.size: \(8, 8\); expected 2 multiples'),
    (dict(name='resnet', pool='max'), (32, 32), r"config\.model\.pool: 'max'; expected 'mean' or 'spp'"),
    (dict(name='resnet', dims=3), (32, 32), r'config\.model\.dims: 3, but images have 2'),
    (dict(name='mil'), (64, 64), r'config\.model\.dims: 2, config\.model\.patch: \(\); expected 1 for bags'),
])
def test_invalid_shapes_and_options_raise(options, space, message):
    network = build.network({'classes': 2, **options}, 'float32')
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: init_variables(network, KEY, {'image': jnp.zeros((1, *space, 1))}))
