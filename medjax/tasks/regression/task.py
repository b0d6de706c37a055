"""Regression as a task: measured numbers, some of which may be missing in a case."""

import dataclasses
import functools
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
from medjax.options import Positive

LOSSES = ('mse', 'huber', 'gaussian')
MIN_SPREAD = 1e-3  # smallest predicted standard deviation, in standard deviations of the training targets


@dataclasses.dataclass(frozen=True, eq=False)
class Options:
    """Options of the task, and what it knows of the training data.

    Attributes:
      loss: a name in LOSSES.
      delta: see `task`.
      mean: `[K]` float32, of the training targets.
      std: `[K]` float32, of the training targets.
    """

    loss: str
    delta: float
    mean: jax.Array
    std: jax.Array


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: str = 'mse', delta: Positive = 1.0) -> Task:
    """Regression with a network.

    Targets are standardised by the mean and standard deviation of the training cases. The loss of a case is the mean
    over its measured targets; a case without any has a loss of 0.

    Args:
      module: outputs `[B, outputs]`: K numbers for K targets, or 2K for 'gaussian', the means first.
      statistics: of the training data: `classes`, the names of the targets, their `mean` and `std`.
      loss: 'mse'; 'huber', which is linear for errors above `delta`; 'gaussian', the negative log likelihood of a
        normal distribution whose standard deviation is predicted too (Nix & Weigend 1994).
      delta: of the Huber loss, in standard deviations.

    Returns:
      A task on `targets [B, K]`, NaN where not measured, and the network's inputs. `predict` returns `values [B, K]` in
      the targets' units, and for 'gaussian' `spread [B, K]`, the predicted standard deviation.

    Raises:
      InputError: an option is invalid, or does not fit the network or the data.
    """
    names = statistics['classes']
    if loss not in LOSSES:
        raise InputError(f'config.task.loss: {loss!r}; expected one of: {", ".join(LOSSES)}')
    if not delta > 0:
        raise InputError(f'config.task.delta: {delta}; expected above 0')
    if 'std' not in statistics or len(np.atleast_1d(statistics['std'])) != len(names):
        raise InputError("config.task.name: 'regression' needs data with measured targets, such as molecules")
    outputs = 2 * len(names) if loss == 'gaussian' else len(names)
    if module.outputs != outputs:
        targets = '1 target' if len(names) == 1 else f'{len(names)} targets'
        raise InputError(f'config.model.outputs: {module.outputs}; expected {outputs} for config.task.loss {loss!r} '
                         f'and {targets} ({", ".join(names)})')
    options = Options(loss, delta, *(jnp.asarray(statistics[name], jnp.float32) for name in ('mean', 'std')))
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module, options), _metrics)


def _split(options: Options, out: jax.Array) -> tuple[jax.Array, jax.Array | None]:
    """Standardised values and their standard deviation, `[B, K]` each."""
    if options.loss != 'gaussian':
        return out, None
    value, raw = jnp.split(out, 2, -1)
    return value, jax.nn.softplus(raw) + MIN_SPREAD


def _losses(options: Options, out: jax.Array, targets: jax.Array) -> jax.Array:
    """Losses `[B, K]`; 0 where the target was not measured."""
    measured = ~jnp.isnan(targets)
    scaled = jnp.where(measured, (targets - options.mean) / options.std, 0.0)  # NaN would pass into the gradient
    value, spread = _split(options, out)
    error = value - scaled
    if options.loss == 'gaussian':
        losses = 0.5 * (error / spread)**2 + jnp.log(spread)
    elif options.loss == 'huber':
        losses = optax.huber_loss(error, delta=options.delta)
    else:
        losses = error**2
    return jnp.where(measured, losses, 0.0)


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch,
          key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
    (out, _), mutated = train_forward(module, variables, batch, key)
    losses, measured = _losses(options, out, batch['targets']), (~jnp.isnan(batch['targets'])).sum(1)
    total, cases = masked_mean(losses.sum(1) / jnp.maximum(measured, 1).astype(losses.dtype), batch['mask'])
    return total / jnp.maximum(cases, 1), (mutated, {})


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    out, _ = module.apply(variables, *network_inputs(module, batch), train=False)
    value, spread = _split(options, out)
    outputs = {'values': value * options.std + options.mean}
    if spread is not None:
        outputs['spread'] = spread * options.std
    return outputs


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    return {}
