"""Forecasting: the loss by hand, independence of later visits, learning known dynamics, and invalid options."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.data.datasets.time_series import dataset
from medjax.data.simulated import visits as simulated_visits
from medjax.errors import InputError
from medjax.models.sequence import Model
from medjax.tasks.forecasting import task as forecasting_task
from medjax.tasks.forecasting.evaluator import evaluator
from tests.tasks.learning import learned

KNOWN = {'measured': ['a', 'b'], 'classes': ['death'], 'horizon': 2.0,
         'spread': {'mean': [10.0, 0.0], 'std': [2.0, 1.0], 'clock': 4.0}}


class Constant(nn.Module):
    """The same output at each step: levels, rates and log odds of an event."""

    outputs: int = 5
    per_step: bool = True

    inputs = ('values', 'times')

    @nn.compact
    def __call__(self, values, times, *, train):
        said = self.param('said', nn.initializers.zeros, (self.outputs,))
        return jnp.broadcast_to(said, (*times.shape, self.outputs)), {}


def batch():
    """Two patients of three steps, the second with one visit alone: followed for 5 and dead, for 1 and gone."""
    values = np.array([[[1, 0], [2, 7], [0, 0]], [[3, 1], [0, 0], [0, 0]]], np.float32)
    observed = np.array([[[1, 0], [1, 1], [0, 0]], [[1, 1], [0, 0], [0, 0]]], np.float32)
    return {'values': values, 'observed': observed, 'times': np.array([[0, 1, 0], [0, 0, 0]], np.float32),
            'time_mask': np.array([[1, 1, 0], [1, 0, 0]], np.float32), 'time': np.array([5, 1], np.float32),
            'event': np.array([1, 0], np.int32), 'mask': np.ones(2, np.float32)}


def said(*numbers):
    return {'params': {'said': np.array(numbers, np.float32)}}


def test_the_loss_by_hand():
    """The first patient's next values are 2, from 1, and 7, from 0; dead 1 after the second visit; else unknown."""
    level, rate, odds = np.array([0.5, 1.0]), np.array([0.25, -1.0]), 0.3
    off = np.array([1 + level[0] + rate[0] - 2, 0 + level[1] + rate[1] - 7])
    values = (off**2).sum() / (3 * 2) / 2  # three steps, two values, two patients
    # 5 after the first visit is beyond 2; the second patient is gone at 1, before the horizon.
    labels = (np.log1p(np.exp(odds)) + np.log1p(np.exp(-odds))) / 3 / 2
    variables = said(*level, *rate, odds)

    def loss_of(statistics, **options):
        return jax.jit(forecasting_task.task(Constant(), statistics=statistics, **options).loss)(
            variables, batch(), jax.random.key(0))

    loss, (_, states) = loss_of(KNOWN, event_weight=0.5)
    assert float(loss) == pytest.approx(values + 0.5 * labels, rel=1e-5)
    assert {name: float(total) / float(count) for name, (total, count) in states.items()} == pytest.approx(
        {'values': values, 'labels': labels})
    # Just before the death at 1 all are uncensored, at the horizon half.
    weighted, _ = loss_of(KNOWN | {'censoring': {'times': [0.0, 1.0, 1.5], 'inverse': [1.0, 1.25, 2.0]}})
    labels = (2 * np.log1p(np.exp(odds)) + np.log1p(np.exp(-odds))) / 3 / 2
    assert float(weighted) == pytest.approx(values + labels, rel=1e-5)
    huber, _ = loss_of(KNOWN, loss='huber', delta=0.1, event_weight=0)
    assert float(huber) == pytest.approx((0.1 * (np.abs(off) - 0.05)).sum() / 12, rel=1e-5)
    plain, _ = loss_of(KNOWN | {'horizon': 0.0})
    assert float(plain) == pytest.approx(values, rel=1e-5)


def test_predictions_by_hand():
    got = jax.jit(forecasting_task.task(Constant(), statistics=KNOWN).predict)(said(1, 0, 0.5, 0, 0), batch())
    np.testing.assert_allclose(got['carried'][0], [[12, 0], [14, 7], [14, 7]])
    np.testing.assert_allclose(got['next'][0, 0], [10 + 2 * (1 + 1 + 0.5), 0])
    np.testing.assert_allclose(got['chance'], 0.5)


def test_padding_and_unmeasured_values_have_no_effect():
    task, variables = forecasting_task.task(Constant(), statistics=KNOWN), said(0.5, 1, 0.25, -1, 0.3)
    slope = jax.jit(jax.grad(lambda v, b: task.loss(v, b, jax.random.key(0))[0]))
    odd = batch()
    odd['values'] = np.where(odd['observed'] > 0, odd['values'], 99)
    odd['times'][0, 2], odd['times'][1, 1:] = 77, 55
    np.testing.assert_allclose(slope(variables, odd)['params']['said'], slope(variables, batch())['params']['said'],
                               rtol=1e-5)
    masked = {name: np.concatenate([value, value]) for name, value in batch().items()}
    masked['mask'][2:] = 0
    np.testing.assert_allclose(slope(variables, masked)['params']['said'], slope(variables, batch())['params']['said'],
                               rtol=1e-5)


@functools.cache
def visits():
    return dataset(simulated_visits.source(cases=(150, 60, 5), visits_per_year=0.6, missing=0.2, noise=0.1),
                   horizon=3.0)


def model(**options):
    return Model(**{'outputs': 5, 'width': 8, 'per_step': True, 'linear': True, **options})


@pytest.mark.parametrize('cell', ['gru', 'transformer'])
def test_later_visits_only_affect_the_target(cell):
    """Another next visit, none, or another end: the chance stays, and the forecast moves along the rate alone."""
    data = visits()
    task = forecasting_task.task(model(cell=cell), statistics=data.statistics)
    number = max(data.numbers('val'), key=lambda n: len(data.source.cases[n].series.times))
    one = {name: value[:, :5] if value.ndim > 1 and name != 'covariates' else value
           for name, value in data.batch(np.array([number])).items()}
    variables, predict = jax.jit(task.init)(jax.random.key(0), one), jax.jit(task.predict)
    variables = jax.tree.map(lambda leaf: leaf + 0.1, variables)  # `linear` begins as zeros
    at = 2

    def with_next(gap):
        times = one['times'].copy()
        times[0, at + 1:] = times[0, at] + gap + np.arange(times.shape[1] - at - 1)
        later = {name: np.concatenate([one[name][:, :at + 1], 1 - one[name][:, at + 1:]], 1)
                 for name in ('values', 'observed', 'time_mask')}
        return predict(variables, {**one, **later, 'times': times, 'time': np.float32([gap])})

    start, near, mid, far = predict(variables, one), *(with_next(gap) for gap in (1, 2, 3))
    for name in ('chance', 'carried'):
        np.testing.assert_allclose(far[name][0, :at + 1], start[name][0, :at + 1], rtol=1e-5)
    np.testing.assert_allclose(far['next'][0, :at], start['next'][0, :at], rtol=1e-4)
    step = mid['next'][0, at] - near['next'][0, at]
    assert np.abs(step).max() > 1e-3
    np.testing.assert_allclose(far['next'][0, at] - mid['next'][0, at], step, rtol=1e-3, atol=1e-4)


def test_it_learns_to_forecast():
    """The marker is linear in time and raises the hazard; 'other' is noise, best predicted by its mean.

    With three seeds MASE is .92 to .93, AUROC .85 to .87 and the ratio of errors .50 to .54.
    """
    data = visits()
    task = forecasting_task.task(model(width=16), statistics=data.statistics)
    variables = learned(task, data, steps=80, size=75, rate=1e-2, batches=2)
    evaluate = evaluator(data=data, task=task)
    rows = evaluate(variables, 'val', quick=True)
    got = evaluate.validation_metrics(rows)
    noise = np.array([[row['next_other'], row['forecast_other']] for row in rows if row['next_other'] != ''])
    assert got['mase'] < 1 and got['auroc'] > 0.75
    assert np.abs(noise[:, 1]).mean() < 0.75 * np.abs(noise[:, 0]).mean()


@pytest.mark.parametrize('changes, options, known, message', [
    (dict(per_step=False), {}, {}, 'config.model: a forecast needs an output for each step that uses no later step'),
    (dict(bidirectional=True), {}, {}, 'expected per_step=True and bidirectional=False'),
    (dict(outputs=4), {}, {}, r'config.model.outputs: 4; expected 5, a level and a rate of 2 values \(a, b\)'),
    ({}, dict(loss='mae'), {}, "config.task.loss: 'mae'; expected one of: mse, huber"),
    ({}, dict(delta=0.0), {}, 'config.task: delta=0.0'),
    ({}, dict(event_weight=-1.0), {}, 'event_weight=-1.0; expected above 0, and 0 or more'),
    ({}, {}, {'spread': None}, "config.task.name: 'forecasting' needs time series"),
])
def test_invalid_input_is_refused(changes, options, known, message):
    statistics = {name: value for name, value in (KNOWN | known).items() if value is not None}
    with pytest.raises(InputError, match=message):
        forecasting_task.task(model(**changes), statistics=statistics, **options)


