"""Tumour growth as a task: the loss by hand, risks of new tumours, the growth law's penalty; and learning networks."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from medjax.core.metrics import compute
from medjax.data.datasets import tumour_growth
from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.models import convlstm, longitudinal_unet
from medjax.tasks.growth import task as growth_task
from tests.data import growing_squares

LOSS = {'cross_entropy': 1.0}


class Known(nn.Module):
    """A constant level as logit of the last mask; `slope` times the horizon is added to it."""

    risk: bool = True
    time_unit_days: float = 10.0
    inputs = ('image', 'horizon')

    @nn.compact
    def __call__(self, image, horizon, *, train):
        level = self.param('level', nn.initializers.constant(0.3), ())
        where = image[:, -1, ..., 1]  # the last mask
        feats = {'risk': jnp.full(where.shape, jnp.log(0.5)) + jnp.log(2.0) * where} if self.risk else {}
        slope = self.param('slope', nn.initializers.zeros, ())
        logit = (2 * where - 1) * level * 10 + slope * horizon[:, None, None]
        return jnp.stack([jnp.zeros_like(logit), logit], -1), feats


@pytest.fixture(scope='module')
def data():
    return tumour_growth.dataset(growing_squares.source(), size=(12, 12))


@pytest.fixture(scope='module')
def batch(data):
    return {**data.batch(np.array([0, 1])), 'mask': np.ones(2, np.float32)}


def make_task(data, module=None, **options):
    return growth_task.task(module or Known(), statistics=data.statistics, **{'loss': LOSS, **options})


def test_the_loss_is_that_of_the_next_mask(data, batch):
    task = make_task(data)
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    value, (_, states) = jax.jit(task.loss)(variables, batch, jax.random.key(1))
    wrong = 20 / 144  # the border that the square grew by
    expected = (1 - wrong) * np.log1p(np.exp(-3)) + wrong * np.log1p(np.exp(3))
    assert float(value) == pytest.approx(expected, rel=1e-5)
    assert compute(jax.device_get(states))['dice_tumour'] == pytest.approx(2 * 16 / (16 + 36))
    half = {**batch, 'mask': np.array([1, 0], np.float32), 'label': batch['label'] * np.array([1, 0])[:, None, None]}
    assert float(jax.jit(task.loss)(variables, half, jax.random.key(1))[0]) == pytest.approx(expected, rel=1e-5)


def test_risks_of_sites_are_those_of_the_mean_rate(data, batch):
    task = make_task(data, new_tumour_weight=1.0)
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    out = jax.jit(task.predict)(variables, batch)
    # Half of the mask of 16 lies in each site of 72 voxels; there the rate is twice .5 in 10 days.
    for number, days in enumerate((60, 50)):
        expected = 1 - np.exp(-(0.5 + 0.5 * 8 / 72) * days / 10)
        np.testing.assert_allclose(out['risk'][number], expected, rtol=1e-5)
    assert float(out['rates'][0].max()) == pytest.approx(0.1) and float(out['rates'][0].min()) == pytest.approx(0.05)
    _, (_, states) = jax.jit(task.loss)(variables, batch, jax.random.key(1))
    count = (0.5 + 0.5 * 8 / 72) * np.array([6, 5])
    by_hand = [count[0], (count[1] - np.log(-np.expm1(-count[1]))) / 2]  # the first knows one site, with nothing new
    assert compute(jax.device_get(states))['loss_risk'] == pytest.approx(np.mean(by_hand), rel=1e-5)
    gone = jax.jit(task.predict)(variables, {**batch, 'sites': np.zeros_like(batch['sites'])})
    np.testing.assert_array_equal(gone['risk'], 0)


def test_the_growth_law_applies_between_the_visits(data, batch):
    plain, more = make_task(data), make_task(data, gompertz_weight=2.0)
    variables = jax.jit(plain.init)(jax.random.key(0), batch)
    key = jax.random.key(3)
    (one, _), (other, (_, states)) = (jax.jit(task.loss)(variables, batch, key) for task in (plain, more))
    term = compute(jax.device_get(states))['loss_physics']
    assert float(other) == pytest.approx(float(one) + 2 * term, rel=1e-5) and term > 1e-3
    # A constant curve at the predicted volume has no penalty.
    size = float(jax.nn.sigmoid(3.0) * 16 + jax.nn.sigmoid(-3.0) * 128) * data.voxel
    still = {**batch, 'curve': np.tile(np.array([np.log(size), 0, 9], np.float32), (2, 1))}
    _, (_, states) = jax.jit(more.loss)(variables, still, key)
    assert compute(jax.device_get(states))['loss_physics'] == pytest.approx(0, abs=1e-8)
    slope = jax.jit(jax.grad(lambda v: more.loss(v, batch, key)[0]))(variables)['params']['slope']
    assert float(slope) != 0


def test_the_volume_counts_by_its_logarithm(data, batch):
    plain, more = make_task(data), make_task(data, volume_weight=2.0)
    variables = jax.jit(plain.init)(jax.random.key(0), batch)
    (one, _), (other, (_, states)) = (jax.jit(task.loss)(variables, batch, jax.random.key(3)) for task in (plain, more))
    out = jax.jit(plain.predict)(variables, batch)
    np.testing.assert_allclose(out['volume'], data.voxel * out['probs'][..., 1].sum((1, 2)), rtol=1e-5)
    true = data.voxel * (batch['label'] == 1).sum((1, 2))
    term = compute(jax.device_get(states))['loss_volume']
    assert term == pytest.approx(float(np.abs(np.log(out['volume'] / true)).mean()), rel=1e-5) and term > 1e-3
    assert float(other) == pytest.approx(float(one) + 2 * term, rel=1e-5)


@pytest.mark.parametrize('module', [
    longitudinal_unet.Model(base=4, levels=2),
    pytest.param(convlstm.Model(base=4, levels=2, state=6), marks=pytest.mark.slow)], ids=['unet', 'convlstm'])
def test_networks_learn_how_squares_grow(module):
    cases = [growing_squares.case(f'p{n}', sides=(2, 2 + 2 * (n % 2), 2 + 4 * (n % 2)), middle=(5 + n % 3, 6), seed=n)
             for n in range(8)]
    data = tumour_growth.dataset(growing_squares.source(*cases), size=(12, 12), inputs=('mask', 'distance'))
    task = make_task(data, module, loss={'cross_entropy': 1.0, 'soft_dice': 1.0}, new_tumour_weight=0.1)
    batch = {**data.batch(np.arange(8)), 'mask': np.ones(8, np.float32)}
    variables, update = jax.jit(task.init)(jax.random.key(0), batch), optax.adam(1e-2)

    @jax.jit  # in a loop of its own XLA's convolutions are slow on a CPU
    def step(variables, state, key):
        (_, (_, states)), slope = jax.value_and_grad(task.loss, has_aux=True)(variables, batch, key)
        change, state = update.update(slope, state)
        return optax.apply_updates(variables, change), state, states['dice_tumour']

    state, dice = update.init(variables), []
    for key in jax.random.split(jax.random.key(1), 40):
        variables, state, (both, sizes) = step(variables, state, key)
        dice.append(float(both / sizes))
    # With four seeds 1.00 for the U-Net, .93 to 1.00 for the ConvLSTM, and .07 to .25 before.
    assert dice[-1] > 0.85 > 0.5 > dice[0]


@pytest.mark.parametrize('options, match', [
    (dict(new_tumour_weight=-1), 'config.task.new_tumour_weight'),
    (dict(volume_weight=-1), 'config.task.volume_weight'),
    (dict(gompertz_weight='much'), 'config.task.gompertz_weight'),
    (dict(loss={}), 'config.task.loss'),
    (dict(module=Known(risk=False), new_tumour_weight=0.1), 'config.model.risk=True'),
    (dict(module=longitudinal_unet.Model(classes=3)), 'config.model.classes: 3; expected 2')])
def test_invalid_options(data, options, match):
    with pytest.raises(InputError, match=match):
        make_task(data, **options)


def test_losses_are_those_of_segmentation(data, batch):
    task = make_task(data, loss={'soft_dice': 1.0})
    variables = jax.jit(task.init)(jax.random.key(0), batch)
    value = jax.jit(task.loss)(variables, batch, jax.random.key(1))[0]
    logits, _ = Known().apply(variables, batch['image'], batch['horizon'], train=False)
    losses = segmentation.weighted_sum(logits, batch['label'], {'soft_dice': 1.0})
    assert float(value) == pytest.approx(float(losses.mean()))
