"""Treatment effects as a task: each patient's outcomes with and without treatment, from observational data.

For each patient one of the two outcomes is observed. The estimates are treatment effects only if there is no unmeasured
confounding: treated and untreated patients differ in nothing that affects the outcome beyond the covariates.
"""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.errors import InputError
from medjax.metrics.covariate_balance import mmd
from medjax.options import NonNegative, Positive


@dataclasses.dataclass(frozen=True)
class Options:
    """Options of the task, and what it knows of the training data.

    Attributes:
      mmd_weight: see `task`, as for mmd_width.
      mmd_width: …
      mean: of the training outcomes.
      std: of the training outcomes.
      treated: share of the training patients that were treated.
    """

    mmd_weight: float
    mmd_width: float
    mean: float
    std: float
    treated: float


def task(module: nn.Module, *, statistics: Mapping[str, Any], mmd_weight: NonNegative = 0.0,
         mmd_width: Positive = 1.0) -> Task:
    """Estimation of treatment effects with a network.

    The loss is the squared error of the observed outcome, in standard deviations of the training outcomes, with equal
    weights of both groups (Shalit 2017). The effects of an X-learner have the squared error to the effects imputed from
    the outcome heads, and its propensity has a cross-entropy (Künzel 2019; its successive stages are trained at once).

    Args:
      module: a network that outputs both outcomes; see `models/tarnet.py`.
      statistics: of the training data: `mean` and `std` of the outcome, and `treated`, the share of treated patients.
      mmd_weight: weight of the squared MMD between the representations of the groups, with which TARNet becomes
        counterfactual regression (CFR).
      mmd_width: kernel width of the MMD; see `metrics.covariate_balance.mmd`.

    Returns:
      A task on `covariates [B, F]` (and whatever else the network takes), `treatment [B]`, 0 or 1, and `outcome [B]`.
      `predict` returns `outcomes [B, 2]`, without and with treatment, in the outcome's unit. The effect of an X-learner
      is that of its effect heads, weighted by the propensity; both outcomes are half of it from their mean.

    Raises:
      InputError: an option is invalid, or the data have no treatment.
    """
    if not isinstance(mmd_weight, int | float) or mmd_weight < 0 or mmd_width <= 0:
        raise InputError(f'config.task: mmd_weight={mmd_weight}, mmd_width={mmd_width}; expected at least 0, and '
                         'above 0')
    if 'treated' not in statistics:
        raise InputError("config.task.name: 'treatment' needs data of a treatment, such as ihdp; the source has no "
                         'treatment groups')
    options = Options(mmd_weight, mmd_width, *(float(statistics[name]) for name in ('mean', 'std', 'treated')))
    return Task(functools.partial(init_variables, module), functools.partial(_loss, module, options),
                functools.partial(_predict, module, options), _metrics, joint=mmd_weight > 0)


def _batch_loss(options: Options, out: jax.Array, feats: Mapping[str, jax.Array], batch: Batch) -> jax.Array:
    treated, mask, share = batch['treatment'] == 1, batch['mask'], options.treated
    outcome = (batch['outcome'] - options.mean) / options.std

    def of_group(columns: jax.Array) -> jax.Array:
        """The column of each patient's own group."""
        return jnp.where(treated, columns[:, 1], columns[:, 0])

    losses = (of_group(out) - outcome)**2
    if 'effects' in feats:
        imputed = jax.lax.stop_gradient(jnp.where(treated, outcome - out[:, 0], out[:, 1] - outcome))
        losses += (of_group(feats['effects']) - imputed)**2
    losses *= jnp.where(treated, 0.5 / share, 0.5 / (1 - share))
    if 'propensity' in feats:
        losses += optax.sigmoid_binary_cross_entropy(feats['propensity'], treated.astype(jnp.float32))
    total, count = masked_mean(losses, mask)
    value = total / jnp.maximum(count, 1)
    if not options.mmd_weight:
        return value
    # Relative to its norm: otherwise the MMD could be minimised by shrinking the representation.
    x = feats['pooled'] * mask[:, None]
    size = jnp.sqrt((x**2).sum() / jnp.maximum(mask.sum(), 1) + 1e-6)
    return value + options.mmd_weight * mmd(x / size, batch['treatment'], mask, options.mmd_width)


def _loss(module: nn.Module, options: Options, variables: Variables, batch: Batch,
          key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
    (out, feats), mutated = train_forward(module, variables, batch, key)
    return _batch_loss(options, out, feats, batch), (mutated, {})


def _predict(module: nn.Module, options: Options, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
    out, feats = module.apply(variables, *network_inputs(module, batch), train=False)
    if 'effects' in feats:
        propensity = jax.nn.sigmoid(feats['propensity'])
        effect = propensity * feats['effects'][:, 0] + (1 - propensity) * feats['effects'][:, 1]
        out = out.mean(1, keepdims=True) + effect[:, None] * jnp.array([-0.5, 0.5])
    return {'outcomes': out * options.std + options.mean}


def _metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
    return {}
