"""Survival and risk: when an event comes, and of several which, with patients who left before.

Two kinds of network: one gives log hazards relative to a baseline that the training patients make (Cox, and Cox-Time,
where they change with time), the other the incidence itself, by intervals of time or as a distribution.
"""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, network_inputs
from medjax.errors import InputError
from medjax.losses import survival

LOSSES = ('cox', 'cox_time', 'hazard', 'deephit', 'weibull')
SHORT = 1e-3  # of the mean time: the least that a distribution of times is asked about


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'cox', ties: str = 'efron', bins: int = 20,
         ranking: float = 0.2, sigma: float = 0.1, shrink: float = 0.0) -> Task:
    """Makes survival with a network a task.

    Args:
      module: what it gives, `outputs`, is for E events: 'cox' and 'cox_time' E; 'hazard' bins × E; 'deephit'
        bins × E + 1; 'weibull' 2, of one event. That of 'cox_time' sees the time as one more covariate.
      statistics: of the training data: `classes`, the events, and `times`, rising, that `predict` is about.
      loss: 'cox', the partial likelihood (DeepSurv, Katzman 2018); 'cox_time' (Kvamme 2019), with all of the batch at
        risk in place of a sample; 'hazard', odds in intervals of time (Gensheimer & Narasimhan 2019); 'deephit'
        (Lee 2018); 'weibull', an accelerated failure time. Several events have a partial likelihood each.
      ties: of Cox: 'efron' or 'breslow'.
      bins: intervals of time, of as many events each.
      ranking: DeepHit's weight of the loss of order, from 0 to 1; the rest is the likelihood's.
      sigma: of that loss; see `hazard.ranking`.
      shrink: weight of the mean square of the log hazards, which a partial likelihood leaves free; Cox-Time alone.

    Returns:
      A task on `covariates [B, F]` (and whatever else the network sees), `time [B]` and `event [B]`, 0 for none.
      `predict` gives `log_hazard [B, E, T]`, or with one time where it does not change, or else `incidence [B, E, T]`
      at statistics' `times`.
    """
    events, times = len(statistics['classes']), np.asarray(statistics['times'], np.float32)
    wanted = {'cox': events, 'cox_time': events, 'hazard': bins * events, 'deephit': bins * events + 1, 'weibull': 2}
    for name, value, known in (('loss', loss, LOSSES), ('ties', ties, ('efron', 'breslow'))):
        if value not in known:
            raise InputError(f'config.task.{name}: {value!r}; expected one of: {", ".join(known)}')
    if bins < 2 or not 0 <= ranking < 1 or sigma <= 0 or shrink < 0:
        raise InputError(f'config.task: bins={bins}, ranking={ranking}, sigma={sigma}, shrink={shrink}; expected at '
                         'least 2, 0 to below 1, above 0, and 0 or more')
    if loss == 'weibull' and events > 1:
        raise InputError(f"config.task.loss: 'weibull' with {', '.join(statistics['classes'])}; expected one event")
    if module.outputs != wanted[loss]:
        raise InputError(f'config.model.outputs: {module.outputs}; expected {wanted[loss]} for config.task.loss '
                         f'{loss!r} and {", ".join(statistics["classes"])}')
    # As many events between one cut and the next; the last is the last time of all.
    cuts = np.unique(np.quantile(times, np.linspace(0, 1, bins + 1)[1:], method='nearest'))
    if len(cuts) < bins and loss in ('hazard', 'deephit'):
        raise InputError(f'config.task.bins: {bins}; expected at most {len(cuts)}, for the training events are at so '
                         'few times')
    centre, spread = float(times.mean()), max(float(times.std()), 1e-6)

    def inputs(batch: Batch, time: jax.Array) -> list[jax.Array]:
        """What the network sees; for Cox-Time at times `[B]`."""
        if loss != 'cox_time':
            return network_inputs(module, batch)
        own = {**batch, 'covariates': jnp.concatenate(
            [batch['covariates'], ((time - centre) / spread)[:, None]], 1)}
        return network_inputs(module, own)

    def paired(batch: Batch) -> tuple[Batch, jax.Array]:
        """Each time of a batch with each of its patients: rows by time."""
        count = len(batch['time'])
        every = {name: jnp.tile(value, (count, *[1] * (value.ndim - 1))) for name, value in batch.items()
                 if name not in ('time', 'event', 'mask', 'index')}
        return every, jnp.repeat(batch['time'], count)

    def by_interval(out: jax.Array) -> jax.Array:
        """`[B, E, K]`: incidence at the cuts."""
        if loss == 'deephit':
            return survival.deephit_incidence(out, bins)
        return survival.hazards_to_incidence(out.reshape(len(out), bins, events))

    def cost(out: jax.Array, batch: Batch) -> jax.Array:
        time, event, mask = batch['time'], batch['event'], batch['mask']
        if loss == 'cox':
            return sum(survival.cox(out[:, k], time, event == k + 1, mask, ties) for k in range(events))
        if loss == 'cox_time':
            count = len(time)
            each = out.reshape(count, count, events)
            return sum(survival.cox_time(each[..., k], time, event == k + 1, mask) for k in range(events)) + (
                shrink * jnp.mean(each**2))
        if loss == 'weibull':
            total, count = masked_mean(survival.weibull(
                *(out + jnp.array([np.log(centre), 0.0])).T, jnp.maximum(time, SHORT * centre), event), mask)
            return total / jnp.maximum(count, 1)
        index, event = survival.interval(time, event, jnp.asarray(cuts))
        if loss == 'hazard':
            each = survival.discrete(out.reshape(len(out), bins, events), index, event)
        else:
            each = survival.deephit(out, index, event, bins)
        total, count = masked_mean(each, mask)
        value = total / jnp.maximum(count, 1)
        if loss == 'deephit' and ranking:
            value = (1 - ranking) * value + ranking * survival.ranking(by_interval(out), index, event, mask, sigma)
        return value

    def loss_of(variables: Variables, batch: Batch, key: jax.Array):
        shown, time = paired(batch) if loss == 'cox_time' else (batch, batch['time'])
        mutable = [name for name in variables if name != 'params']
        (out, _), mutated = module.apply(variables, *inputs(shown, time), train=True, mutable=mutable,
                                         rngs={'dropout': key})
        return cost(out, batch), (mutated, {})

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        if loss == 'cox_time':
            count = len(batch['covariates'])

            def at(time: jax.Array) -> jax.Array:
                return module.apply(variables, *inputs(batch, jnp.full(count, time)), train=False)[0]
            return {'log_hazard': jax.lax.map(at, jnp.asarray(times)).transpose(1, 2, 0)}
        out, _ = module.apply(variables, *inputs(batch, times[:1]), train=False)
        if loss == 'cox':
            return {'log_hazard': out[..., None]}
        if loss == 'weibull':
            return {'incidence': survival.weibull_incidence(
                *(out + jnp.array([np.log(centre), 0.0])).T, jnp.maximum(times, SHORT * centre))[:, None]}
        ends = jnp.concatenate([jnp.zeros(1), jnp.asarray(cuts)])
        at = jnp.pad(by_interval(out), [(0, 0), (0, 0), (1, 0)])
        return {'incidence': jax.vmap(jax.vmap(lambda known: jnp.interp(times, ends, known)))(at)}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {}

    def init(key: jax.Array, batch: Batch) -> Variables:
        return module.init({'params': key}, *inputs(batch, jnp.full(len(batch['time']), times[0])), train=False)

    return Task(init, loss_of, predict, metrics, joint=loss in ('cox', 'cox_time', 'deephit'))
