import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import ndimage

from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.losses.segmentation import TERMS, total, voxels

rng = np.random.default_rng(0)


def case(classes=3, shape=(8, 8), batch=2, scale=2.0):
    logits = rng.normal(size=(batch, *shape, classes)).astype(np.float32) * scale
    return jnp.asarray(logits), jnp.asarray(rng.integers(0, max(classes, 2), (batch, *shape)))


def logits_of(probs):
    return jnp.log(jnp.asarray(probs, jnp.float32))


# Two voxels, two classes; the truth is class 1, then class 0; class 1 has probabilities .8 and .4.
GOLDEN = logits_of([[[0.2, 0.8], [0.6, 0.4]]]), jnp.array([[1, 0]])


@pytest.mark.parametrize('name, options, value', [
    ('cross_entropy', {}, -(np.log(0.8) + np.log(0.6)) / 2),
    ('cross_entropy', {'classes': (1.0, 3.0)}, -(3 * np.log(0.8) + np.log(0.6)) / 4),
    ('soft_dice', {}, 1 - 2 * 0.8 / (1.2 + 1)),
    ('soft_dice', {'squared': True}, 1 - 2 * 0.8 / (0.64 + 0.16 + 1)),
    ('generalised_dice', {}, 1 - 2 * 0.8 / (1.2 + 1)),
    ('tversky', {'alpha': 0.3, 'beta': 0.7}, 1 - 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2)),
    ('focal_tversky', {'gamma': 2.0}, np.sqrt(1 - 0.8 / (0.8 + 0.3 * 0.4 + 0.7 * 0.2))),
    ('focal', {'gamma': 2.0}, -(0.2**2 * np.log(0.8) + 0.4**2 * np.log(0.6)) / 2),
])
def test_goldens_by_hand(name, options, value):
    np.testing.assert_allclose(total(*GOLDEN, {name: {'weight': 2.0, **options}})[0], 2 * value, rtol=2e-4)


def test_sigmoid_is_binary_cross_entropy():
    logit, label = jnp.array([[[0.7], [-1.2]]]), jnp.array([[1, 0]])
    p = 1 / (1 + np.exp(-np.array([0.7, -1.2])))
    want = -(np.log(p[0]) + np.log(1 - p[1])) / 2
    np.testing.assert_allclose(total(logit, label, {'cross_entropy': 1})[0], want, rtol=1e-6)
    two = jnp.concatenate([logit * 0, logit], -1)
    for name in TERMS:
        one = total(logit, label, {name: 1})
        np.testing.assert_allclose(one, total(two, label, {name: 1}), rtol=1e-5, err_msg=name)


def test_background_counts_where_asked_for():
    with_ = total(*GOLDEN, {'soft_dice': 1}, include_background=True)[0]
    np.testing.assert_allclose(with_, ((1 - 1.6 / 2.2) + (1 - 2 * 0.6 / (0.8 + 1))) / 2, rtol=1e-4)


@pytest.mark.parametrize('name', TERMS)
@pytest.mark.parametrize('shape', [(8, 8), (6, 5, 4)])
def test_ignored_voxels_count_nowhere(name, shape):
    logits, label = case(shape=shape)
    label = label.at[:, :2].set(255)
    other = logits.at[:, :2].add(5.0)
    loss = lambda x: total(x, label, {name: 1}, ignore=255)
    np.testing.assert_allclose(loss(logits), loss(other), rtol=1e-5)
    slope = jax.grad(lambda x: loss(x).sum())(logits)
    assert (slope[:, :2] == 0).all() and (slope[:, 2:] != 0).any()


EXTREME = {
    'empty class': (case()[0], jnp.zeros((2, 8, 8), int)),
    'one class alone': (case()[0], jnp.ones((2, 8, 8), int)),
    'all ignored': (case()[0], jnp.full((2, 8, 8), 255)),
    'large logits': (case(scale=1e4)[0], case()[1]),
    'sure and right': (1e4 * jax.nn.one_hot(case()[1] * 0 + 1, 3), case()[1] * 0 + 1),
    'sure and wrong': (1e4 * jax.nn.one_hot(case()[1] * 0 + 1, 3), case()[1] * 0 + 2),
    'bfloat16': (case()[0].astype(jnp.bfloat16), case()[1]),
    'one logit': (case(1)[0] * 1e4, case(1)[1]),
    '3D': case(shape=(5, 4, 3)),
}


@pytest.mark.parametrize('name', TERMS)
@pytest.mark.parametrize('which', EXTREME)
def test_value_and_gradient_are_finite(name, which):
    logits, label = EXTREME[which]
    value, slope = jax.value_and_grad(lambda x: total(x, label, {name: 1}, ignore=255).sum())(logits)
    assert value.dtype == jnp.float32 and np.isfinite(value) and np.isfinite(slope.astype(np.float32)).all()


@pytest.mark.parametrize('name', sorted(set(TERMS) - {'boundary'}))
def test_truth_costs_least_and_each_example_counts_alone(name):
    logits, label = case()
    right = 20.0 * jax.nn.one_hot(label, 3)
    both, second = total(logits, label, {name: 1}), total(logits[1:], label[1:], {name: 1})
    assert (total(right, label, {name: 1}) < 0.02).all() and (both > 0.1).all()
    np.testing.assert_allclose(second[0], both[1], rtol=1e-5)


@pytest.mark.parametrize('shape', [(9, 12), (6, 7, 5)])
def test_boundary_is_probability_times_the_exact_distance(shape):
    label = np.zeros((1, *shape), int)
    label[0, 2:5, 3:6] = 1
    logits = case(2, shape, 1)[0]
    inside = label[0] == 1
    distance = np.where(inside, -ndimage.distance_transform_edt(inside) + 1, ndimage.distance_transform_edt(~inside))
    want = (np.asarray(jax.nn.softmax(logits))[0, ..., 1] * distance).mean()
    np.testing.assert_allclose(total(logits, jnp.asarray(label), {'boundary': 1})[0], want, rtol=1e-5)


def test_the_skeleton_of_a_tube_is_its_middle():
    tube = np.zeros((1, 20, 9, 1), np.float32)
    tube[0, 2:18, 2:7] = 1  # five wide: the middle is row 4
    lines = np.asarray(segmentation._skeleton(jnp.asarray(tube), 5))[0, ..., 0]
    assert (lines[5:15, 4] > 0.5).all() and (lines[5:15, [2, 3, 5, 6]] < 0.5).all()


def test_terms_share_a_softmax_and_add_up():
    logits, label = case()
    parts = [total(logits, label, {name: 1}) for name in ('cross_entropy', 'soft_dice')]
    got = total(logits, label, {'cross_entropy': 1, 'soft_dice': 0.5})
    np.testing.assert_allclose(got, parts[0] + 0.5 * parts[1], rtol=1e-6)
    text = str(jax.make_jaxpr(lambda x: total(x, label, {'cross_entropy': 1, 'soft_dice': 1, 'focal': 1}))(logits))
    assert text.count('reduce_max') == 1  # one log-softmax


@pytest.mark.parametrize('terms, message', [
    ({'dice': 1}, "config.task.loss: 'dice' is not known"),
    ({'focal': {'gama': 1}}, 'config.task.loss.focal.gama: nothing reads this key; expected: weight, gamma'),
    ({'cross_entropy': {'classes': (1, 1)}}, r'cross_entropy.classes: \(1, 1\); expected 3 weights'),
    ({'cross_entropy': {'classes': (1, 1, -1)}}, 'none below zero')])
def test_unknown_terms_are_named(terms, message):
    with pytest.raises(InputError, match=message):
        total(*case(), terms)


def test_voxels_of_bfloat16_are_float32():
    assert voxels(case()[0].astype(jnp.bfloat16), case()[1]).probs.dtype == jnp.float32
