"""Time series with missing values: last observation carried forward, and events within a horizon.

Arrays are NumPy or JAX arrays; results are of the same kind.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Array = TypeVar('Array', np.ndarray, jax.Array)


def carry_forward(values: Array, observed: Array) -> Array:
    """The last observed value at each step (LOCF), 0 before the first observation.

    Args:
      values: `[B, T, V]`, with arbitrary entries where not observed.
      observed: `[B, T, V]`, 1 for observed values.

    Returns:
      `[B, T, V]`, the value of this step or of the latest observed step before it.
    """
    xp = _namespace(values)
    steps = xp.arange(values.shape[1])[:, None]
    # Index of the latest observed step: a running maximum.
    place = xp.where(observed > 0, steps, -1)
    latest = jax.lax.cummax(place, 1) if xp is jnp else np.maximum.accumulate(place, 1)
    return xp.where(latest >= 0, xp.take_along_axis(values, xp.maximum(latest, 0), 1), 0)


def events_within(gap: Array, event: Array, horizon: float, events: int) -> tuple[Array, Array]:
    """Whether each event occurs within a horizon, and whether that is known.

    It is unknown if the observation ends before the horizon without an event. If another event occurs within the
    horizon, this one does not.

    Args:
      gap: `[...]`, time until the event or the end of observation; may be 0 or, by rounding, slightly negative.
      event: `[...]`, integers that broadcast with `gap`: 0 for the end of observation, else the event, from 1.
      horizon: in the unit of `gap`; an event exactly at the horizon counts.
      events: number of events.

    Returns:
      Two bool arrays `[..., events]`: whether the event occurs, and whether that is known.
    """
    xp = _namespace(gap)
    within = xp.asarray(gap <= horizon)
    occurs = within[..., None] & (event[..., None] == xp.arange(1, events + 1))
    known = xp.broadcast_to((~within | (event > 0))[..., None], occurs.shape)
    return occurs, known


def _namespace(array: Any) -> Any:
    """The array module of an array: `jax.numpy` or `numpy`."""
    return jnp if isinstance(array, jax.Array) else np
