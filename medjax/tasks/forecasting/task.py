"""Forecasts along series: what is measured at the next visit, and which events come soon after each visit."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.ops import time_series

LOSSES = ('mse', 'huber')


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'mse', delta: float = 1.0,
         labels_weight: float = 1.0) -> Task:
    """Makes forecasts along series with a network a task.

    At each step the network tells of each value a level and a rate, and the next value is forecast as it was last
    measured (the training mean where it never was) + level + rate × how far the next step is ahead. The network does
    not see that distance, nor that there is a next step: who comes again, and when, tells who lives.

    A value counts where it is measured at the next step, an event where it is known whether it came within the horizon
    (see `series.soon`). A patient's loss is the sum over the steps, each divided by the number of values or of events,
    over the steps that series are padded to: each visit counts alike.

    Args:
      module: gives for each step of a series, from that and the steps before alone, `[B, T, 2 V + E]`: levels, rates,
        and the log odds of events; such as `sequence` with `each`.
      statistics: of the training data: `measured`, the V values, their `spread`, `classes`, the E events, and `within`,
        the horizon; with 0 the E outputs are there and learn nothing.
      loss: 'mse', or 'huber', which is linear in errors beyond `delta`.
      delta: of the Huber loss, in standard deviations.
      labels_weight: of the events' binary cross-entropy.

    Returns:
      A task on what `sequences` gives: `values`, `observed` `[B, T, V]`, `times`, `time_mask` `[B, T]`, and `time`,
      `event` `[B]`. `predict` gives `next [B, T, V]`, forecasts for the next step's time, `carried [B, T, V]`, values
      as last measured, both in the values' units, and `chance [B, T, E]` of an event within the horizon.

    Raises:
      InputError: data without series; a network that gives nothing for single steps, or lets them see later ones.
    """
    if loss not in LOSSES:
        raise InputError(f'config.task.loss: {loss!r}; expected one of: {", ".join(LOSSES)}')
    if not delta > 0 or not labels_weight >= 0:
        raise InputError(f'config.task: delta={delta}, labels_weight={labels_weight}; expected above 0, and 0 or more')
    if 'spread' not in statistics:
        raise InputError("config.task.name: 'forecasting' needs data with series, such as sequences")
    if not getattr(module, 'each', False) or getattr(module, 'both', False):
        raise InputError('config.model: a forecast needs an output for each step, which sees no later one; expected '
                         'each=True and both=False')
    names, events, within = statistics['measured'], len(statistics['classes']), float(statistics['within'])
    if module.outputs != 2 * len(names) + events:
        raise InputError(f'config.model.outputs: {module.outputs}; expected {2 * len(names) + events}, a level and a '
                         f'rate of {len(names)} values ({", ".join(names)}), and {", ".join(statistics["classes"])}')
    mean, std = (jnp.asarray(statistics['spread'][name], jnp.float32) for name in ('mean', 'std'))
    clock = statistics['spread']['clock']

    def ahead(out: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """What is carried forward, and the forecast for the next step, `[B, T, V]` on one scale."""
        carried = time_series.carried(batch['values'], batch['observed'])
        level, rate = out[..., :len(names)], out[..., len(names):2 * len(names)]
        gap = jnp.diff(batch['times'], axis=1, append=batch['times'][:, -1:])
        return carried, carried + level + rate * gap[..., None]

    def cost(out: jax.Array, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """Losses of values and of events, `[B]` both."""
        off = ahead(out, batch)[1][:, :-1] - batch['values'][:, 1:]
        each = optax.huber_loss(off, delta=delta) if loss == 'huber' else off**2
        there = (batch['observed'] * batch['time_mask'][..., None])[:, 1:] > 0
        happened, known = time_series.soon(batch['time'][:, None] - clock * batch['times'], batch['event'][:, None],
                                      within, events)
        known = known & (batch['time_mask'] > 0)[..., None]
        wrong = optax.sigmoid_binary_cross_entropy(out[..., 2 * len(names):], happened.astype(jnp.float32))
        steps = out.shape[1]
        return (jnp.where(there, each, 0).sum((1, 2)) / (steps * len(names)),
                jnp.where(known, wrong, 0).sum((1, 2)) / (steps * events) if within else jnp.zeros(len(out)))

    def loss_of(variables: Variables, batch: Batch, key: jax.Array):
        (out, _), mutated = train_forward(module, variables, batch, key)
        parts = [masked_mean(each, batch['mask']) for each in cost(out, batch)]
        values, labels = (total / jnp.maximum(cases, 1) for total, cases in parts)
        return values + labels_weight * labels, (mutated, {'values': parts[0], 'labels': parts[1]})

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out, _ = module.apply(variables, *network_inputs(module, batch), train=False)
        carried, told = ahead(out, batch)
        return {'next': told * std + mean, 'carried': carried * std + mean,
                'chance': jax.nn.sigmoid(out[..., 2 * len(names):])}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {}

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(module, key, batch)

    return Task(init, loss_of, predict, metrics)
