"""Segmentation losses by hand, and their values and gradients in extreme cases."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.losses.segmentation import TERMS, segmentation_inputs, weighted_sum

rng = np.random.default_rng(0)


def case(classes=3, shape=(8, 8), batch=2, scale=2.0):
    logits = rng.normal(size=(batch, *shape, classes)).astype(np.float32) * scale
    return jnp.asarray(logits), jnp.asarray(rng.integers(0, max(classes, 2), (batch, *shape)))


def logits_of(probs):
    return jnp.log(jnp.asarray(probs, jnp.float32))


# Two voxels, two classes; the true classes are 1 and 0; the probabilities of class 1 are 0.8 and 0.4.
GOLDEN = logits_of([[[0.2, 0.8], [0.6, 0.4]]]), jnp.array([[1, 0]])


@pytest.mark.parametrize('name, options, value', [
    ('cross_entropy', {}, -(np.log(0.8) + np.log(0.6)) / 2),
    ('cross_entropy', {'class_weight': (1.0, 3.0)}, -(3 * np.log(0.8) + np.log(0.6)) / 4),
    ('soft_dice', {}, 1 - 2 * 0.8 / (1.2 + 1)),
    ('soft_dice', {'squared': True}, 1 - 2 * 0.8 / (0.64 + 0.16 + 1)),
    ('generalised_dice', {}, 1 - 2 * 0.8 / (1.2 + 1)),
    ('tversky', {'alpha': 0.3, 'beta': 0.7}, 1 - 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2)),
    ('focal_tversky', {'gamma': 2.0}, np.sqrt(1 - 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2))),
    ('focal', {'gamma': 2.0}, -(0.2**2 * np.log(0.8) + 0.4**2 * np.log(0.6)) / 2),
])
def test_losses_by_hand(name, options, value):
    np.testing.assert_allclose(weighted_sum(*GOLDEN, {name: {'weight': 2.0, **options}})[0], 2 * value, rtol=2e-4)


def test_sigmoid_is_binary_cross_entropy():
    logit, label = jnp.array([[[0.7], [-1.2]]]), jnp.array([[1, 0]])
    p = 1 / (1 + np.exp(-np.array([0.7, -1.2])))
    want = -(np.log(p[0]) + np.log(1 - p[1])) / 2
    np.testing.assert_allclose(weighted_sum(logit, label, {'cross_entropy': 1})[0], want, rtol=1e-6)
    two = jnp.concatenate([logit * 0, logit], -1)
    for name in TERMS:
        one = weighted_sum(logit, label, {name: 1})
        np.testing.assert_allclose(one, weighted_sum(two, label, {name: 1}), rtol=1e-5, err_msg=name)


def test_include_background():
    loss = weighted_sum(*GOLDEN, {'soft_dice': 1}, include_background=True)[0]
    np.testing.assert_allclose(loss, ((1 - 1.6 / 2.2) + (1 - 2 * 0.6 / (0.8 + 1))) / 2, rtol=1e-4)


@pytest.mark.parametrize('name', TERMS)
@pytest.mark.parametrize('shape', [(8, 8), (6, 5, 4)])
def test_ignored_voxels_have_no_effect(name, shape):
    logits, label = case(shape=shape)
    label = label.at[:, :2].set(255)
    other = logits.at[:, :2].add(5.0)
    loss = lambda x: weighted_sum(x, label, {name: 1}, ignore=255)
    np.testing.assert_allclose(loss(logits), loss(other), rtol=1e-5)
    gradient = jax.grad(lambda x: loss(x).sum())(logits)
    assert (gradient[:, :2] == 0).all() and (gradient[:, 2:] != 0).any()


EXTREME = {
    'empty class': (case()[0], jnp.zeros((2, 8, 8), int)),
    'one class only': (case()[0], jnp.ones((2, 8, 8), int)),
    'all ignored': (case()[0], jnp.full((2, 8, 8), 255)),
    'large logits': (case(scale=1e4)[0], case()[1]),
    'confident and correct': (1e4 * jax.nn.one_hot(case()[1] * 0 + 1, 3), case()[1] * 0 + 1),
    'confident and wrong': (1e4 * jax.nn.one_hot(case()[1] * 0 + 1, 3), case()[1] * 0 + 2),
    'bfloat16': (case()[0].astype(jnp.bfloat16), case()[1]),
    'one logit': (case(1)[0] * 1e4, case(1)[1]),
    '3D': case(shape=(5, 4, 3)),
}


@pytest.mark.parametrize('name', TERMS)
@pytest.mark.parametrize('which', EXTREME)
def test_value_and_gradient_are_finite(name, which):
    logits, label = EXTREME[which]
    loss = jax.value_and_grad(lambda x: weighted_sum(x, label, {name: 1}, ignore=255).sum())
    value, gradient = loss(logits)
    assert value.dtype == jnp.float32 and np.isfinite(value) and np.isfinite(gradient.astype(np.float32)).all()


@pytest.mark.parametrize('name', sorted(set(TERMS) - {'boundary'}))
def test_the_truth_has_the_lowest_loss_and_examples_are_independent(name):
    logits, label = case()
    correct = 20.0 * jax.nn.one_hot(label, 3)
    both, second = weighted_sum(logits, label, {name: 1}), weighted_sum(logits[1:], label[1:], {name: 1})
    assert (weighted_sum(correct, label, {name: 1}) < 0.02).all() and (both > 0.1).all()
    np.testing.assert_allclose(second[0], both[1], rtol=1e-5)


@pytest.mark.parametrize('shape', [(9, 12), (6, 7, 5)])
def test_the_boundary_loss_is_probability_times_the_exact_distance(shape):
    label = np.zeros((1, *shape), int)
    label[0, 2:5, 3:6] = 1
    logits = case(2, shape, 1)[0]
    inside = label[0] == 1
    distance = np.where(inside, -ndimage.distance_transform_edt(inside) + 1, ndimage.distance_transform_edt(~inside))
    want = (np.asarray(jax.nn.softmax(logits))[0, ..., 1] * distance).mean()
    np.testing.assert_allclose(weighted_sum(logits, jnp.asarray(label), {'boundary': 1})[0], want, rtol=1e-5)


def test_the_skeleton_of_a_tube_is_its_centreline():
    tube = np.zeros((1, 20, 9, 1), np.float32)
    tube[0, 2:18, 2:7] = 1  # five voxels wide: the centreline is row 4
    skeleton = np.asarray(segmentation._skeleton(jnp.asarray(tube), 5))[0, ..., 0]
    assert (skeleton[5:15, 4] > 0.5).all() and (skeleton[5:15, [2, 3, 5, 6]] < 0.5).all()


def test_terms_are_added_and_share_a_softmax():
    logits, label = case()
    parts = [weighted_sum(logits, label, {name: 1}) for name in ('cross_entropy', 'soft_dice')]
    got = weighted_sum(logits, label, {'cross_entropy': 1, 'soft_dice': 0.5})
    np.testing.assert_allclose(got, parts[0] + 0.5 * parts[1], rtol=1e-6)
    terms = {'cross_entropy': 1, 'soft_dice': 1, 'focal': 1}
    text = str(jax.make_jaxpr(lambda x: weighted_sum(x, label, terms))(logits))
    assert text.count('reduce_max') == 1  # one log-softmax


@pytest.mark.parametrize('terms, message', [
    ({'dice': 1}, "config.task.loss: 'dice' is not known"),
    ({'focal': {'gama': 1}},
     'config.task.loss.focal.gama: unknown key; config.task.loss.focal takes: weight, gamma'),
    ({'cross_entropy': {'class_weight': (1, 1)}}, r'cross_entropy.class_weight: \(1, 1\); expected 3 weights'),
    ({'cross_entropy': {'class_weight': (1, 1, -1)}}, 'expected a list of numbers of at least 0')])
def test_unknown_terms_and_options_raise(terms, message):
    with pytest.raises(InputError, match=message):
        weighted_sum(*case(), terms)


def test_probabilities_of_bfloat16_logits_are_float32():
    assert segmentation_inputs(case()[0].astype(jnp.bfloat16), case()[1]).probs.dtype == jnp.float32
