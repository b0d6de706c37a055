"""Series of which not everything is measured at each step: what is known of it then, and what comes soon after.

Arrays are numpy's or jax's, and what is given is of the same kind.
"""

from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

Array = TypeVar('Array', np.ndarray, jax.Array)


def carried(values: Array, observed: Array) -> Array:
    """Each value as it was last measured, 0 where it never was.

    Args:
      values: `[B, T, V]`; whatever they hold where they were not observed.
      observed: `[B, T, V]`, 1 where one was.

    Returns:
      `[B, T, V]`, of that step or the latest one before.
    """
    xp = _of(values)
    steps = xp.arange(values.shape[1])[:, None]
    # The latest step that was observed, at each step: a running maximum.
    place = xp.where(observed > 0, steps, -1)
    latest = jax.lax.cummax(place, 1) if xp is jnp else np.maximum.accumulate(place, 1)
    return xp.where(latest >= 0, xp.take_along_axis(values, xp.maximum(latest, 0), 1), 0)


def soon(gap: Array, event: Array, within: float, events: int) -> tuple[Array, Array]:
    """Whether each event comes within a horizon, and whether that is known.

    It is not known where the observation ends before the horizon without an event. Another event within the horizon
    says that this one does not come.

    Args:
      gap: `[...]`, from now to the event or the end of observation; 0 and what rounding makes of it counts.
      event: `[...]`, integers that broadcast with `gap`: 0 for the end of observation, else the event from 1.
      within: the horizon, in the same unit; the event counts at that very time.
      events: how many there are.

    Returns:
      Two bool arrays `[..., events]`.
    """
    xp = _of(gap)
    near = xp.asarray(gap <= within)
    happened = near[..., None] & (event[..., None] == xp.arange(1, events + 1))
    known = xp.broadcast_to((~near | (event > 0))[..., None], happened.shape)
    return happened, known


def _of(array: Any) -> Any:
    return jnp if isinstance(array, jax.Array) else np
