import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.stats

from medjax.errors import InputError
from medjax.tasks.classification import saliency


def forward_of(module, variables):
    """What an evaluator injects: the features' perturbations go where flax looks for them."""
    def forward(image, perturbations):
        added = {'perturbations': perturbations} if perturbations else {}
        return module.apply({**variables, **added}, image)
    return forward


def explained(method, forward, image, target, **options):
    """A method's maps, compiled as one program: op by op most of the time goes to compiling ops."""
    return jax.jit(functools.partial(saliency.METHODS[method], forward, **options))(image, target)


class Cnn(nn.Module):
    """Two layers of ReLUs and a mean over places; features on two grids, and one without places."""

    classes: int = 3
    dims: int = 2

    @nn.compact
    def __call__(self, x):
        feats = {}
        for name, features, stride in (('z_first', 4, 1), ('a_second', 6, 2)):
            biased = dict(bias_init=nn.initializers.normal())
            x = nn.relu(nn.Conv(features, (3,) * self.dims, (stride,) * self.dims, **biased)(x))
            feats[name] = x = self.perturb(name, x)
        feats['pooled'] = x = self.perturb('pooled', x.mean(tuple(range(1, x.ndim - 1))))
        return nn.Dense(self.classes)(x), feats


class Spot(nn.Module):
    """A detector with weights set by hand: the logit of class 1 is how many bright places the picture has."""

    @nn.compact
    def __call__(self, x):
        bright = self.perturb('bright', nn.relu(x - 0.5))
        pooled = self.perturb('coarse', nn.avg_pool(bright, (2,) * (x.ndim - 2), (2,) * (x.ndim - 2)))
        count = pooled.sum(tuple(range(1, x.ndim)))
        return jnp.stack([-count, count], -1), {'bright': bright, 'coarse': pooled}


@functools.cache
def random_cnn(dims=2, size=8):
    module, key = Cnn(dims=dims), jax.random.key(dims)
    image = np.random.default_rng(0).normal(size=(2, *(size,) * dims, 2)).astype(np.float32)
    return module, {'params': jax.jit(module.init)(key, image)['params']}, image, jnp.array([2, 0])


def with_spot(dims=2, size=16, at=5, width=2):
    """Nearly black images with a bright square or cube, and its place."""
    where = np.zeros((size,) * dims, bool)
    where[(slice(at, at + width),) * dims] = True
    noise = np.random.default_rng(0).random((1, *where.shape, 1), np.float32) * 0.3
    return jnp.asarray(np.where(where[..., None], 1.0, noise), jnp.float32), where


# Gradient, occlusion and class activation maps have each a value that can be worked out where the network is linear.

IMAGE, WEIGHTS = np.random.default_rng(1).normal(size=(2, 2, 6, 5, 2)).astype(np.float32)


def linear(image, perturbations):
    del perturbations
    return jnp.stack([(image * w).sum((1, 2, 3)) for w in WEIGHTS], 1) + 3.0, {}


def test_integrated_gradients_of_a_linear_model_are_weights_times_the_way():
    got = explained('integrated_gradients', linear, IMAGE, jnp.array([1, 0]), baseline=0.25)
    np.testing.assert_allclose(got, (WEIGHTS[[1, 0]] * (IMAGE - 0.25)).sum(-1), atol=1e-4)


def test_smooth_gradients_of_a_linear_model_are_its_weights_sizes():
    got = explained('smooth_grad', linear, IMAGE, jnp.array([0, 1]), samples=3)
    np.testing.assert_allclose(got, np.abs(WEIGHTS).sum(-1), rtol=1e-5)


def test_occlusion_of_a_linear_model_is_the_windows_sum_averaged_over_the_windows_there():
    got = explained('occlusion', linear, IMAGE, jnp.array([1, 1]), window=(4, 5), stride=(2, 5), fill=0.0)[0]
    first, second = ((WEIGHTS[1] * IMAGE[0])[rows].sum() for rows in (slice(0, 4), slice(2, 6)))
    want = np.repeat([first, first, (first + second) / 2, (first + second) / 2, second, second], 5).reshape(6, 5)
    np.testing.assert_allclose(got, want, rtol=1e-4, atol=1e-5)


def test_a_single_logit_speaks_for_class_1_and_against_class_0():
    one = lambda image, _: (linear(image, {})[0][:, :1], {})
    got = explained('integrated_gradients', one, IMAGE, jnp.array([1, 0]))
    np.testing.assert_allclose(got, (WEIGHTS[0] * IMAGE).sum(-1) * np.array([1, -1])[:, None, None], atol=1e-4)


@pytest.mark.parametrize('dims', [2, 3])
def test_integrated_gradients_are_complete_to_1e_3(dims):
    module, variables, image, target = random_cnn(dims, size=8 if dims == 2 else 4)
    steep = jax.tree.map(lambda x: 8 * x, variables)  # logits that differ by much more than 1e-3, and kinks on the way
    forward = jax.jit(forward_of(module, steep))
    maps = explained('integrated_gradients', forward, image, target)
    change = np.take_along_axis(np.asarray(forward(image, {})[0] - forward(0 * image, {})[0]), target[:, None], 1)[:, 0]
    missed = np.abs(np.asarray(maps).sum(tuple(range(1, dims + 1))) - change)
    assert maps.shape == image.shape[:-1] and np.abs(change).min() > 0.2
    assert (missed <= 1e-3 * np.maximum(np.abs(change), 1)).all()
    # Few points do not get there, and that is told.
    rough = explained('integrated_gradients', forward, image, target, most=12)
    told = [saliency.completeness(forward, image, target, m) for m in (maps, rough)]
    np.testing.assert_allclose(told[0], missed, atol=1e-4)
    assert told[1].max() > 1e-3 * np.abs(change).max()


def test_integrated_gradients_are_the_midpoint_rules_at_any_refinement():
    steep = lambda image, _: ((image**4).sum((1, 2, 3))[:, None], {})
    image = jnp.full((1, 2, 2, 1), 2.0)
    for points in (12, 36, 108):
        got = explained('integrated_gradients', steep, image, jnp.array([1]), tolerance=0.0, most=points)
        middle = (np.arange(points) + 0.5) / points
        np.testing.assert_allclose(got, np.full((1, 2, 2), (4 * (2 * middle) ** 3).mean() * 2), rtol=1e-5)


def test_grad_cam_is_the_weighted_sum_by_hand():
    module, variables, image, target = random_cnn()
    forward = forward_of(module, variables)
    feature = np.asarray(forward(image, {})[1]['a_second'])
    # A mean over 16 places and a dense layer: the gradient is that layer's weight over 16, everywhere.
    weights = np.asarray(variables['params']['Dense_0']['kernel'])[:, target].T / 16
    cam = np.maximum((feature * weights[:, None, None]).sum(-1), 0)
    want = jax.image.resize(cam, image.shape[:-1], 'linear')
    np.testing.assert_allclose(explained('grad_cam', forward, image, target), want, atol=1e-6)
    np.testing.assert_allclose(explained('grad_cam', forward, image, target, layer='a_second'), want, atol=1e-6)
    # Of Grad-CAM++ the weights are those of Chattopadhay's equation 19, with the positive gradients alone.
    share = 1 / (2 + feature.sum((1, 2), keepdims=True) * weights[:, None, None])
    plus = np.broadcast_to(share * np.maximum(weights, 0)[:, None, None], feature.shape).sum((1, 2), keepdims=True)
    want = jax.image.resize(np.maximum((feature * plus).sum(-1), 0), image.shape[:-1], 'linear')
    np.testing.assert_allclose(explained('grad_cam_pp', forward, image, target), want, rtol=1e-4, atol=1e-6)


def test_a_finer_layer_is_taken_where_it_is_named_and_another_is_refused():
    forward = forward_of(Spot(), {})
    image, _ = with_spot()
    target = jnp.array([1])
    fine, coarse = (explained('grad_cam', forward, image, target, layer=layer) for layer in ('bright', ''))
    assert (np.asarray(fine) > 0).sum() == 4 < (np.asarray(coarse) > 0).sum()
    module, variables, image, target = random_cnn()
    with pytest.raises(InputError, match="'pooled'.*z_first, a_second$"):
        saliency.grad_cam(forward_of(module, variables), image, target, layer='pooled')
    volume = attending(np.zeros((1, 1, 1, 9, 9), np.float32), (2, 2, 2))  # with as many axes as a volume's feature
    with pytest.raises(InputError, match="'attention'.*several places are: tokens$"):
        saliency.grad_cam(volume, jnp.zeros((1, 4, 4, 4, 1)), target[:1], layer='attention')
    with pytest.raises(InputError, match='none$'):
        saliency.grad_cam(linear, IMAGE, target)


@pytest.mark.parametrize('dims', [2, 3])
@pytest.mark.parametrize('method', [name for name in saliency.METHODS if name != 'attention_rollout'])
def test_maps_peak_where_the_one_filter_fires(method, dims):
    image, where = with_spot(dims, size=16 if dims == 2 else 14, at=6)
    maps = np.asarray(explained(method, forward_of(Spot(), {}), image, jnp.array([1])))
    assert maps.shape == image.shape[:-1] and maps.dtype == np.float32
    assert where[np.unravel_index(maps[0].argmax(), where.shape)]
    assert maps[0][where].mean() > 4 * np.abs(maps[0][~where]).mean()


def test_a_map_is_of_the_class_asked_about():
    image, where = with_spot()
    two = jnp.concatenate([image, image])
    forward = forward_of(Spot(), {})
    for method in ('integrated_gradients', 'occlusion'):
        against, speaks = explained(method, forward, two, jnp.array([0, 1]))
        np.testing.assert_allclose(against, -speaks, atol=1e-6)
    assert not np.asarray(explained('grad_cam', forward, two, jnp.array([0, 1])))[0].any()


def attending(attention, grid):
    return lambda image, _: (jnp.zeros((len(image), 2)), {
        'attention': jnp.asarray(attention), 'tokens': jnp.zeros((len(image), *grid, 8))})


def test_attention_rollout_is_the_product_of_the_layers_by_hand():
    rng = np.random.default_rng(0)
    attention = rng.random((2, 3, 4, 7, 7)).astype(np.float32)
    attention /= attention.sum(-1, keepdims=True)
    got = explained('attention_rollout', attending(attention, (2, 3)), jnp.zeros((2, 2, 3, 1)), jnp.array([0, 1]))
    first, second, third = ((attention[:, i].mean(1) + np.eye(7)) / 2 for i in range(3))
    np.testing.assert_allclose(got, (third @ second @ first)[:, 0, 1:].reshape(2, 2, 3), rtol=1e-5)


def test_attention_to_one_patch_is_seen_there_in_3d():
    attention = np.zeros((1, 1, 1, 9, 9), np.float32)
    attention[..., 6] = 1.0  # the fifth patch of 2 × 2 × 2: the second half of the first axis
    maps = explained('attention_rollout', attending(attention, (2, 2, 2)), jnp.zeros((1, 8, 8, 8, 1)), jnp.array([0]))
    assert np.unravel_index(maps[0].argmax(), (8, 8, 8))[0] >= 4
    assert float(maps[0, 7, 0, 7]) == pytest.approx(0.5)


def test_a_network_without_attention_has_no_rollout():
    module, variables, image, target = random_cnn()
    with pytest.raises(InputError, match="expected 'attention' and 'tokens'"):
        saliency.attention_rollout(forward_of(module, variables), image, target)
    with pytest.raises(InputError, match='class token'):
        saliency.attention_rollout(attending(np.zeros((1, 1, 1, 4, 4)), (2, 2)), image, target)


def test_deletion_and_insertion_by_hand():
    def brightness(image):
        share = image.mean((1, 2, 3))
        return jnp.stack([1 - share, share], -1)

    image = jnp.zeros((1, 2, 2, 1)).at[0, 0, 0, 0].set(1.0)
    target, order = jnp.array([1]), jnp.array([[[4.0, 3.0], [2.0, 1.0]]])
    got = jax.jit(functools.partial(saliency.deletion_insertion, brightness, steps=4))(image, target, order)
    # Places go to the mean, 1/4: what is left of the sum is 1, then 1/4 for the bright one and 1/4 more with each.
    deleted = np.array([1, 0.25, 0.5, 0.75, 1]) / 4
    assert float(got['deletion'][0]) == pytest.approx(np.trapezoid(deleted, dx=0.25))
    # The blurred image is flat at the mean, and the bright place comes first.
    inserted = np.array([1, 1.75, 1.5, 1.25, 1]) / 4
    assert float(got['insertion'][0]) == pytest.approx(np.trapezoid(inserted, dx=0.25))


def test_the_right_places_first_delete_faster_and_insert_faster_than_random_ones():
    module, (image, where) = Spot(), with_spot(size=32, at=10, width=4)
    probability = lambda x: jax.nn.softmax(module.apply({}, x)[0])
    orders = np.concatenate([where[None], np.random.default_rng(0).random((5, *where.shape))]).astype(np.float32)
    images, target = np.repeat(image, 6, 0), jnp.ones(6, int)
    areas = jax.jit(functools.partial(saliency.deletion_insertion, probability))(images, target, orders)
    (right, *random), (early, *late) = np.asarray(areas['deletion']), np.asarray(areas['insertion'])
    assert right < min(random) - 0.1 and early > max(late) + 0.01


def test_random_weights_change_a_map_that_depends_on_weights_and_not_one_that_does_not():
    module, variables, image, target = random_cnn()
    mixed = jax.jit(saliency.randomised)({**variables, 'batch_stats': {'mean': jnp.arange(3.0)}}, jax.random.key(1))
    for before, after in zip(jax.tree.leaves(variables['params']), jax.tree.leaves(mixed['params']), strict=True):
        assert before.shape == after.shape
        np.testing.assert_array_equal(np.sort(before, None), np.sort(after, None))
    assert not np.allclose(variables['params']['Conv_0']['kernel'], mixed['params']['Conv_0']['kernel'])
    np.testing.assert_array_equal(mixed['batch_stats']['mean'], np.arange(3.0))
    trained, random = (explained('occlusion', forward_of(module, v), image, target) for v in (variables, {
        'params': mixed['params']}))
    assert (np.abs(jax.jit(saliency.similarity)(trained, random)) < 0.7).all()
    edges = np.abs(np.roll(image[..., 0], 1, 1) - image[..., 0])  # an edge detector asks no network
    np.testing.assert_allclose(jax.jit(saliency.similarity)(edges, edges), 1.0, rtol=1e-5)


def test_the_tests_of_a_methods_maps_are_those_by_themselves():
    module, variables, image, target = random_cnn()
    features = lambda v, x, added: forward_of(module, v)(x, added)
    probability = lambda v, x: jax.nn.softmax(module.apply(v, x)[0])
    maps, key = explained('grad_cam', forward_of(module, variables), image, target), jax.random.key(3)
    got = jax.jit(functools.partial(saliency.tests, saliency.grad_cam, features, probability))(
        variables, image, target, maps, key)
    random = explained('grad_cam', forward_of(module, jax.jit(saliency.randomised)(variables, key)), image, target)
    areas = functools.partial(saliency.deletion_insertion, functools.partial(probability, variables))
    want = jax.jit(areas)(image, target, maps)
    np.testing.assert_allclose(got['similarity'], jax.jit(saliency.similarity)(maps, random), atol=1e-5)
    np.testing.assert_allclose(got['deletion'], want['deletion'], atol=1e-5)
    np.testing.assert_allclose(got['insertion'], want['insertion'], atol=1e-5)
    assert np.isnan(got['incomplete']).all()


def test_the_tests_of_a_single_logit_are_of_the_positive_class():
    forward = lambda _, image, __: (linear(image, {})[0][:, :1], {})
    label = lambda _, image: jax.nn.sigmoid(forward(None, image, {})[0])
    both = lambda _, image: jnp.concatenate([1 - label(None, image), label(None, image)], 1)
    target, maps = jnp.array([1, 1]), (WEIGHTS[0] * IMAGE).sum(-1)
    one, two = (jax.jit(functools.partial(saliency.tests, saliency.integrated_gradients, forward, probability))(
        {'params': {}}, IMAGE, target, maps + 0.5, jax.random.key(0)) for probability in (label, both))
    for name in ('deletion', 'insertion'):
        assert np.isfinite(one[name]).all()
        np.testing.assert_allclose(one[name], two[name], rtol=1e-5)
    np.testing.assert_allclose(one['incomplete'], 0.5 * maps[0].size, rtol=1e-3)  # as much as was added


def test_similarity_is_spearmans_with_ties():
    rng = np.random.default_rng(0)
    one, other = rng.integers(0, 5, (2, 3, 6, 7)).astype(np.float32)  # few values: many ties
    want = [scipy.stats.spearmanr(a.ravel(), b.ravel()).statistic for a, b in zip(one, other)]
    similarity = jax.jit(saliency.similarity)
    np.testing.assert_allclose(similarity(one, other), want, atol=1e-6)
    np.testing.assert_allclose(similarity(one, -one), -1.0, rtol=1e-5)
    assert np.isnan(similarity(np.zeros_like(one), one)).all()
