"""Masked autoencoders: masking in training and evaluation."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.errors import InputError
from medjax.models import vit
from medjax.models.mae import Model, _join_patches

KEY = jax.random.key(0)
SMALL = dict(patch=2, width=16, depth=1, heads=2)
IMAGE = jax.random.normal(KEY, (2, 8, 12, 1))


@pytest.fixture(scope='module')
def network():
    module = Model(decoder_width=8, decoder_depth=1, **SMALL)
    variables = jax.jit(lambda: module.init(KEY, IMAGE, train=False))()
    return (jax.jit(lambda x: module.apply(variables, x, train=False)),
            jax.jit(lambda x, key: module.apply(variables, x, train=True, rngs={'dropout': key})))


def test_in_training_three_quarters_of_the_patches_are_masked_and_have_no_effect(network):
    _, train = network
    out, feats = train(IMAGE, KEY)
    hidden = np.asarray(feats['hidden'])
    assert out.shape == IMAGE.shape and hidden.shape == (2, 8, 12)
    np.testing.assert_array_equal(hidden.mean((1, 2)), [0.75, 0.75])
    patches = hidden.reshape(2, 4, 2, 6, 2)
    np.testing.assert_array_equal(patches.min((2, 4)), patches.max((2, 4)))  # whole patches
    assert (hidden[0] != hidden[1]).any() and (hidden != train(IMAGE, jax.random.key(1))[1]['hidden']).any()
    np.testing.assert_allclose(train(IMAGE + 5 * hidden[..., None], KEY)[0], out, atol=1e-5)
    assert np.abs(train(IMAGE + 5 * (1 - hidden[..., None]), KEY)[0] - out).max() > 1e-3


def test_in_evaluation_a_patch_is_reconstructed_while_masked(network):
    evaluate, _ = network
    out, feats = evaluate(IMAGE)
    assert (feats['hidden'] == 1).all() and feats['latent'].shape == (2, 16)
    for row, column in ((0, 0), (4, 10), (6, 2)):
        other, _ = evaluate(IMAGE.at[:, row:row + 2, column:column + 2].add(3.0))
        change = np.abs(np.asarray(other - out))[..., 0]
        assert change[:, row:row + 2, column:column + 2].max() < 1e-5 < change.max()


def test_patches_are_joined_to_an_image():
    image = jnp.arange(2 * 4 * 6 * 3).reshape(2, 4, 6, 3)
    patches = image.reshape(2, 2, 2, 3, 2, 3).transpose(0, 1, 3, 2, 4, 5).reshape(2, 6, 12)
    np.testing.assert_array_equal(_join_patches(patches, (2, 3), (2, 2)), image)


def test_the_encoder_can_initialise_a_classifier():
    got = jax.eval_shape(lambda: Model(**SMALL).init(KEY, IMAGE, train=False))['params']
    want = jax.eval_shape(lambda: vit.Model(classes=2, **SMALL).init(KEY, IMAGE, train=False))['params']
    parts = [name for name in want if name != 'logits']
    assert len(parts) == 5 and all(
        jax.tree.map(jnp.shape, got[name]) == jax.tree.map(jnp.shape, want[name]) for name in parts)


def test_volumes():
    volume = jnp.zeros((1, 4, 4, 8, 1))
    out, feats = jax.eval_shape(
        lambda: Model(dims=3, **SMALL).init_with_output(KEY, volume, train=False))[0]
    assert out.shape == volume.shape and feats['hidden'].shape == volume.shape[:-1]


def test_invalid_masking_raises():
    with pytest.raises(InputError, match=r'config\.model\.mask_ratio: 0; expected a fraction between 0 and 1'):
        jax.eval_shape(lambda: Model(mask_ratio=0, **SMALL).init(KEY, IMAGE, train=False))
    with pytest.raises(InputError, match=r'config\.model\.patch: \(2, 2\); expected patches of which an image of'):
        jax.eval_shape(lambda: Model(**SMALL).init(KEY, IMAGE[:, :2, :2], train=False))


def test_at_least_one_patch_is_masked():
    module = Model(mask_ratio=0.01, decoder_width=8, decoder_depth=1, **SMALL)
    _, feats = jax.jit(lambda: module.init_with_output(
        {'params': KEY, 'dropout': KEY}, IMAGE[:, :4, :4], train=True))()[0]
    np.testing.assert_array_equal(feats['hidden'].mean((1, 2)), [0.25, 0.25])
    jax.eval_shape(lambda: module.init(KEY, IMAGE[:, :4, :4], train=False))
