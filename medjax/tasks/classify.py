"""Classification: one class of several for a whole image."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import optax

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, initial, trained_forward
from medjax.errors import InputError


def task(module: nn.Module, *, classes: Sequence[str]) -> Task:
    """Makes classification with a network a task.

    Args:
      module: `(image [B, *S, C], train=…) -> (logits [B, K], feats)`.
      classes: the classes' names.

    Returns:
      A task with softmax and cross-entropy on `label [B]`, whose `predict` gives `probs [B, K]` float32.
    """
    outputs = getattr(module, 'classes', len(classes))
    if outputs != len(classes):
        raise InputError(f'config.model.classes: {outputs}; expected {len(classes)} for {", ".join(classes)}')

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        (logits, _), mutated = trained_forward(module, variables, batch, key)
        each = optax.softmax_cross_entropy_with_integer_labels(logits, batch['label'])
        total, count = masked_mean(each, batch['mask'])
        states = metrics({'probs': jax.lax.stop_gradient(logits)}, batch)
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = module.apply(variables, batch['image'], train=False)
        return {'probs': jax.nn.softmax(logits)}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        right = outputs['probs'].argmax(-1) == batch['label']
        return {'accuracy': masked_mean(right.astype(jnp.float32), batch['mask'])}

    return Task(functools.partial(initial, module), loss, predict, metrics)
