"""Segmentation: a class for every voxel, in 2D and 3D."""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core import contracts
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, train_forward
from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.ops.labels import IGNORED


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: Mapping[str, Any],
         include_background: bool = False) -> Task:
    """Makes segmentation with a network a task.

    Args:
      module: `(image [B, *S, C], train=…) -> (logits [B, *S, K], feats)`. With K = 1 the one logit is for the second
        of two classes (sigmoid), else K is the number of classes (softmax). `feats['deep']`, where the network gives
        it, is a tuple of logits at coarser scales, which share the loss (deep supervision).
      statistics: of the training data; of them `classes`, the names, background first.
      loss: terms of `losses.segmentation` by name, with their weights and options; see `losses.total`.
      include_background: whether region losses are about the background as well.

    Returns:
      A task whose `predict` gives `probs [B, *S, len(classes)]` float32. Voxels with the label 255 count in none of its
      losses and metrics.
    """
    classes = statistics['classes']
    outputs = contracts.option(module, 'classes') or len(classes)
    if outputs != len(classes) and not (outputs == 1 and len(classes) == 2):
        raise InputError(f'config.model.classes: {outputs}; expected {len(classes)} for {", ".join(classes)}'
                         + (' (or 1, a sigmoid)' if len(classes) == 2 else ''))

    segmentation.check_terms(loss)

    def terms(logits: jax.Array, label: jax.Array) -> jax.Array:
        return segmentation.weighted_sum(logits, label, loss, ignore=IGNORED, include_background=include_background)

    def probs(logits: jax.Array) -> jax.Array:
        if outputs > 1:
            return jax.nn.softmax(logits)
        return jnp.concatenate([jax.nn.sigmoid(-logits), jax.nn.sigmoid(logits)], -1)

    def loss_fn(variables: Variables, batch: Batch, key: jax.Array):
        (logits, feats), mutated = train_forward(module, variables, batch, key)
        scales = (logits, *feats.get('deep', ()))
        # nnU-Net's weights: halved at each coarser scale, and normalised to 1.
        weights = [0.5 ** i / sum(0.5 ** j for j in range(len(scales))) for i in range(len(scales))]
        each = sum(w * terms(s, shrink(batch['label'], s.shape[1:-1])) for w, s in zip(weights, scales))
        total, count = masked_mean(each, batch['mask'])
        states = metrics({'probs': probs(jax.lax.stop_gradient(logits))}, batch)
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def predict(variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        logits, _ = module.apply(variables, batch['image'], train=False)
        return {'probs': probs(logits)}

    def metrics(outputs: Mapping[str, jax.Array], batch: Batch) -> States:
        """Dice of each class over the batch's voxels: twice the overlap, over the sum of both sizes."""
        label, mask = batch['label'], batch['mask'] > 0
        valid = jnp.broadcast_to(mask.reshape(-1, *[1] * (label.ndim - 1)), label.shape)
        valid &= label != IGNORED
        guess, states = outputs['probs'].argmax(-1), {}
        for number, name in enumerate(classes[1:], 1):
            p, t = (guess == number) & valid, (label == number) & valid
            states[f'dice_{name}'] = (2.0 * jnp.sum(p & t, dtype=jnp.float32),
                                      jnp.sum(p, dtype=jnp.float32) + jnp.sum(t, dtype=jnp.float32))
        return states

    return Task(functools.partial(init_variables, module), loss_fn, predict, metrics)


def shrink(label: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Labels `[B, *S]` on a coarser grid of `shape`, by taking every (S / shape)-th voxel."""
    strides = [big // small for big, small in zip(label.shape[1:], shape)]
    return label[(slice(None), *(slice(None, None, s) for s in strides))]
