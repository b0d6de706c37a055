"""Classification's loss and metrics against hand counts, and that its networks learn."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import linen as nn

from medjax import build
from medjax.errors import InputError
from medjax.tasks.classification import task as classification_task


class Identity(nn.Module):
    """The image's values times one weight are the logits."""

    classes: int = 2

    @nn.compact
    def __call__(self, x, *, train):
        return x[:, 0, 0] * self.param('scale', nn.initializers.ones, ()), {}


def batch(logits, label, mask):
    return {'image': jnp.asarray(logits, jnp.float32)[:, None, None], 'label': jnp.asarray(label),
            'mask': jnp.asarray(mask, jnp.float32)}


def test_cross_entropy_and_accuracy_by_hand():
    task = classification_task.task(Identity(), statistics=dict(classes=('healthy', 'ill')))
    # Odds of 1 to 3 for the second class, right and wrong; the third is padding and would count infinitely.
    data = batch([[0, np.log(3)], [0, np.log(3)], [np.inf, -np.inf]], [1, 0, 1], [1, 1, 0])
    variables = task.init(jax.random.key(0), data)
    loss, (_, states) = task.loss(variables, data, jax.random.key(0))
    np.testing.assert_allclose(loss, (np.log(4 / 3) + np.log(4)) / 2, rtol=1e-6)
    assert states['accuracy'] == (1, 2)
    np.testing.assert_allclose(task.predict(variables, data)['probs'][:2], [[0.25, 0.75]] * 2, rtol=1e-6)


def stats(problem, classes, **more):
    return dict(statistics=dict(problem=problem, classes=classes, **more))


def each(problem, classes, logits, label, statistics=None, **options):
    """The loss of one example, and its probabilities."""
    outputs = len(logits)
    of_data = stats(problem, classes, **(statistics or {}))
    task = classification_task.task(Identity(classes=outputs), **of_data, **options)
    data = batch([logits], np.asarray([label]), [1])
    variables = task.init(jax.random.key(0), data)
    probs = task.predict(variables, data)['probs'][0]
    return float(task.loss(variables, data, jax.random.key(0))[0]), np.asarray(probs)


def test_one_logit_is_a_sigmoid_of_the_second_class():
    loss, probs = each('binary', 'ab', [np.log(3)], 1)
    np.testing.assert_allclose(probs, [0.25, 0.75], rtol=1e-6)
    np.testing.assert_allclose(loss, np.log(4 / 3), rtol=1e-6)


def test_labels_are_independent_and_unknown_ones_have_no_loss():
    loss, probs = each('multilabel', 'abc', [np.log(3), 0.0, 5.0], [1, 0, -1])
    np.testing.assert_allclose(probs[:2], [0.75, 0.5], rtol=1e-6)
    np.testing.assert_allclose(loss, (np.log(4 / 3) + np.log(2)) / 2, rtol=1e-6)


def test_an_unknown_label_has_no_gradient():
    task = classification_task.task(Identity(classes=2), **stats('multilabel', 'ab'))
    data = batch([[1.0, -1.0]], np.array([[-1, -1]]), [1])
    variables = task.init(jax.random.key(0), data)
    slope = jax.grad(lambda v: task.loss(v, data, jax.random.key(0))[0])(variables)
    assert float(slope['params']['scale']) == 0.0


def test_ordinal_classes_are_cumulative():
    # Odds of 1 and 3 for the steps: the first class with 1/2, the second with 1/2 · 1/4, the third with 1/2 · 3/4.
    for label, want in enumerate([0.5, 0.125, 0.375]):
        loss, probs = each('ordinal', 'abc', [0.0, np.log(3)], label)
        np.testing.assert_allclose(probs, [0.5, 0.125, 0.375], rtol=1e-6)
        np.testing.assert_allclose(loss, -np.log(want), rtol=1e-6)


def test_smoothing_weights_and_focal_by_hand():
    p = np.array([0.2, 0.3, 0.5])
    assert np.isclose(each('multiclass', 'abc', np.log(p), 2, label_smoothing=0.3)[0],
                      -(0.1 * np.log(p).sum() + 0.7 * np.log(0.5)), rtol=1e-6)
    assert np.isclose(each('multiclass', 'abc', np.log(p), 1, class_weight=(1, 4, 9))[0], -4 * np.log(0.3), rtol=1e-6)
    assert np.isclose(each('multiclass', 'abc', np.log(p), 1, focal_gamma=2.0)[0], -(0.7**2) * np.log(0.3), rtol=1e-5)


def test_balanced_weights_give_classes_equal_totals():
    counts = dict(positive=[30, 10], known=[40, 40])
    losses = [each('binary', 'ab', [0.0, 0.0], label, counts, class_weight='balanced')[0] for label in (0, 1)]
    np.testing.assert_allclose(30 * losses[0], 10 * losses[1], rtol=1e-6)
    np.testing.assert_allclose((30 * losses[0] + 10 * losses[1]) / 40, np.log(2), rtol=1e-6)
    # Of labels the positive cases weigh as all negative ones do; a class of one case in a thousand not more than 20.
    counts = dict(positive=[10, 1], known=[40, 1000])
    positive = [each('multilabel', 'ab', [0.0, 0.0], label, counts, class_weight='balanced')[0]
                for label in ([1, -1], [-1, 1])]
    np.testing.assert_allclose(positive, [3 * np.log(2), 20 * np.log(2)], rtol=1e-6)


@pytest.mark.parametrize('problem, logits, label, partner', [
    ('multiclass', [0.3, -0.2, 1.0], 2, 0), ('multilabel', [0.3, -0.2], [1, 0], [0, -1]),
    ('ordinal', [0.3, -0.2], 0, 2), ('binary', [0.7], 1, 0)])
def test_a_mixed_example_costs_its_shares(problem, logits, label, partner):
    classes = {'multilabel': 'ab', 'binary': 'ab'}.get(problem, 'abc')
    task = classification_task.task(Identity(classes=len(logits)), **stats(problem, classes))
    data = batch([logits], np.asarray([label]), [1])
    variables = task.init(jax.random.key(0), data)
    mixed = {**data, 'partner': jnp.asarray([partner]), 'share': jnp.array([0.3])}
    alone = [each(problem, classes, logits, target)[0] for target in (label, partner)]
    np.testing.assert_allclose(task.loss(variables, mixed, jax.random.key(0))[0], 0.3 * alone[0] + 0.7 * alone[1],
                               rtol=1e-5)


@pytest.mark.parametrize('problem', ['binary', 'multiclass', 'ordinal', 'multilabel'])
def test_certain_and_impossible_logits_stay_finite(problem):
    classes = 'ab' if problem == 'binary' else 'abc'
    outputs = 2 if problem == 'ordinal' else len(classes)
    task = classification_task.task(Identity(classes=outputs), focal_gamma=2.0, **stats(problem, classes))
    label = np.array([[0] * len(classes)]) if problem == 'multilabel' else np.array([0])
    for size in (0.0, 80.0, -80.0, 1e4):
        data = batch([[size] * (outputs - 1) + [-size]], label, [1])
        variables = task.init(jax.random.key(0), data)
        loss, slope = jax.value_and_grad(lambda v, data=data: task.loss(v, data, jax.random.key(0))[0])(variables)
        assert np.isfinite(loss) and np.isfinite(slope['params']['scale'])


def test_dropout_stays_on_where_a_key_is_given():
    network = build.network(dict(name='resnet', variant='18', blocks=(1,), base=8, small_images=True, classes=2,
                                 dropout=0.5), 'float32')
    task = classification_task.task(network, **stats('binary', 'ab'))
    data = {'image': np.random.default_rng(0).normal(size=(2, 8, 8, 1)).astype(np.float32)}
    variables = jax.jit(task.init)(jax.random.key(0), data)
    keys = ((), (), (jax.random.key(1),), (jax.random.key(2),))
    predict = jax.jit(task.predict)
    probs = [predict(variables, data, *key)['probs'] for key in keys]
    assert (probs[0] == probs[1]).all() and (probs[2] != probs[3]).any() and (probs[0] != probs[2]).any()


@pytest.mark.parametrize('problem, outputs, classes, message', [
    ('multiclass', 2, 'abc', 'config.model.classes: 2; expected 3'), ('binary', 3, 'ab', 'expected 1 or 2'),
    ('ordinal', 3, 'abc', 'config.model.classes: 3; expected 2 for the ordinal problem')])
def test_a_network_with_other_outputs_is_refused(problem, outputs, classes, message):
    with pytest.raises(InputError, match=message):
        classification_task.task(Identity(classes=outputs), **stats(problem, classes))


@pytest.mark.parametrize('options, message', [
    (dict(class_weight=(1, 2, 3)), 'config.task.class_weight'), (dict(class_weight='equal'), "expected 'balanced'"),
    (dict(label_smoothing=1.0), 'config.task: label_smoothing=1.0'), (dict(focal_gamma=-1.0), 'focal_gamma=-1.0')])
def test_invalid_options_are_refused(options, message):
    with pytest.raises(InputError, match=message):
        classification_task.task(Identity(), **stats('binary', 'ab'), **options)


@pytest.mark.parametrize('section', [
    dict(name='resnet', variant='18', blocks=(1, 1), base=4, dims=2),
    pytest.param(dict(name='resnet', variant='50', blocks=(1,), small_images=True, base=4, dims=3),
                 marks=pytest.mark.slow),
    dict(name='densenet', variant='121', blocks=(2, 2), growth=4, dims=2)])
def test_networks_learn_which_half_is_bright(section):
    network = build.network({**section, 'classes': 2}, 'float32')
    task, rng = classification_task.task(network, statistics=dict(classes=('left', 'right'))), np.random.default_rng(0)
    label = rng.integers(0, 2, 8)
    image = rng.normal(0, 0.3, (8, *[16] * network.dims, 1)).astype(np.float32)
    image[label == 0, :8] += 1
    image[label == 1, 8:] += 1
    data = {'image': image, 'label': label, 'mask': np.ones(8, np.float32)}
    variables = jax.jit(task.init)(jax.random.key(0), data)
    params, rest = variables.pop('params'), variables
    optimiser = optax.adam(1e-2)

    @jax.jit
    def step(params, rest, state):
        (loss, (rest, _)), slopes = jax.value_and_grad(
            lambda params: task.loss({'params': params, **rest}, data, jax.random.key(0)), has_aux=True)(params)
        updates, state = optimiser.update(slopes, state)
        return optax.apply_updates(params, updates), rest, state, loss

    state, losses = optimiser.init(params), []
    for _ in range(24):
        params, rest, state, loss = step(params, rest, state)
        losses.append(float(loss))
    assert losses[-1] < 0.5 * losses[0]  # with five seeds at most .05, in 3D .15 to .36
    _, feats = jax.eval_shape(lambda v: network.apply(v, image, train=False), {'params': params, **rest})
    assert feats['pooled'].shape[0] == 8 and all(f.ndim == network.dims + 2 for n, f in feats.items() if n != 'pooled')
