"""Losses for right-censored survival data, with one or several competing events.

`time [B]` is the time of the event or of censoring. `event [B]` is 0 for censored patients, else the number of the
event, from 1. `mask [B]` is 0 for padding. Losses averaged over events are 0 for a batch without events.
"""

from typing import Literal

import jax
import jax.numpy as jnp

LARGE = 1e9  # larger than any absolute log hazard


def cox_nll(log_hazard: jax.Array, time: jax.Array, event: jax.Array, mask: jax.Array,
            ties: Literal['efron', 'breslow'] = 'efron') -> jax.Array:
    """Negative log partial likelihood of the Cox model, divided by the number of events (Cox 1972).

    The risk set consists of all patients of the batch that are still under observation. Under jit it includes the
    patients on all devices.

    Args:
      log_hazard: `[B]`, log relative hazard.
      time: `[B]`.
      event: `[B]`, 1 for an event, 0 for censoring.
      mask: `[B]`.
      ties: approximation for tied event times, Efron's (1977) or Breslow's (1974).

    Returns:
      A float32 scalar.
    """
    real = mask > 0
    time, event = jnp.where(real, time, -jnp.inf), jnp.where(real, event, 0)
    order = jnp.lexsort((-event, -time))  # decreasing time; events before censoring at equal times
    time, event, risk = time[order], event[order] > 0, jnp.where(real, log_hazard, -LARGE)[order]
    first = jnp.searchsorted(-time, -time, side='left')  # first index with the same time
    last = jnp.searchsorted(-time, -time, side='right') - 1
    at_risk = jax.lax.cumlogsumexp(risk)[last]
    if ties == 'efron':
        count = len(time)
        tied_events = jax.ops.segment_sum(event.astype(jnp.float32), first, count)[first]
        tied = jnp.where(event, risk, -LARGE)
        largest = jax.ops.segment_max(tied, first, count)[first]
        # A separate maximum per time: relative to the maximum of the batch, the sum could underflow.
        total = jax.ops.segment_sum(jnp.where(event, jnp.exp(tied - largest), 0.0), first, count)[first]
        rank = (jnp.arange(count) - first).astype(jnp.float32)  # number of earlier events in the order at the same time
        fraction = rank / jnp.maximum(tied_events, 1)
        removed = jnp.where(event, fraction * total * jnp.exp(jnp.minimum(largest - at_risk, 0.0)), 0.0)
        at_risk = at_risk + jnp.log1p(-jnp.minimum(removed, 1 - 1e-6))
    return jnp.where(event, at_risk - risk, 0.0).sum() / jnp.maximum(event.sum(dtype=jnp.float32), 1)


def cox_time_nll(log_hazard: jax.Array, time: jax.Array, event: jax.Array, mask: jax.Array) -> jax.Array:
    """Negative log partial likelihood for time-dependent relative hazards (Cox-Time, Kvamme 2019).

    All patients of the batch that are at risk are used, not a sample of them.

    Args:
      log_hazard: `[B, B]`; row i has the log relative hazards of all patients at the time of patient i.
      time: `[B]`.
      event: `[B]`, 1 for an event, 0 for censoring.
      mask: `[B]`.

    Returns:
      A float32 scalar.
    """
    in_risk_set = (time[None] >= time[:, None]) & (mask[None] > 0)
    at_risk = jax.nn.logsumexp(jnp.where(in_risk_set, log_hazard, -LARGE), -1)
    event = (event > 0) & (mask > 0)
    return jnp.where(event, at_risk - jnp.diagonal(log_hazard), 0.0).sum() / jnp.maximum(
        event.sum(dtype=jnp.float32), 1)


def discretise_time(time: jax.Array, event: jax.Array, cuts: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Discretises times to intervals (0, cuts[0]], (cuts[0], cuts[1]], … (Kvamme & Borgan 2021).

    A patient who is censored within an interval has survived only the intervals before it. Events after the last cut
    are censored at the last cut.

    Args:
      time: `[B]`.
      event: `[B]`.
      cuts: `[K]`, increasing.

    Returns:
      The index of the interval `[B]` int32, for censored patients the first interval that they were not observed to
      survive; and the event `[B]`, 0 for censoring.
    """
    event = jnp.where(time > cuts[-1], 0, event)
    event_interval = jnp.searchsorted(cuts, time, side='left')
    censored_interval = jnp.searchsorted(cuts, time, side='right')
    return jnp.where(event > 0, event_interval, censored_interval).astype(jnp.int32), event


def discrete_hazard_nll(log_hazard: jax.Array, index: jax.Array, event: jax.Array) -> jax.Array:
    """Negative log likelihood of discrete-time hazards for each patient (Gensheimer & Narasimhan 2019).

    Args:
      log_hazard: `[B, K, E]`, log odds of each event against no event in each interval, given no earlier event.
      index: `[B]`, interval from `discretise_time`.
      event: `[B]`, event from `discretise_time`.

    Returns:
      `[B]`.
    """
    log_survival = -jax.nn.logsumexp(jnp.concatenate([jnp.zeros_like(log_hazard[..., :1]), log_hazard], -1), -1)
    bins = log_hazard.shape[1]
    earlier = jnp.where(jnp.arange(bins) < index[:, None], log_survival, 0.0).sum(-1)
    at = jnp.minimum(index, bins - 1)
    observed = jnp.take_along_axis(log_hazard[jnp.arange(len(at)), at], jnp.maximum(event - 1, 0)[:, None], 1)[:, 0]
    return -(earlier + jnp.where(event > 0, observed + log_survival[jnp.arange(len(at)), at], 0.0))


def discrete_hazard_incidence(log_hazard: jax.Array) -> jax.Array:
    """Cumulative incidence `[B, E, K]` at the ends of the intervals, from the hazards of `discrete_hazard_nll`."""
    log_survival = -jax.nn.logsumexp(jnp.concatenate([jnp.zeros_like(log_hazard[..., :1]), log_hazard], -1), -1)
    earlier = jnp.exp(jnp.cumsum(log_survival, 1) - log_survival)
    return jnp.cumsum(earlier[..., None] * jnp.exp(log_hazard + log_survival[..., None]), 1).swapaxes(1, 2)


def deephit_nll(logits: jax.Array, index: jax.Array, event: jax.Array, bins: int) -> jax.Array:
    """DeepHit: negative log likelihood of the joint distribution of event and time for each patient (Lee 2018).

    Args:
      logits: `[B, E * K + 1]`, for each event in each of K intervals, and for no event in any interval.
      index: `[B]`, interval from `discretise_time`.
      event: `[B]`, event from `discretise_time`.
      bins: number of intervals, K.

    Returns:
      `[B]`.
    """
    log_probs = jax.nn.log_softmax(logits)
    events, none = log_probs[:, :-1].reshape(len(log_probs), -1, bins), log_probs[:, -1:]
    rows, at = jnp.arange(len(log_probs)), jnp.minimum(index, bins - 1)
    later = jnp.where(jnp.arange(bins) >= index[:, None, None], events, -LARGE).reshape(len(log_probs), -1)
    censored = jax.nn.logsumexp(jnp.concatenate([later, none], -1), -1)
    return -jnp.where(event > 0, events[rows, jnp.maximum(event - 1, 0), at], censored)


def deephit_incidence(logits: jax.Array, bins: int) -> jax.Array:
    """Cumulative incidence `[B, E, K]` at the ends of the intervals, from the logits of `deephit_nll`."""
    return jnp.cumsum(jax.nn.softmax(logits)[:, :-1].reshape(len(logits), -1, bins), -1)


def ranking_loss(incidence: jax.Array, index: jax.Array, event: jax.Array, mask: jax.Array, sigma: float) -> jax.Array:
    """DeepHit's ranking loss: at the time of an event, that patient should have the higher cumulative incidence.

    A pair is comparable if one patient has an event and the other is still at risk at that time.

    Args:
      incidence: `[B, E, K]`, cumulative.
      index: `[B]`, interval from `discretise_time`.
      event: `[B]`, event from `discretise_time`.
      mask: `[B]`.
      sigma: difference in incidence that changes the loss of a pair by a factor of e.

    Returns:
      The mean over comparable pairs, a float32 scalar; 0 if there is none.
    """
    kind, at = jnp.maximum(event - 1, 0), jnp.minimum(index, incidence.shape[-1] - 1)
    at_event = incidence[:, kind, at].T  # [B, B]: row i is at the interval and for the event of patient i
    later = (index[None] > index[:, None]) | ((index[None] == index[:, None]) & (event[None] == 0))
    comparable = later & (event > 0)[:, None] & (mask > 0)[:, None] & (mask > 0)[None]
    pair_loss = jnp.exp((at_event - jnp.diagonal(at_event)[:, None]) / sigma)
    return jnp.where(comparable, pair_loss, 0.0).sum() / jnp.maximum(comparable.sum(dtype=jnp.float32), 1)


def weibull_nll(scale: jax.Array, shape: jax.Array, time: jax.Array, event: jax.Array) -> jax.Array:
    """Negative log likelihood of Weibull-distributed event times for each patient.

    Args:
      scale: `[B]`, log of the scale parameter, the time at which the incidence is 1 - 1/e.
      shape: `[B]`, log of the shape parameter; for positive values the hazard increases with time.
      time: `[B]`, positive.
      event: `[B]`, 1 for an event, 0 for censoring.

    Returns:
      `[B]`.
    """
    log_ratio = jnp.log(time) - scale
    power = jnp.exp(shape)
    return jnp.exp(power * log_ratio) - jnp.where(event > 0, shape - scale + (power - 1) * log_ratio, 0.0)


def weibull_incidence(scale: jax.Array, shape: jax.Array, time: jax.Array) -> jax.Array:
    """Cumulative incidence `[B, K]` at `time [K]` of Weibull distributions; see `weibull_nll`."""
    return -jnp.expm1(-jnp.exp(jnp.exp(shape)[:, None] * (jnp.log(time) - scale[:, None])))
