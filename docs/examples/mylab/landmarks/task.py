"""A landmark as the mean position under a heatmap."""

from collections.abc import Mapping
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, network_inputs, train_forward
from medjax.options import Positive


def task(module: nn.Module, *, statistics: Mapping[str, Any], scale: Positive = 1.0) -> Task:
    """Makes localisation with a network a task.

    Args:
      module: gives a map `[B, H, W, K]`; its first channel is the heatmap's logits.
      statistics: of the training data: `size`, rows and columns.
      scale: pixels of error that count as 1 in the loss.

    Returns:
      A task on `image` and `point [B, 2]`; `predict` gives `point [B, 2]`, rows and columns in pixels.
    """
    places = jnp.stack(jnp.meshgrid(*map(jnp.arange, statistics['size']), indexing='ij'), -1).reshape(-1, 2)

    def position(logits: jax.Array) -> jax.Array:
        heat = jax.nn.softmax(logits[..., 0].reshape(len(logits), -1))
        return heat @ places.astype(jnp.float32)

    def init(key: jax.Array, batch: Batch) -> Variables:
        return init_variables(module, key, batch)

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        (logits, _), mutated = train_forward(module, variables, batch, key)
        error = jnp.sum((position(logits) - batch['point']) ** 2, -1) / scale**2
        total, count = masked_mean(error, batch['mask'])
        return total / jnp.maximum(count, 1), (mutated, {})

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = module.apply(variables, *network_inputs(module, batch), train=False)
        return {'point': position(logits)}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        return {}

    return Task(init, loss, predict, metrics)
