"""The segmentation task: masks, deep supervision, one logit or many."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core import metrics
from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.tasks.segmentation.task import shrink_labels, task

rng = np.random.default_rng(0)
CLASSES = ('background', 'organ', 'lesion')
LOSS = {'cross_entropy': 1.0, 'soft_dice': 1.0}


class Pointwise(nn.Module):
    """A network of one layer, with coarser logits where asked for."""

    classes: int = 3
    deep_supervision: bool = False

    @nn.compact
    def __call__(self, x, *, train):
        logits = nn.Dense(self.classes)(x)
        return logits, {'deep': (logits[:, ::2, ::2], logits[:, ::4, ::4])} if self.deep_supervision else {}


def batch_of(size=3):
    return {'image': jnp.asarray(rng.normal(size=(size, 8, 8, 2)), jnp.float32),
            'label': jnp.asarray(rng.integers(0, 3, (size, 8, 8))), 'mask': jnp.ones(size)}


def test_padding_has_no_effect():
    problem, batch = task(Pointwise(), statistics=dict(classes=CLASSES), loss=LOSS), batch_of(3)
    variables = jax.jit(problem.init)(jax.random.key(0), batch)
    padded = {**batch, 'mask': jnp.array([1.0, 1.0, 0.0])}
    padded['image'] = padded['image'].at[2].set(1e3)
    two = {name: value[:2] for name, value in batch.items()}
    whole, part = (jax.value_and_grad(lambda v, b=b: problem.loss(v, b, jax.random.key(0)), has_aux=True)(variables)
                   for b in (padded, two))
    assert float(whole[0][0]) == pytest.approx(float(part[0][0]), rel=1e-6)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7), whole[1], part[1])
    for name, state in whole[0][1][1].items():
        np.testing.assert_allclose(state, part[0][1][1][name], rtol=1e-6)


def test_dice_of_a_batch_is_counted_by_hand():
    problem = task(Pointwise(), statistics=dict(classes=CLASSES), loss=LOSS)
    label = jnp.array([[[1, 1, 0, 2], [255, 1, 2, 2]]])
    guess = jnp.array([[[1, 0, 0, 2], [1, 1, 0, 2]]])
    states = problem.metrics({'probs': jax.nn.one_hot(guess, 3)}, {'label': label, 'mask': jnp.ones(1)})
    values = metrics.compute(metrics.merge([states]))
    assert values == {'dice_organ': pytest.approx(2 * 2 / (2 + 3)), 'dice_lesion': pytest.approx(2 * 2 / (2 + 3))}


def test_deep_supervision_halves_from_scale_to_scale():
    batch = batch_of()
    problem = task(Pointwise(deep_supervision=True), statistics=dict(classes=CLASSES), loss=LOSS)
    variables = jax.jit(problem.init)(jax.random.key(0), batch)
    value, _ = problem.loss(variables, batch, jax.random.key(0))
    logits, feats = Pointwise(deep_supervision=True).apply(variables, batch['image'], train=True)
    scales = zip((4 / 7, 2 / 7, 1 / 7), (1, 2, 4), (logits, *feats['deep']))
    want = sum(w * segmentation.weighted_sum(x, batch['label'][:, ::s, ::s], LOSS).mean() for w, s, x in scales)
    assert float(value) == pytest.approx(float(want), rel=1e-6)
    assert shrink_labels(batch['label'], (4, 2)).shape == (3, 4, 2)


def test_one_logit_is_a_sigmoid_of_two_classes():
    problem = task(Pointwise(classes=1), statistics=dict(classes=('background', 'lung')), loss={'cross_entropy': 1.0})
    batch = {**batch_of(), 'label': jnp.asarray(rng.integers(0, 2, (3, 8, 8)))}
    variables = jax.jit(problem.init)(jax.random.key(1), batch)
    probs = problem.predict(variables, batch)['probs']
    logits, _ = Pointwise(classes=1).apply(variables, batch['image'], train=False)
    np.testing.assert_allclose(probs[..., 1], jax.nn.sigmoid(logits[..., 0]), rtol=1e-6)
    np.testing.assert_allclose(probs.sum(-1), 1, rtol=1e-6)
    value, _ = problem.loss(variables, batch, jax.random.key(0))
    p = np.asarray(probs[..., 1], np.float64)
    hand = -np.where(np.asarray(batch['label']) == 1, np.log(p), np.log(1 - p)).mean()
    assert float(value) == pytest.approx(hand, rel=1e-5)


def test_classes_and_outputs_that_disagree_are_refused():
    with pytest.raises(InputError, match='config.model.classes: 4; expected 3'):
        task(Pointwise(classes=4), statistics=dict(classes=CLASSES), loss=LOSS)
