"""Segmentation: a class for every voxel, pixel or sample, in 1D, 2D and 3D."""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from medjax.core import contracts
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, train_forward
from medjax.errors import InputError
from medjax.losses import segmentation
from medjax.ops.labels import IGNORED, last_region, region_matrix


@dataclasses.dataclass(frozen=True)
class Segmentation:
    """The functions of the task, as methods; see `task`."""

    module: nn.Module
    classes: Sequence[str]
    outputs: int
    terms: Mapping[str, Any]
    include_background: bool
    regions: Mapping[str, Sequence[int]]

    def probs(self, logits: jax.Array) -> jax.Array:
        """Probabilities `[B, *S, len(classes)]` of logits `[B, *S, outputs]`; of regions `[B, *S, outputs]`."""
        if self.regions:
            return jax.nn.sigmoid(logits.astype(jnp.float32))
        if self.outputs > 1:
            return jax.nn.softmax(logits)
        return jnp.concatenate([jax.nn.sigmoid(-logits), jax.nn.sigmoid(logits)], -1)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
        """The mean over the examples of the weighted sum of loss terms, with deep supervision."""
        (logits, feats), mutated = train_forward(self.module, variables, batch, key)
        scales = (logits, *feats.get('deep', ()))
        # The weights of nnU-Net: halved at each coarser scale, and normalised to a sum of 1.
        weights = [0.5 ** i / sum(0.5 ** j for j in range(len(scales))) for i in range(len(scales))]
        each = sum(w * self._loss_terms(s, shrink_labels(batch['label'], s.shape[1:-1]))
                   for w, s in zip(weights, scales))
        total, count = masked_mean(each, batch['mask'])
        states = self.metrics({'probs': self.probs(jax.lax.stop_gradient(logits))}, batch)
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def _loss_terms(self, logits: jax.Array, label: jax.Array) -> jax.Array:
        """The weighted sum of loss terms of each example, `[B]`; of regions the mean over them, each a sigmoid."""
        if self.regions:
            each = []
            for number, members in enumerate(region_matrix(self.classes, self.regions)):
                target = jnp.where(label == IGNORED, IGNORED, _inside(label, members).astype(label.dtype))
                each.append(segmentation.weighted_sum(logits[..., number, None], target, self.terms, ignore=IGNORED,
                                                      include_background=self.include_background))
            return sum(each[1:], each[0]) / len(each)
        return segmentation.weighted_sum(logits, label, self.terms, ignore=IGNORED,
                                         include_background=self.include_background)

    def predict(self, variables: Variables, batch: Batch) -> dict[str, jax.Array]:
        """`probs [B, *S, len(classes)]` float32; of regions `[B, *S, len(classes) - 1]`."""
        logits, _ = self.module.apply(variables, batch['image'], train=False)
        return {'probs': self.probs(logits)}

    def metrics(self, outputs: Mapping[str, jax.Array], batch: Batch) -> States:
        """Dice of each class over the voxels of the batch: twice the overlap, over the sum of both sizes."""
        label, mask = batch['label'], batch['mask'] > 0
        valid = jnp.broadcast_to(mask.reshape(-1, *[1] * (label.ndim - 1)), label.shape)
        valid &= label != IGNORED
        probs, states = outputs['probs'], {}
        predicted = last_region(probs) if self.regions else probs.argmax(-1)
        for name, members in zip(self.classes[1:], region_matrix(self.classes, self.regions)):
            p, t = _inside(predicted, members) & valid, _inside(label, members) & valid
            states[f'dice_{name}'] = (2.0 * jnp.sum(p & t, dtype=jnp.float32),
                                      jnp.sum(p, dtype=jnp.float32) + jnp.sum(t, dtype=jnp.float32))
        return states


def _inside(label: jax.Array, members: np.ndarray) -> jax.Array:
    """Where class numbers are among the members, bool; `members` is `[classes]` bool."""
    return functools.reduce(jnp.logical_or, [label == number for number in np.flatnonzero(members).tolist()])


def task(module: nn.Module, *, statistics: Mapping[str, Any], loss: Mapping[str, Any],
         include_background: bool = False) -> Task:
    """The segmentation task.

    Args:
      module: the network, `(image [B, *S, C], train=…) -> (logits [B, *S, K], feats)`. K is the number of classes
        (softmax), or 1 for the second of two classes (sigmoid). `feats['deep']`, if there is one, is a tuple of logits
        at coarser scales for deep supervision.
      statistics: statistics of the training data: `classes`, the names, background first; and `regions`, where classes
        are regions that may contain each other (Source.regions): the network then has an output, a sigmoid, for each
        region, and losses are means over the regions.
      loss: terms of `losses.segmentation` by name, with their weights and options; see `losses.segmentation`.
      include_background: whether region losses include the background.

    Returns:
      A task whose `predict` gives `probs [B, *S, len(classes)]` float32. Losses and metrics ignore voxels with the
      label 255.

    Raises:
      InputError: the network has another number of outputs, or a loss term is unknown.
    """
    classes, regions = statistics['classes'], statistics.get('regions') or {}
    outputs = contracts.option(module, 'classes') or len(classes)
    if regions and outputs != len(regions):
        raise InputError(f'config.model.classes: {outputs}; expected {len(regions)}, one for each of the regions '
                         f'{", ".join(regions)}')
    if not regions and outputs != len(classes) and not (outputs == 1 and len(classes) == 2):
        single = ' (or 1, a sigmoid)' if len(classes) == 2 else ''
        raise InputError(f'config.model.classes: {outputs}; expected {len(classes)} for {", ".join(classes)}{single}')
    segmentation.check_terms(loss)
    parts = Segmentation(module, classes, outputs, loss, include_background, regions)
    return Task(functools.partial(init_variables, module), parts.loss, parts.predict, parts.metrics)


def shrink_labels(label: jax.Array, shape: Sequence[int]) -> jax.Array:
    """Labels `[B, *S]` on a coarser grid of `shape`, by taking every (S / shape)-th voxel."""
    strides = [large // small for large, small in zip(label.shape[1:], shape)]
    return label[(slice(None), *(slice(None, None, s) for s in strides))]
