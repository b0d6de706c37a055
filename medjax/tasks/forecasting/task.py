"""Forecasting along time series as a task: the values of the next visit, and events soon after each visit."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.core import contracts
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.ops import time_series
from medjax.options import NonNegative, Positive

LOSSES = ('mse', 'huber')


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """Options of the task, and what it knows of the training data.

    Attributes:
      loss: a name in LOSSES.
      delta: see `task`, as for event_weight.
      event_weight: …
      values: V, the number of values.
      events: E, the number of events.
      horizon: the horizon of events, in the source's unit of time; 0 for no events.
      clock: the unit of `times` in a batch, in the source's unit.
      mean: `[V]` float32, of the training values.
      std: `[V]` float32, of the training values.
      censoring: the inverse probability of being uncensored, as times and values `[K]` float32 each: see
        `metrics.survival.horizon_weights`.
    """

    loss: str
    delta: float
    event_weight: float
    values: int
    events: int
    horizon: float
    clock: float
    mean: jax.Array
    std: jax.Array
    censoring: tuple[jax.Array, jax.Array]


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'mse', delta: Positive = 1.0,
         event_weight: NonNegative = 1.0) -> Task:
    """Forecasting along time series with a network.

    At each step the network outputs a level and a rate for each value. The forecast for the next step is the last
    observed value (the training mean where there is none) + level + rate × the time until the next step. The network's
    inputs contain neither that time nor whether there is a next step, because the times at which patients return are
    related to their survival.

    A value counts where it is measured at the next step. An event counts where it is known whether it occurs within the
    horizon (see `ops.time_series.events_within`), with the inverse probability of censoring as its weight. A patient's
    loss is the sum over the steps, divided by the number of values or of events and by the number of steps to which
    series are padded.

    Args:
      module: outputs, for each step of a series and from that and earlier steps only, `[B, T, 2 V + E]`: levels, rates
        and log odds of events; such as `sequence` with `each`.
      statistics: of the training data: `measured`, the names of the V values; their `spread`; `classes`, the E events;
        `horizon`, the horizon; and `censoring` (see `datasets.time_series`). With a horizon of 0 the E outputs are not
        trained.
      loss: 'mse', or 'huber', which is linear for errors above `delta`.
      delta: of the Huber loss, in standard deviations.
      event_weight: weight of the events' binary cross-entropy.

    Returns:
      A task on batches of a `time_series` data set: `values` and `observed` `[B, T, V]`, `times` and `time_mask`
      `[B, T]`, `time` and `event` `[B]`. `predict` returns `next [B, T, V]`, the forecast for the next step, and
      `carried [B, T, V]`, the last observation carried forward, both in the values' units; and `chance [B, T, E]`, the
      probability of each event within the horizon.

    Raises:
      InputError: an option is invalid, the data have no time series, or the network has no output for each step or
        uses later steps.
    """
    _check(module, statistics, loss, delta, event_weight)
    mean, std = (jnp.asarray(statistics['spread'][name], jnp.float32) for name in ('mean', 'std'))
    options = Options(loss, delta, event_weight, len(statistics['measured']), len(statistics['classes']),
                      float(statistics['horizon']), statistics['spread']['clock'], mean, std, _censoring(statistics))
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module, options), _metrics)


def _censoring(statistics: Mapping[str, Any]) -> tuple[jax.Array, jax.Array]:
    """Times and inverse probabilities of being uncensored; 1 at all times where the statistics have none."""
    known = statistics.get('censoring') or {'times': [0.0], 'inverse': [1.0]}
    return jnp.asarray(known['times'], jnp.float32), jnp.asarray(known['inverse'], jnp.float32)


def _check(module: nn.Module, statistics: Mapping[str, Any], loss: str, delta: float, event_weight: float) -> None:
    if loss not in LOSSES:
        raise InputError(f'config.task.loss: {loss!r}; expected one of: {", ".join(LOSSES)}')
    if not delta > 0 or not event_weight >= 0:
        raise InputError(f'config.task: delta={delta}, event_weight={event_weight}; expected above 0, and 0 or more')
    if 'spread' not in statistics:
        raise InputError("config.task.name: 'forecasting' needs time series; expected data such as time_series")
    if not contracts.option(module, 'per_step') or contracts.option(module, 'bidirectional'):
        raise InputError('config.model: a forecast needs an output for each step that uses no later step; expected '
                         'per_step=True and bidirectional=False')
    names, events = statistics['measured'], statistics['classes']
    outputs = 2 * len(names) + len(events)
    if module.outputs != outputs:
        raise InputError(f'config.model.outputs: {module.outputs}; expected {outputs}, a level and a rate of '
                         f'{len(names)} values ({", ".join(names)}), and {", ".join(events)}')


def _forecast(options: Options, out: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """The last observation carried forward, and the forecast for the next step, standardised `[B, T, V]` each."""
    count = options.values
    carried = time_series.carry_forward(batch['values'], batch['observed'])
    level, rate = out[..., :count], out[..., count:2 * count]
    gap = jnp.diff(batch['times'], axis=1, append=batch['times'][:, -1:])
    return carried, carried + level + rate * gap[..., None]


def _losses(options: Options, out: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
    """Losses of values and of events for each patient, `[B]` each."""
    error = _forecast(options, out, batch)[1][:, :-1] - batch['values'][:, 1:]
    value_losses = optax.huber_loss(error, delta=options.delta) if options.loss == 'huber' else error**2
    measured = (batch['observed'] * batch['time_mask'][..., None])[:, 1:] > 0
    gap = batch['time'][:, None] - options.clock * batch['times']
    occurs, known = time_series.events_within(gap, batch['event'][:, None], options.horizon, options.events)
    known = known & (batch['time_mask'] > 0)[..., None]
    event_losses = optax.sigmoid_binary_cross_entropy(out[..., 2 * options.values:], occurs.astype(jnp.float32))
    event_losses = event_losses * _event_weight(options, gap)[..., None]
    steps = out.shape[1]
    return (jnp.where(measured, value_losses, 0).sum((1, 2)) / (steps * options.values),
            jnp.where(known, event_losses, 0).sum((1, 2)) / (steps * options.events) if options.horizon
            else jnp.zeros(len(out)))


def _event_weight(options: Options, gap: jax.Array) -> jax.Array:
    """One over the probability of being uncensored just before a time, or at the horizon after it."""
    times, inverse = options.censoring
    place = jnp.where(gap > options.horizon, jnp.searchsorted(times, options.horizon, side='right'),
                      jnp.searchsorted(times, gap, side='left'))
    return inverse[jnp.maximum(place - 1, 0)]


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch,
          key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
    (out, _), mutated = train_forward(module, variables, batch, key)
    states = [masked_mean(losses, batch['mask']) for losses in _losses(options, out, batch)]
    values, labels = (total / jnp.maximum(cases, 1) for total, cases in states)
    return values + options.event_weight * labels, (mutated, {'values': states[0], 'labels': states[1]})


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    out, _ = module.apply(variables, *network_inputs(module, batch), train=False)
    carried, forecast = _forecast(options, out, batch)
    return {'next': forecast * options.std + options.mean, 'carried': carried * options.std + options.mean,
            'chance': jax.nn.sigmoid(out[..., 2 * options.values:])}


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    return {}
