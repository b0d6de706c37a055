"""Multiple-instance learning: padding, attention, slices and patches."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models.mil import Model, join_patches, split_patches
from medjax.tasks.classification.saliency.activation_maps import grad_cam
from tests.models.random_variables import random_variables

KEY = jax.random.key(0)
SMALL = dict(classes=2, blocks=(1, 1), base=4, hidden=8, small_images=True)
MODEL = Model(**SMALL)


def bags(*shape):
    return jnp.asarray(np.random.default_rng(0).normal(size=shape), jnp.float32)


@functools.cache
def variables():
    with jax.ensure_compile_time_eval():  # also where a function that is being traced asks first
        return random_variables(MODEL, bags(1, 1, 8, 8, 1))


@functools.partial(jax.jit, static_argnums=3)
def run(params, x, mask=None, train=False):
    return MODEL.apply({'params': params}, x, train=train, mask=mask)


@jax.jit
def gradients(params, x, mask=None):
    def loss(params, x):
        logits, feats = MODEL.apply({'params': params}, x, train=True, mask=mask)
        return (logits**2).sum(), (logits, feats)
    return jax.grad(loss, (0, 1), has_aux=True)(params, x)


@pytest.mark.parametrize('filling', [0.0, 1e4, np.nan])
def test_padding_has_no_effect(filling):
    x, params = bags(2, 3, 8, 8, 1), variables()['params']
    (want, by_x), (logits, feats) = gradients(params, x)
    padded = jnp.concatenate([x[:, :2], jnp.full((2, 2, 8, 8, 1), filling), x[:, 2:]], 1)
    mask = jnp.array([[1, 1, 0, 0, 1]] * 2, jnp.float32)
    (got, by_padded), (padded_logits, padded_feats) = gradients(params, padded, mask)
    np.testing.assert_allclose(padded_logits, logits, rtol=1e-5, atol=1e-6)
    np.testing.assert_array_equal(padded_feats['attention'][:, 2:4], 0)
    np.testing.assert_allclose(padded_feats['attention'][:, [0, 1, 4]], feats['attention'], atol=1e-6)
    np.testing.assert_allclose(by_padded[:, [0, 1, 4]], by_x, rtol=1e-4, atol=1e-5)
    np.testing.assert_array_equal(by_padded[:, 2:4], 0)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4), got, want)
    np.testing.assert_allclose(run(params, padded, mask)[0], logits, rtol=1e-5, atol=1e-6)


def test_a_bag_without_instances_has_finite_gradients():
    x, mask = bags(2, 5, 8, 8, 1), jnp.array([[1.0] * 5, [0.0] * 5])
    by_all, (logits, feats) = gradients(variables()['params'], x, mask)
    np.testing.assert_allclose(feats['attention'].sum(-1), [1, 0], atol=1e-6)
    np.testing.assert_allclose(logits[1], variables()['params']['logits']['bias'], atol=1e-6)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(by_all))


def test_the_order_of_instances_does_not_matter():
    x = bags(2, 3, 8, 8, 1)
    (logits, feats), (other, reversed_feats) = (run(variables()['params'], y) for y in (x, x[:, ::-1]))
    np.testing.assert_allclose(other, logits, atol=1e-5)
    np.testing.assert_allclose(reversed_feats['attention'][:, ::-1], feats['attention'], atol=1e-6)
    np.testing.assert_allclose(reversed_feats['stage1'][:, ::-1], feats['stage1'], atol=1e-5)


def test_gated_attention_by_hand():
    """Attention is 1 for a single instance, and the softmax of w · (tanh(V h) ⊙ σ(U h)) for two (Ilse 2018)."""
    x, params = bags(1, 2, 8, 8, 1), variables()['params']
    single = [run(params, x[:, n:n + 1])[1] for n in range(2)]
    assert single[0]['attention'] == single[1]['attention'] == 1
    h, params = np.stack([f['pooled'][0] for f in single]), jax.tree.map(np.asarray, params)
    v, u = (h @ params['pool'][name]['kernel'] + params['pool'][name]['bias'] for name in ('content', 'gate'))
    score = np.tanh(v) / (1 + np.exp(-u)) @ params['pool']['score']['kernel'][:, 0]
    weight = np.exp(score) / np.exp(score).sum()
    logits, feats = run(params, x)
    np.testing.assert_allclose(feats['attention'][0], weight, rtol=1e-5)
    np.testing.assert_allclose(feats['pooled'][0], weight @ h, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(logits[0], weight @ h @ params['logits']['kernel'], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize('options, size, message', [
    (dict(norm='batch'), 8, r"config\.model\.norm: 'batch'; expected 'instance' or 'none' for bags with padding"),
    (dict(), 2, r'config\.data\.size: \(2, 2\); expected larger instances'),
])
def test_invalid_norms_and_sizes_raise(options, size, message):
    model, x = Model(**SMALL | options), jnp.zeros((1, 2, size, size, 1))
    with pytest.raises(InputError, match=message):
        jax.eval_shape(lambda: model.init(KEY, x, train=True, mask=jnp.ones((1, 2))))


def test_axial_slices_of_a_volume_are_a_bag():
    x, params = bags(2, 8, 8, 3, 1), variables()['params']
    want, feats = run(params, jnp.moveaxis(x, 3, 1))
    got, slice_feats = Model(**SMALL, instance_axis=2).apply({'params': params}, x, train=False)
    np.testing.assert_allclose(got, want, rtol=1e-6)
    assert slice_feats['attention'].shape == feats['attention'].shape == (2, 3)


@pytest.mark.slow
def test_saliency_maps_of_a_volume_have_its_layout():
    model, x = Model(**SMALL, instance_axis=2), bags(1, 8, 8, 3, 1)
    forward = functools.partial(_forward, model)
    maps = grad_cam(forward, x, jnp.array([1]))
    assert maps.shape == (1, 8, 8, 3)
    _, feats = forward(x, {})
    assert feats['stage1'].shape == (1, 4, 4, 3, 8)
    # Only the features of the changed slice differ.
    _, other = forward(x.at[..., 1, :].add(1.0), {})
    differs = jnp.abs(other['stage1'] - feats['stage1']).max((0, 1, 2, 4))
    assert differs[1] > 0 and differs[0] == differs[2] == 0


def _forward(model, x, perturbations):
    given = {'perturbations': perturbations} if perturbations else {}
    return model.apply({'params': variables()['params'], **given}, x, train=False)


@pytest.mark.parametrize('shape, patch', [((7, 9), (3, 4)), ((4, 6, 5), (2, 3, 2)), ((6,), (2,))])
def test_patches_are_split_and_joined(shape, patch):
    x = jnp.arange(2 * np.prod(shape) * 3.0).reshape(2, *shape, 3)
    patches = split_patches(x, patch)
    grid = [n // p for n, p in zip(shape, patch)]
    assert patches.shape == (2, *grid, *patch, 3)
    last = tuple(slice((g - 1) * p, g * p) for g, p in zip(grid, patch))
    np.testing.assert_array_equal(patches[(1, *(g - 1 for g in grid))], x[(1, *last)])
    np.testing.assert_array_equal(join_patches(patches), x[(slice(None), *(slice(g * p) for g, p in zip(grid, patch)))])


def test_patches_of_an_image_are_a_bag():
    x = bags(2, 17, 24, 1)
    patches = [x[:, i:i + 8, j:j + 8] for i in (0, 8) for j in (0, 8, 16)]
    want, feats = run(variables()['params'], jnp.stack(patches, 1))
    logits, patch_feats = Model(**SMALL, patch=(8, 8)).apply(variables(), x, train=False)
    np.testing.assert_allclose(logits, want, atol=1e-5)
    np.testing.assert_allclose(patch_feats['attention'], feats['attention'], atol=1e-6)
    extent = feats['stage1'].shape[2]
    np.testing.assert_allclose(patch_feats['stage1'][:, extent:, 2 * extent:], feats['stage1'][:, 5], atol=1e-5)


@pytest.mark.slow
def test_saliency_maps_of_an_image_of_patches():
    model, x = Model(**SMALL, patch=(8, 8)), bags(1, 16, 24, 1)

    def forward(image, perturbations):
        given = {'perturbations': perturbations} if perturbations else {}
        return model.apply({**variables(), **given}, image, train=False)

    assert grad_cam(forward, x, jnp.array([1])).shape == (1, 16, 24)


@pytest.mark.parametrize('patch, message', [
    ((8,), r'config\.model\.patch: \(8,\)'), ((8, 32), 'no more than the images')])
def test_patches_that_do_not_fit_raise(patch, message):
    with pytest.raises(InputError, match=message):
        Model(**SMALL, patch=patch).apply(variables(), bags(1, 16, 24, 1), train=False)
