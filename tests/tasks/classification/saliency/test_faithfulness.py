"""Deletion and insertion, random weights and rank correlation."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from medjax.tasks.classification.saliency.activation_maps import grad_cam
from medjax.tasks.classification.saliency.faithfulness import (
    deletion_insertion,
    evaluate_maps,
    randomise_weights,
    rank_correlation,
)
from medjax.tasks.classification.saliency.gradients import integrated_gradients
from tests.tasks.classification.saliency.networks import (
    IMAGE,
    WEIGHTS,
    Spot,
    explained,
    forward_of,
    linear,
    random_cnn,
    with_spot,
)


def test_deletion_and_insertion_by_hand():
    def brightness(image):
        share = image.mean((1, 2, 3))
        return jnp.stack([1 - share, share], -1)

    image = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0, 0].set(1.0)
    target, order = jnp.array([1]), jnp.array([[[4.0, 3.0], [2.0, 1.0]]])
    got = jax.jit(functools.partial(deletion_insertion, brightness, steps=4))(image, target, order)
    # Places go to the mean, 1/4: what is left of the sum is 1, then 1/4 for the bright one and 1/4 more with each.
    deleted = np.array([1, 0.25, 0.5, 0.75, 1]) / 4
    assert float(got['deletion'][0]) == pytest.approx(np.trapezoid(deleted, dx=0.25))
    # The blurred image is flat at the mean, and the bright place comes first.
    inserted = np.array([1, 1.75, 1.5, 1.25, 1]) / 4
    assert float(got['insertion'][0]) == pytest.approx(np.trapezoid(inserted, dx=0.25))


def test_relevant_voxels_first_change_the_score_faster_than_random_ones():
    module, (image, where) = Spot(), with_spot(size=32, at=10, width=4)
    probability = lambda x: jax.nn.softmax(module.apply({}, x)[0])
    orders = np.concatenate([where[None], np.random.default_rng(0).random((5, *where.shape))]).astype(np.float32)
    images, target = np.repeat(image, 6, 0), jnp.ones(6, int)
    areas = jax.jit(functools.partial(deletion_insertion, probability))(images, target, orders)
    (right, *random), (early, *late) = np.asarray(areas['deletion']), np.asarray(areas['insertion'])
    assert right < min(random) - 0.1 and early > max(late) + 0.01


def test_random_weights_change_a_map_that_depends_on_weights_and_not_one_that_does_not():
    module, variables, image, target = random_cnn()
    mixed = jax.jit(randomise_weights)({**variables, 'batch_stats': {'mean': jnp.arange(3.0)}}, jax.random.key(1))
    for before, after in zip(jax.tree.leaves(variables['params']), jax.tree.leaves(mixed['params']), strict=True):
        assert before.shape == after.shape
        np.testing.assert_array_equal(np.sort(before, None), np.sort(after, None))
    assert not np.allclose(variables['params']['Conv_0']['kernel'], mixed['params']['Conv_0']['kernel'])
    np.testing.assert_array_equal(mixed['batch_stats']['mean'], np.arange(3.0))
    trained, random = (explained('occlusion', forward_of(module, v), image, target) for v in (variables, {
        'params': mixed['params']}))
    assert (np.abs(jax.jit(rank_correlation)(trained, random)) < 0.7).all()
    edges = np.abs(np.roll(image[..., 0], 1, 1) - image[..., 0])  # an edge detector asks no network
    np.testing.assert_allclose(jax.jit(rank_correlation)(edges, edges), 1.0, rtol=1e-5)


def test_tests_of_several_maps_equal_those_of_each_map():
    module, variables, image, target = random_cnn()
    features = lambda v, x, added: forward_of(module, v)(x, added)
    probability = lambda v, x: jax.nn.softmax(module.apply(v, x)[0])
    maps, key = explained('grad_cam', forward_of(module, variables), image, target), jax.random.key(3)
    got = jax.jit(functools.partial(evaluate_maps, grad_cam, features, probability))(
        variables, image, target, maps, key)
    random = explained('grad_cam', forward_of(module, jax.jit(randomise_weights)(variables, key)), image, target)
    areas = functools.partial(deletion_insertion, functools.partial(probability, variables))
    want = jax.jit(areas)(image, target, maps)
    np.testing.assert_allclose(got['similarity'], jax.jit(rank_correlation)(maps, random), atol=1e-5)
    np.testing.assert_allclose(got['deletion'], want['deletion'], atol=1e-5)
    np.testing.assert_allclose(got['insertion'], want['insertion'], atol=1e-5)
    assert np.isnan(got['incomplete']).all()


def test_the_tests_of_a_single_logit_are_of_the_positive_class():
    forward = lambda _, image, __: (linear(image, {})[0][:, :1], {})
    label = lambda _, image: jax.nn.sigmoid(forward(None, image, {})[0])
    both = lambda _, image: jnp.concatenate([1 - label(None, image), label(None, image)], 1)
    target, maps = jnp.array([1, 1]), (WEIGHTS[0] * IMAGE).sum(-1)
    one, two = (jax.jit(functools.partial(evaluate_maps, integrated_gradients, forward, probability))(
        {'params': {}}, IMAGE, target, maps + 0.5, jax.random.key(0)) for probability in (label, both))
    for name in ('deletion', 'insertion'):
        assert np.isfinite(one[name]).all()
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
    np.testing.assert_allclose(one['incomplete'], 0.5 * maps[0].size, rtol=1e-3)  # as much as was added


def test_similarity_is_spearmans_with_ties():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, (2, 3, 6, 7)).astype(np.float32)  # few values: many ties
    want = [scipy.stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other)]
    similarity = jax.jit(rank_correlation)
    np.testing.assert_allclose(similarity(one, other), want, atol=1e-6)
    np.testing.assert_allclose(similarity(one, -one), -1.0, rtol=1e-5)
    assert np.isnan(similarity(np.zeros_like(one), one)).all()
