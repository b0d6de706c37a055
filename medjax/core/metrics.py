"""Metric states as sums and counts: merged over batches, devices and hosts, and divided once at the end."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np


def masked_mean(values: jax.Array, mask: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The metric state of one value per example.

    Args:
      values: `[B]`.
      mask: `[B]`; 0 for the padding of the last batch, whose values do not count, even if they are NaN.

    Returns:
      `(sum, count)`, float32 scalars.
    """
    values = jnp.where(mask > 0, values.astype(jnp.float32), 0.0)
    return values.sum(), (mask > 0).astype(jnp.float32).sum()


def merge(states: Iterable[Mapping[str, tuple[Any, Any]]]) -> dict[str, tuple[float, float]]:
    """The sum of metric states, in float64 on the host.

    Args:
      states: name -> (sum, count), for each batch; a name may be absent from some of them.
    """
    total: dict[str, tuple[float, float]] = {}
    for state in states:
        for name, (value, count) in state.items():
            old = total.get(name, (0.0, 0.0))
            total[name] = (old[0] + float(value), old[1] + float(count))
    return total


def compute(states: Mapping[str, tuple[float, float]]) -> dict[str, float]:
    """The mean of each metric state: sum divided by count, NaN where the count is 0."""
    return {name: float(np.float64(total) / count) if count else float('nan')
            for name, (total, count) in states.items()}


def column_means(rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
    """Means of a table's columns of floats; NaN, a case without a value, does not count."""
    names = [k for k, v in rows[0].items() if isinstance(v, float)] if rows else []
    columns = {name: np.array([row[name] for row in rows], float) for name in names}
    return {k: float(np.nanmean(v)) if not np.isnan(v).all() else float('nan') for k, v in columns.items()}
