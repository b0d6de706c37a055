"""Tumour growth laws in closed form, and their fit to observed volumes.

With the volume V, the rate a (1 / day) and the carrying capacity K:

| law | dV/dt | V(t) |
|---|---|---|
| exponential | a V | V₀ exp(a t) |
| logistic | a V (1 − V / K) | K / (1 + (K / V₀ − 1) exp(−a t)) |
| gompertz | a V ln(K / V) | K (V₀ / K) ^ exp(−a t) |

A negative rate describes a shrinking tumour. Curves are fitted to the logarithms of the volumes, that is, to relative
errors. Benzekry 2014 compares such laws.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError
from medjax.ops import least_squares

MAX_EXPONENT = 60.0  # float32 overflows at 88
CAPACITY_RATIOS = np.geomspace(1.05, 1000, 30)  # candidate capacities, relative to the largest observed volume
MAX_PATIENTS = 300  # number of patients that a capacity is fitted to


class GrowthCurve(NamedTuple):
    """Parameters of a growth law: volume at time 0 `start [...]`, `rate [...]` and `capacity [...]`."""

    start: jax.Array
    rate: jax.Array
    capacity: jax.Array


def _exponential(time: jax.Array, start: jax.Array, rate: jax.Array, capacity: jax.Array) -> jax.Array:
    return start + jnp.clip(rate * time, -MAX_EXPONENT, MAX_EXPONENT)


def _logistic(time: jax.Array, start: jax.Array, rate: jax.Array, capacity: jax.Array) -> jax.Array:
    # -log((1 - s) exp(-at) + s) with s = V0 / K, which stays in range for any rate.
    share = start - capacity
    decay = jnp.clip(-rate * time, -MAX_EXPONENT, MAX_EXPONENT)
    return start - jnp.log(jnp.maximum((1 - jnp.exp(share)) * jnp.exp(decay) + jnp.exp(share), 1e-30))


def _gompertz(time: jax.Array, start: jax.Array, rate: jax.Array, capacity: jax.Array) -> jax.Array:
    return capacity + (start - capacity) * jnp.exp(jnp.clip(-rate * time, -MAX_EXPONENT, MAX_EXPONENT / 10))


# The logarithm of the volume at a time, given the logarithms of the initial volume and of the capacity.
LAWS: Mapping[str, Callable[..., jax.Array]] = {
    'exponential': _exponential, 'logistic': _logistic, 'gompertz': _gompertz}


def volume(law: str, curve: GrowthCurve, time: jax.Array) -> jax.Array:
    """The volume at a time, in the unit of `curve.start`.

    Args:
      law: a name in LAWS.
      curve: parameters of the law, `[...]` that broadcast with `time [...]`.
      time: time since `curve.start`, in the inverse unit of the rate.

    Raises:
      InputError: the law is unknown.
    """
    logs = jnp.log(jnp.asarray(curve.start)), jnp.asarray(curve.rate), jnp.log(jnp.asarray(curve.capacity))
    return jnp.exp(_law(law)(jnp.asarray(time), *logs))


def fit(law: str, time: jax.Array, volumes: jax.Array, mask: jax.Array, capacity: jax.Array,
        steps: int = 60) -> tuple[GrowthCurve, jax.Array]:
    """Fits a growth law to the volumes of each patient by nonlinear least squares.

    Two volumes determine the initial volume and the rate, but not the capacity. The capacity is therefore given, for
    example by `fit_capacity` on other patients.

    Args:
      law: a name in LAWS.
      time: `[B, T]`, days.
      volumes: `[B, T]`, positive where `mask` is 1.
      mask: `[B, T]`, 1 for visits.
      capacity: `[]` or `[B]`, in the unit of the volumes.
      steps: see `least_squares.fit`.

    Returns:
      A curve for each patient, `[B]`, whose start is the volume at time 0 of `time`; and the mean squared error of the
      log volumes, `[B]`. The rate of a patient with a single visit is 0.

    Raises:
      InputError: the law is unknown.
    """
    log_volume = _law(law)
    time, mask = jnp.asarray(time, jnp.float32), jnp.asarray(mask, jnp.float32) > 0
    log = jnp.where(mask, jnp.log(jnp.where(mask, jnp.asarray(volumes, jnp.float32), 1.0)), 0.0)
    log_capacity = jnp.broadcast_to(jnp.log(jnp.asarray(capacity, jnp.float32)), time.shape[:1])

    def fit_patient(time: jax.Array, log: jax.Array, mask: jax.Array,
                    log_capacity: jax.Array) -> tuple[jax.Array, ...]:
        count = jnp.maximum(mask.sum(dtype=jnp.float32), 1)
        centre = jnp.where(mask, time, 0).sum() / count
        span = jnp.maximum(jnp.where(mask, jnp.abs(time - centre), 0).max(), 1e-6)
        scaled = (time - centre) / span  # -1 to 1, so that the unknowns have similar magnitudes

        def residual(unknown: jax.Array) -> jax.Array:
            return jnp.where(mask, log_volume(scaled, unknown[0], unknown[1], log_capacity) - log, 0)

        # Start from the regression line of the log volumes, which is close unless V is near K.
        mean = log.sum() / count
        x = jnp.where(mask, scaled, 0)
        slope = (x * (log - mean)).sum() / jnp.maximum((x**2).sum(), 1e-6)
        unknown, cost = least_squares.fit(residual, jnp.stack([mean, slope]), steps)
        return log_volume(-centre / span, unknown[0], unknown[1], log_capacity), unknown[1] / span, cost / count

    start, rate, error = jax.vmap(fit_patient)(time, log, mask, log_capacity)
    return GrowthCurve(jnp.exp(start), rate, jnp.exp(log_capacity)), error


def fit_capacity(law: str, time: np.ndarray, volumes: np.ndarray, mask: np.ndarray) -> float:
    """The common capacity with which a law fits the volumes of many patients best, by grid search.

    Each patient has its own initial volume and rate. Only patients with three or more visits are informative; up to
    `MAX_PATIENTS` of them are used, evenly spaced. The exponential law has no capacity; the value returned for it has
    no effect.

    Args:
      law: a name in LAWS.
      time: `[B, T]`, days.
      volumes: `[B, T]`.
      mask: `[B, T]`, 1 for visits.

    Raises:
      InputError: the law is unknown.
    """
    mask = np.asarray(mask) > 0
    informative = np.flatnonzero(mask.sum(1) > 2)
    informative = informative[::max(1, -(-len(informative) // MAX_PATIENTS))]
    candidates = CAPACITY_RATIOS * float(np.max(volumes, where=mask, initial=0.0))
    if law == 'exponential' or not len(informative):
        return float(candidates[-1])
    series = [jnp.asarray(np.asarray(part)[informative]) for part in (time, volumes, mask)]
    error = jax.jit(lambda candidates: jax.lax.map(
        lambda capacity: fit(law, *series, capacity, 30)[1].mean(), candidates))(jnp.asarray(candidates, jnp.float32))
    return float(candidates[int(np.argmin(error))])


def _law(name: str) -> Callable[..., jax.Array]:
    if name not in LAWS:
        raise InputError(f'growth law {name!r}; expected one of: {", ".join(LAWS)}')
    return LAWS[name]
