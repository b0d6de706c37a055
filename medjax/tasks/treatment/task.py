"""Personalised treatment: what a patient may expect with a treatment and without, learnt from who had which.

Of each patient one of the two outcomes is known. What is learnt is the effect of the treatment only if whoever was
treated differs from the others in nothing that matters beyond the covariates.
"""

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


def task(module: nn.Module, *, statistics: Mapping[str, Any], balance: float = 0.0, width: float = 1.0) -> Task:
    """Makes the effect of a treatment, with a network, a task.

    The loss is the squared error of the outcome that came, in standard deviations of the training outcomes, each group
    counting half (Shalit 2017). An X-learner's effects have the squared error of what the heads of the outcomes impute,
    and its propensity a cross-entropy (Künzel 2019, whose steps, one after the other there, are taken at once here).

    Args:
      module: a network that gives both outcomes; see `models/tarnet.py`.
      statistics: of the training data: `mean` and `std` of the outcome, `treated`, the share that was treated.
      balance: weight of the distance between the groups' representations, whose squared MMD makes TARNet a
        counterfactual regression (CFR).
      width: of the distance's kernel; see `balance.mmd`.

    Returns:
      A task on `covariates [B, F]` (and whatever else the network sees), `treatment [B]`, 0 or 1, and `outcome [B]`.
      `predict` gives `outcomes [B, 2]`, without and with treatment, in the outcome's unit. An X-learner's effect is
      that of its own heads, weighted by the propensity; both outcomes lie half of it from their mean.
    """
    if not isinstance(balance, int | float) or balance < 0 or width <= 0:
        raise InputError(f'config.task: balance={balance}, width={width}; expected at least 0, and above 0')
    if 'treated' not in statistics:
        raise InputError("config.task.name: 'treatment' needs data of a treatment, such as ihdp; the source has no groups")
    mean, std, share = (float(statistics[name]) for name in ('mean', 'std', 'treated'))

    def cost(out: jax.Array, feats: Mapping[str, jax.Array], batch: Batch) -> jax.Array:
        treated, mask = batch['treatment'] == 1, batch['mask']
        came = (batch['outcome'] - mean) / std

        def of_group(each: jax.Array) -> jax.Array:
            """A patient's own of two columns."""
            return jnp.where(treated, each[:, 1], each[:, 0])

        each = (of_group(out) - came)**2
        if 'effects' in feats:
            imputed = jax.lax.stop_gradient(jnp.where(treated, came - out[:, 0], out[:, 1] - came))
            each += (of_group(feats['effects']) - imputed)**2
        each *= jnp.where(treated, 0.5 / share, 0.5 / (1 - share))
        if 'propensity' in feats:
            each += optax.sigmoid_binary_cross_entropy(feats['propensity'], treated.astype(jnp.float32))
        total, count = masked_mean(each, mask)
        value = total / jnp.maximum(count, 1)
        if not balance:
            return value
        # In units of its size: else to make all of it small would be the easiest way to bring groups together.
        x = feats['pooled'] * mask[:, None]
        size = jnp.sqrt((x**2).sum() / jnp.maximum(mask.sum(), 1) + 1e-6)
        return value + balance * mmd(x / size, batch['treatment'], mask, width)

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        (out, feats), mutated = train_forward(module, variables, batch, key)
        return cost(out, feats, batch), (mutated, {})

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        out, feats = module.apply(variables, *network_inputs(module, batch), train=False)
        if 'effects' in feats:
            chance = jax.nn.sigmoid(feats['propensity'])
            effect = chance * feats['effects'][:, 0] + (1 - chance) * feats['effects'][:, 1]
            out = out.mean(1, keepdims=True) + effect[:, None] * jnp.array([-0.5, 0.5])
        return {'outcomes': out * std + mean}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {}

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(module, key, batch)

    return Task(init, loss, predict, metrics, joint=balance > 0)
