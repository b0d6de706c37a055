"""Survival analysis as a task: the time to an event, or to one of several competing events, with censored patients.

There are two kinds of network. Cox and Cox-Time networks output log hazards relative to a baseline hazard, which is
estimated from the training patients. The others output the cumulative incidence, by intervals of time or as a
parametric distribution.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Annotated, Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, network_inputs
from medjax.errors import InputError
from medjax.losses import survival
from medjax.options import FractionBelowOne, NonNegative, Positive, Range

LOSSES = ('cox', 'cox_time', 'hazard', 'deephit', 'weibull')
JOINT = ('cox', 'cox_time', 'deephit')  # losses that compare the patients of a batch
MIN_TIME = 1e-3  # smallest time at which a parametric distribution is evaluated, as a fraction of the mean time


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """Options of the task, and what it knows of the training data.

    Attributes:
      loss: a name in LOSSES.
      ties: see `task`, as for ranking, sigma and shrink.
      ranking: …
      sigma: …
      shrink: …
      events: E, the number of events.
      bins: K, the number of intervals.
      times: `[T]` float32, rising: the times of the prediction.
      cuts: `[K]` float32, rising: the ends of the intervals.
      centre: mean of `times`.
      spread: standard deviation of `times`.
    """

    loss: str
    ties: str
    ranking: float
    sigma: float
    shrink: float
    events: int
    bins: int
    times: np.ndarray
    cuts: np.ndarray
    centre: float
    spread: float


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'cox', ties: str = 'efron',
         bins: Annotated[int, Range(low=2)] = 20, ranking: FractionBelowOne = 0.2, sigma: Positive = 0.1,
         shrink: NonNegative = 0.0) -> Task:
    """Survival analysis with a network.

    Args:
      module: the network. Its `outputs` are, for E events: E for 'cox' and 'cox_time'; bins × E for 'hazard';
        bins × E + 1 for 'deephit'; 2 for 'weibull', which has one event. For 'cox_time' the time is appended to the
        covariates.
      statistics: of the training data: `classes`, the events, and `times`, rising, the times of the prediction.
      loss: 'cox', the partial likelihood (DeepSurv, Katzman 2018); 'cox_time' (Kvamme 2019), with all patients of the
        batch that are at risk in place of a sample; 'hazard', discrete hazards (Gensheimer & Narasimhan 2019);
        'deephit' (Lee 2018); 'weibull', an accelerated failure time model. With several events, Cox losses are sums of
        one partial likelihood for each event.
      ties: treatment of tied events in 'cox': 'efron' or 'breslow'.
      bins: number of time intervals of 'hazard' and 'deephit', with equal numbers of events.
      ranking: weight of DeepHit's ranking loss, from 0 to below 1; the likelihood has the remaining weight.
      sigma: scale of the ranking loss; see `losses.survival.ranking_loss`.
      shrink: weight of the mean squared log hazard, which a partial likelihood does not determine; 'cox_time' only.

    Returns:
      A task on `covariates [B, F]` (and whatever else the network takes), `time [B]` and `event [B]`, 0 where censored.
      `predict` returns `log_hazard [B, E, T]`, or `[B, E, 1]` where it does not change with time, or
      `incidence [B, E, T]`, at the statistics' `times`.

    Raises:
      InputError: an option is invalid, or does not fit the network or the data.
    """
    times = np.asarray(statistics['times'], np.float32)
    # Equal numbers of events between cuts; the last cut is the last time.
    cuts = np.unique(np.quantile(times, np.linspace(0, 1, bins + 1)[1:], method='nearest')) if bins >= 2 else times[:0]
    options = Options(loss, ties, ranking, sigma, shrink, len(statistics['classes']), bins, times, cuts,
                      float(times.mean()), max(float(times.std()), 1e-6))
    _check(module, options, statistics['classes'])
    return Task(functools.partial(_init, module, options), functools.partial(_loss, module, options),
                functools.partial(_predict, module, options), _metrics, joint=loss in JOINT)


def _check(module: nn.Module, options: Options, names: list[str]) -> None:
    loss, bins, events = options.loss, options.bins, options.events
    for name, value, choices in (('loss', loss, LOSSES), ('ties', options.ties, ('efron', 'breslow'))):
        if value not in choices:
            raise InputError(f'config.task.{name}: {value!r}; expected one of: {", ".join(choices)}')
    if bins < 2 or not 0 <= options.ranking < 1 or options.sigma <= 0 or options.shrink < 0:
        raise InputError(f'config.task: bins={bins}, ranking={options.ranking}, sigma={options.sigma}, '
                         f'shrink={options.shrink}; expected at least 2, 0 to below 1, above 0, and 0 or more')
    if loss == 'weibull' and events > 1:
        raise InputError(f"config.task.loss: 'weibull' with {', '.join(names)}; expected one event")
    outputs = {'cox': events, 'cox_time': events, 'hazard': bins * events, 'deephit': bins * events + 1, 'weibull': 2}
    if module.outputs != outputs[loss]:
        raise InputError(f'config.model.outputs: {module.outputs}; expected {outputs[loss]} for config.task.loss '
                         f'{loss!r} and {", ".join(names)}')
    if len(options.cuts) < bins and loss in ('hazard', 'deephit'):
        raise InputError(f'config.task.bins: {bins}; expected at most {len(options.cuts)}, the number of different '
                         'times of training events')


def _inputs(module: nn.Module, options: Options, batch: Batch, time: jax.Array) -> list[jax.Array]:
    """The network's inputs; for Cox-Time the covariates include the standardised `time [B]`."""
    if options.loss != 'cox_time':
        return network_inputs(module, batch)
    scaled = ((time - options.centre) / options.spread)[:, None]
    return network_inputs(module, {**batch, 'covariates': jnp.concatenate([batch['covariates'], scaled], 1)})


def _pair_times(batch: Batch) -> tuple[Batch, jax.Array]:
    """Every patient of a batch at the time of every patient, `[B * B]`: the time changes slowest."""
    count = len(batch['time'])
    tiled = {name: jnp.tile(value, (count, *[1] * (value.ndim - 1))) for name, value in batch.items()
             if name not in ('time', 'event', 'mask', 'index')}
    return tiled, jnp.repeat(batch['time'], count)


def _interval_incidence(options: Options, out: jax.Array) -> jax.Array:
    """Cumulative incidence at the cuts, `[B, E, K]`."""
    if options.loss == 'deephit':
        return survival.deephit_incidence(out, options.bins)
    return survival.discrete_hazard_incidence(out.reshape(len(out), options.bins, options.events))


def _weibull_parameters(options: Options, out: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Log scale and log shape, `[B]` each; an output of 0 has the scale of the mean time."""
    scale, shape = (out + jnp.array([np.log(options.centre), 0.0])).T
    return scale, shape


def _batch_loss(options: Options, out: jax.Array, batch: Batch) -> jax.Array:
    """The scalar loss of the network's output for a batch; for Cox-Time the output for `_pair_times(batch)`."""
    time, event, mask, events = batch['time'], batch['event'], batch['mask'], range(options.events)
    occurs = [(event == k + 1).astype(jnp.int32) for k in events]
    if options.loss == 'cox':
        return sum(survival.cox_nll(out[:, k], time, occurs[k], mask, options.ties) for k in events)
    if options.loss == 'cox_time':
        log_hazard = out.reshape(len(time), len(time), options.events)
        return sum(survival.cox_time_nll(log_hazard[..., k], time, occurs[k], mask) for k in events) + (
            options.shrink * jnp.mean(log_hazard**2))
    if options.loss == 'weibull':
        total, count = masked_mean(survival.weibull_nll(
            *_weibull_parameters(options, out), jnp.maximum(time, MIN_TIME * options.centre), event), mask)
        return total / jnp.maximum(count, 1)
    index, event = survival.discretise_time(time, event, jnp.asarray(options.cuts))
    if options.loss == 'hazard':
        losses = survival.discrete_hazard_nll(out.reshape(len(out), options.bins, options.events), index, event)
    else:
        losses = survival.deephit_nll(out, index, event, options.bins)
    total, count = masked_mean(losses, mask)
    value = total / jnp.maximum(count, 1)
    if options.loss == 'deephit' and options.ranking:
        value = (1 - options.ranking) * value + options.ranking * survival.ranking_loss(
            _interval_incidence(options, out), index, event, mask, options.sigma)
    return value


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch,
          key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
    inputs, time = _pair_times(batch) if options.loss == 'cox_time' else (batch, batch['time'])
    mutable = [name for name in variables if name != 'params']
    (out, _), mutated = module.apply(variables, *_inputs(module, options, inputs, time), train=True, mutable=mutable,
                                     rngs={'dropout': key})
    return _batch_loss(options, out, batch), (mutated, {})


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    times = options.times
    if options.loss == 'cox_time':
        count = batch['covariates'].shape[0]

        def log_hazard_at(time: jax.Array) -> jax.Array:
            inputs = _inputs(module, options, batch, jnp.full(count, time))
            return module.apply(variables, *inputs, train=False)[0]
        return {'log_hazard': jax.lax.map(log_hazard_at, jnp.asarray(times)).transpose(1, 2, 0)}
    out, _ = module.apply(variables, *_inputs(module, options, batch, times[:1]), train=False)
    if options.loss == 'cox':
        return {'log_hazard': out[..., None]}
    if options.loss == 'weibull':
        return {'incidence': survival.weibull_incidence(
            *_weibull_parameters(options, out), jnp.maximum(times, MIN_TIME * options.centre))[:, None]}
    nodes = jnp.concatenate([jnp.zeros(1), jnp.asarray(options.cuts)])
    values = jnp.pad(_interval_incidence(options, out), [(0, 0), (0, 0), (1, 0)])
    return {'incidence': jax.vmap(jax.vmap(lambda curve: jnp.interp(times, nodes, curve)))(values)}


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    return {}


def _init(module: nn.Module, options: Options, key: jax.Array, batch: Batch) -> Variables:
    time = jnp.full(batch['time'].shape[0], options.times[0])
    return module.init({'params': key}, *_inputs(module, options, batch, time), train=False)
