"""Losses of times to an event, where some patients leave before it comes: censoring.

`time` and `event` are `[B]`; event is 0 where the patient was last seen without one, else the number of what happened,
from 1. `mask` is 0 for padding. Each loss is a scalar float32; a batch without events gives 0 where events are averaged
over.
"""

from typing import Literal

import jax
import jax.numpy as jnp

FAR = 1e9  # below every log hazard


def cox(log_hazard: jax.Array, time: jax.Array, event: jax.Array, mask: jax.Array,
        ties: Literal['efron', 'breslow'] = 'efron') -> jax.Array:
    """Cox's negative log partial likelihood, over the number of events (Cox 1972).

    The patients at risk are all of the batch that are still there: sharded over devices by jit, those of all of them.

    Args:
      log_hazard: `[B]`, relative.
      time: …
      event: 1 where the event came, 0 else.
      mask: …
      ties: of events at one time: Efron's (1977) approximation or Breslow's (1974).
    """
    here = mask > 0
    time, event = jnp.where(here, time, -jnp.inf), jnp.where(here, event, 0)
    order = jnp.lexsort((-event, -time))  # the last seen first, events of one time side by side
    time, event, risk = time[order], event[order] > 0, jnp.where(here, log_hazard, -FAR)[order]
    first = jnp.searchsorted(-time, -time, side='left')  # of those with the same time
    last = jnp.searchsorted(-time, -time, side='right') - 1
    at_risk = jax.lax.cumlogsumexp(risk)[last]
    if ties == 'efron':
        count = len(time)
        deaths = jax.ops.segment_sum(event.astype(jnp.float32), first, count)[first]
        tied = jnp.where(event, risk, -FAR)
        most = jax.ops.segment_max(tied, first, count)[first]
        # Its own log of a sum for each time: of the whole batch it could vanish.
        total = jax.ops.segment_sum(jnp.where(event, jnp.exp(tied - most), 0.0), first, count)[first]
        before = jnp.arange(count) - first  # events of this time that come first
        share = before / jnp.maximum(deaths, 1)
        taken = jnp.where(event, share * total * jnp.exp(jnp.minimum(most - at_risk, 0.0)), 0.0)
        at_risk = at_risk + jnp.log1p(-jnp.minimum(taken, 1 - 1e-6))
    return jnp.where(event, at_risk - risk, 0.0).sum() / jnp.maximum(event.sum(), 1)


def cox_time(log_hazard: jax.Array, time: jax.Array, event: jax.Array, mask: jax.Array) -> jax.Array:
    """The same where the relative hazard changes with time (Kvamme 2019), with all of a batch that are at risk.

    Args:
      log_hazard: `[B, B]`; row i is at patient i's time, of each patient.
      time: …
      event: 1 where the event came, 0 else.
      mask: …
    """
    there = (time[None] >= time[:, None]) & (mask[None] > 0)
    at_risk = jax.nn.logsumexp(jnp.where(there, log_hazard, -FAR), -1)
    event = (event > 0) & (mask > 0)
    return jnp.where(event, at_risk - jnp.diagonal(log_hazard), 0.0).sum() / jnp.maximum(event.sum(), 1)


def interval(time: jax.Array, event: jax.Array, cuts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """In which interval of time a patient's ends, and whether that is known to be an event's.

    Intervals are (0, cuts[0]], (cuts[0], cuts[1]] …. Who leaves within one was not seen through it, and counts in those
    before; events behind the last cut are such leavings (Kvamme & Borgan 2021).

    Args:
      time: …
      event: …
      cuts: `[K]`, rising.

    Returns:
      Which interval `[B]` int32, the first that a leaving patient was not seen through; and the event, 0 for none.
    """
    event = jnp.where(time > cuts[-1], 0, event)
    ended = jnp.searchsorted(cuts, time, side='left')
    seen = jnp.searchsorted(cuts, time, side='right')
    return jnp.where(event > 0, ended, seen).astype(jnp.int32), event


def discrete(log_hazard: jax.Array, index: jax.Array, event: jax.Array) -> jax.Array:
    """The negative log likelihood of hazards in intervals of time (Gensheimer & Narasimhan 2019), of each patient.

    Args:
      log_hazard: `[B, K, E]`, log odds of each event against none in each interval, given that none was before.
      index: `[B]`, as `interval` gives it, as event.
      event: `[B]`.

    Returns:
      `[B]`.
    """
    none = -jax.nn.logsumexp(jnp.concatenate([jnp.zeros_like(log_hazard[..., :1]), log_hazard], -1), -1)
    bins = log_hazard.shape[1]
    before = jnp.where(jnp.arange(bins) < index[:, None], none, 0.0).sum(-1)
    at = jnp.minimum(index, bins - 1)
    chosen = jnp.take_along_axis(log_hazard[jnp.arange(len(at)), at], jnp.maximum(event - 1, 0)[:, None], 1)[:, 0]
    return -(before + jnp.where(event > 0, chosen + none[jnp.arange(len(at)), at], 0.0))


def hazards_to_incidence(log_hazard: jax.Array) -> jax.Array:
    """What `discrete`'s hazards come to: the cumulative incidence `[B, E, K]` at the intervals' ends."""
    none = -jax.nn.logsumexp(jnp.concatenate([jnp.zeros_like(log_hazard[..., :1]), log_hazard], -1), -1)
    before = jnp.exp(jnp.cumsum(none, 1) - none)
    return jnp.cumsum(before[..., None] * jnp.exp(log_hazard + none[..., None]), 1).swapaxes(1, 2)


def deephit(logits: jax.Array, index: jax.Array, event: jax.Array, bins: int) -> jax.Array:
    """The negative log likelihood of when and what happens as one distribution (Lee 2018), of each patient.

    Args:
      logits: `[B, E * K + 1]`: of each event in each of K intervals, and of none in any.
      index: `[B]`, as `interval` gives it, as event.
      event: `[B]`.
      bins: K.

    Returns:
      `[B]`.
    """
    log = jax.nn.log_softmax(logits)
    each, none = log[:, :-1].reshape(len(log), -1, bins), log[:, -1:]
    rows, at = jnp.arange(len(log)), jnp.minimum(index, bins - 1)
    later = jnp.where(jnp.arange(bins) >= index[:, None, None], each, -FAR).reshape(len(log), -1)
    left = jax.nn.logsumexp(jnp.concatenate([later, none], -1), -1)
    return -jnp.where(event > 0, each[rows, jnp.maximum(event - 1, 0), at], left)


def deephit_incidence(logits: jax.Array, bins: int) -> jax.Array:
    """What `deephit`'s logits come to: the cumulative incidence `[B, E, K]` at the intervals' ends."""
    return jnp.cumsum(jax.nn.softmax(logits)[:, :-1].reshape(len(logits), -1, bins), -1)


def ranking(incidence: jax.Array, index: jax.Array, event: jax.Array, mask: jax.Array, sigma: float) -> jax.Array:
    """DeepHit's loss of order: who had the event should have had the higher incidence of it then than who had not.

    Args:
      incidence: `[B, E, K]`, cumulative.
      index: `[B]`, as `interval` gives it, as event.
      event: `[B]`.
      mask: …
      sigma: a difference of this much changes a pair's share by a factor of e.

    Returns:
      The mean over the pairs that can be compared.
    """
    kind, at = jnp.maximum(event - 1, 0), jnp.minimum(index, incidence.shape[-1] - 1)
    then = incidence[:, kind, at].T  # [B, B]: row i is at patient i's interval and of its event, of each patient
    later = (index[None] > index[:, None]) | ((index[None] == index[:, None]) & (event[None] == 0))
    pair = later & (event > 0)[:, None] & (mask > 0)[:, None] & (mask > 0)[None]
    wrong = jnp.exp((then - jnp.diagonal(then)[:, None]) / sigma)
    return jnp.where(pair, wrong, 0.0).sum() / jnp.maximum(pair.sum(), 1)


def weibull(scale: jax.Array, shape: jax.Array, time: jax.Array, event: jax.Array) -> jax.Array:
    """The negative log likelihood of times of a Weibull distribution, of each patient.

    Args:
      scale: `[B]`, log of the time by which 1 - 1/e have had the event.
      shape: `[B]`, log of the exponent: above 0 the hazard rises.
      time: above 0.
      event: 1 where the event came, 0 else.

    Returns:
      `[B]`.
    """
    log = jnp.log(time) - scale
    power = jnp.exp(shape)
    return jnp.exp(power * log) - jnp.where(event > 0, shape - scale + (power - 1) * log, 0.0)


def weibull_incidence(scale: jax.Array, shape: jax.Array, time: jax.Array) -> jax.Array:
    """What they come to: the cumulative incidence `[B, K]` at `time [K]`."""
    return -jnp.expm1(-jnp.exp(jnp.exp(shape)[:, None] * (jnp.log(time) - scale[:, None])))
