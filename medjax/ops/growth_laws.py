"""Laws of growth: how a tumour's volume goes on, in closed form, and their fit to the volumes that were seen.

With V the volume, a the rate (1 / day) and K the capacity that growth comes to rest at:

| law | dV/dt | V(t) |
|---|---|---|
| exponential | a V | V₀ exp(a t) |
| logistic | a V (1 − V / K) | K / (1 + (K / V₀ − 1) exp(−a t)) |
| gompertz | a V ln(K / V) | K (V₀ / K) ^ exp(−a t) |

A rate below zero is that of a tumour that shrinks. Volumes are fitted by their logarithms, so that an error counts by
its share of the volume. See Benzekry 2014 for how well such laws do.
"""

from collections.abc import Callable, Mapping
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError
from medjax.ops import least_squares

STEEPEST = 60.0  # of an exponent: float32 goes no further than 88
TRIED = np.geomspace(1.05, 1000, 30)  # capacities, over the largest volume seen
ASKED = 300  # patients at most that a capacity is found by


class Curve(NamedTuple):
    """A law's unknowns: `start [...]`, the volume at time 0, `rate [...]` and `capacity [...]`, its own unit each."""

    start: jax.Array
    rate: jax.Array
    capacity: jax.Array


def _exponential(time: jax.Array, start: jax.Array, rate: jax.Array, capacity: jax.Array) -> jax.Array:
    return start + jnp.clip(rate * time, -STEEPEST, STEEPEST)


def _logistic(time: jax.Array, start: jax.Array, rate: jax.Array, capacity: jax.Array) -> jax.Array:
    # -log((1 - s) exp(-at) + s) with s = V0 / K, which stays in range for any rate.
    share = start - capacity
    fade = jnp.clip(-rate * time, -STEEPEST, STEEPEST)
    return start - jnp.log(jnp.maximum((1 - jnp.exp(share)) * jnp.exp(fade) + jnp.exp(share), 1e-30))


def _gompertz(time: jax.Array, start: jax.Array, rate: jax.Array, capacity: jax.Array) -> jax.Array:
    return capacity + (start - capacity) * jnp.exp(jnp.clip(-rate * time, -STEEPEST, STEEPEST / 10))


# The logarithm of the volume at a time, by those of the volume at time 0 and of the capacity.
LAWS: Mapping[str, Callable[..., jax.Array]] = {
    'exponential': _exponential, 'logistic': _logistic, 'gompertz': _gompertz}


def volume(law: str, curve: Curve, time: jax.Array) -> jax.Array:
    """The volume at a time, in the unit of `curve.start`.

    Args:
      law: a name of LAWS.
      curve: the law's unknowns, `[...]` that fit `time [...]`.
      time: from the time of `curve.start`, in the unit that the rate is one over.
    """
    log = jnp.log(jnp.asarray(curve.start)), jnp.asarray(curve.rate), jnp.log(jnp.asarray(curve.capacity))
    return jnp.exp(_law(law)(jnp.asarray(time), *log))


def fit(law: str, time: jax.Array, seen: jax.Array, mask: jax.Array, capacity: jax.Array,
        steps: int = 60) -> tuple[Curve, jax.Array]:
    """Fits a law to each patient's volumes by gradient.

    Two volumes say where a tumour is and how fast it grows, and nothing of where its growth ends: the capacity is
    given, such as that which `capacity` finds in other patients.

    Args:
      law: a name of LAWS.
      time: `[B, T]`, days.
      seen: `[B, T]`, volumes above zero where `mask` is 1.
      mask: `[B, T]`, 1 where there is a visit.
      capacity: `[]` or `[B]`, in the unit of the volumes.
      steps: see `least_squares.fit`.

    Returns:
      A curve for each patient, `[B]`, whose start is the volume at time 0 of `time`; and the mean square of the
      logarithms' errors, `[B]`. Of one visit alone the rate is 0.
    """
    function = _law(law)
    time, mask = jnp.asarray(time, jnp.float32), jnp.asarray(mask, jnp.float32) > 0
    log = jnp.where(mask, jnp.log(jnp.where(mask, jnp.asarray(seen, jnp.float32), 1.0)), 0.0)
    top = jnp.broadcast_to(jnp.log(jnp.asarray(capacity, jnp.float32)), time.shape[:1])

    def one(time: jax.Array, log: jax.Array, mask: jax.Array, top: jax.Array) -> tuple[jax.Array, ...]:
        count = jnp.maximum(mask.sum(), 1)
        middle = jnp.where(mask, time, 0).sum() / count
        span = jnp.maximum(jnp.where(mask, jnp.abs(time - middle), 0).max(), 1e-6)
        scaled = (time - middle) / span  # -1 to 1, so that the unknowns are of about one size

        def rest(unknown: jax.Array) -> jax.Array:
            return jnp.where(mask, function(scaled, unknown[0], unknown[1], top) - log, 0)

        # The line through the logarithms; where V is near K the laws begin elsewhere, and find their way.
        mean = log.sum() / count
        lever = jnp.where(mask, scaled, 0)
        slope = (lever * (log - mean)).sum() / jnp.maximum((lever**2).sum(), 1e-6)
        found, cost = least_squares.fit(rest, jnp.stack([mean, slope]), steps)
        return function(-middle / span, found[0], found[1], top), found[1] / span, cost / count

    start, rate, error = jax.vmap(one)(time, log, mask, top)
    return Curve(jnp.exp(start), rate, jnp.exp(top)), error


def capacity(law: str, time: np.ndarray, seen: np.ndarray, mask: np.ndarray) -> float:
    """The one capacity that lets a law fit the volumes of many patients best, each with its own start and rate.

    Only patients of three visits or more tell anything of it, of whom an even choice is asked. The exponential law has
    none: it gets a number that does nothing.

    Args:
      law: a name of LAWS.
      time: `[B, T]`, days.
      seen: `[B, T]`, volumes.
      mask: `[B, T]`.
    """
    mask = np.asarray(mask) > 0
    told = np.flatnonzero(mask.sum(1) > 2)
    told = told[::max(1, -(-len(told) // ASKED))]
    tops = TRIED * float(np.max(seen, where=mask, initial=0.0))
    if law == 'exponential' or not len(told):
        return float(tops[-1])
    parts = [jnp.asarray(np.asarray(part)[told]) for part in (time, seen, mask)]
    error = jax.jit(lambda tops: jax.lax.map(lambda top: fit(law, *parts, top, 30)[1].mean(), tops))(
        jnp.asarray(tops, jnp.float32))
    return float(tops[int(np.argmin(error))])


def _law(name: str) -> Callable[..., jax.Array]:
    if name not in LAWS:
        raise InputError(f'law of growth {name!r}; expected one of: {", ".join(LAWS)}')
    return LAWS[name]
