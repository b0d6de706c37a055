"""Regression: numbers that were measured, some of them not in every case."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np
import optax

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError

LOSSES = ('mse', 'huber', 'gaussian')
NARROW = 1e-3  # standard deviations of the training targets: a predicted one is at least that


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'mse', delta: float = 1.0) -> Task:
    """Makes regression with a network a task.

    Targets are brought to mean 0 and standard deviation 1 by the training cases. A case's loss is the mean over the
    targets that were measured in it; one without any has none.

    Args:
      module: gives `[B, outputs]`: of K targets K numbers, for 'gaussian' 2K, the means first.
      statistics: of the training data: `classes`, the targets' names, their `mean` and `std`.
      loss: 'mse'; 'huber', which is linear in errors beyond `delta`; 'gaussian', the negative log likelihood of a
        normal distribution whose spread is predicted as well (Nix & Weigend 1994).
      delta: of the Huber loss, in standard deviations.

    Returns:
      A task on `targets [B, K]`, NaN where none was measured, and whatever the network sees. `predict` gives
      `values [B, K]` in the targets' unit, and of 'gaussian' their `spread [B, K]`, a standard deviation.
    """
    names = statistics['classes']
    if loss not in LOSSES:
        raise InputError(f'config.task.loss: {loss!r}; expected one of: {", ".join(LOSSES)}')
    if not delta > 0:
        raise InputError(f'config.task.delta: {delta}; expected above 0')
    if 'std' not in statistics or len(np.atleast_1d(statistics['std'])) != len(names):
        raise InputError("config.task.name: 'regression' needs data with something measured, such as compounds")
    count = len(names) * (1 + (loss == 'gaussian'))
    if module.outputs != count:
        raise InputError(f'config.model.outputs: {module.outputs}; expected {count} for config.task.loss {loss!r} and '
                         f'{len(names)} target{"s" * (len(names) > 1)} ({", ".join(names)})')
    mean, std = (jnp.asarray(statistics[name], jnp.float32) for name in ('mean', 'std'))

    def split(out: jax.Array) -> tuple[jax.Array, jax.Array | None]:
        """Standardised values and their spread."""
        if loss != 'gaussian':
            return out, None
        value, raw = jnp.split(out, 2, -1)
        return value, jax.nn.softplus(raw) + NARROW

    def cost(out: jax.Array, targets: jax.Array) -> jax.Array:
        """`[B, K]`, 0 where nothing was measured."""
        measured = ~jnp.isnan(targets)
        wanted = jnp.where(measured, (targets - mean) / std, 0.0)  # NaN would go into the gradient
        value, spread = split(out)
        off = value - wanted
        if loss == 'gaussian':
            each = 0.5 * (off / spread)**2 + jnp.log(spread)
        else:
            each = optax.huber_loss(off, delta=delta) if loss == 'huber' else off**2
        return jnp.where(measured, each, 0.0)

    def loss_of(variables: Variables, batch: Batch, key: jax.Array):
        (out, _), mutated = train_forward(module, variables, batch, key)
        each, measured = cost(out, batch['targets']), (~jnp.isnan(batch['targets'])).sum(1)
        total, cases = masked_mean(each.sum(1) / jnp.maximum(measured, 1), batch['mask'])
        return total / jnp.maximum(cases, 1), (mutated, {})

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out, _ = module.apply(variables, *network_inputs(module, batch), train=False)
        value, spread = split(out)
        return {'values': value * std + mean, **({} if spread is None else {'spread': spread * std})}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {}

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(module, key, batch)

    return Task(init, loss_of, predict, metrics)
