"""The task: a problem as pure functions, which is all that the train loop knows of it."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.core import DenyList

from medjax.core import contracts

Batch = Mapping[str, jax.Array]
Variables = Mapping[str, Any]
States = Mapping[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count); see core.metrics


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem as pure functions; each can be traced, sharded and differentiated.

    Attributes:
      init: `(key, batch) -> variables`, a dict of collections, among them 'params'.
      loss: `(variables, batch, key) -> (scalar float32, (mutated collections, metric states))`. The scalar is the mean
        over the examples with `mask` 1, so that the average over devices with equal shares of the examples is the mean
        over the whole batch.
      predict: `(variables, batch) -> dict of arrays`, such as 'probs', 'boxes', 'risk' or 'recon'. Some tasks accept a
        key as third argument, which keeps dropout active.
      metrics: `(outputs, batch) -> metric states`, masked by `batch['mask']`.
      features: `(variables, image, perturbations) -> (logits, features)`, for explanations: a perturbation is added to
        the feature of its name, so that gradients can be taken with respect to it. None where the task has no
        explanations.
      joint: whether an example's loss depends on the other examples of its batch. Such a batch cannot be split, which
        excludes pmap and micro-batches.
    """

    init: Callable[[jax.Array, Batch], Variables]
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, tuple[Variables, States]]]
    predict: Callable[..., dict[str, jax.Array]]
    metrics: Callable[[Mapping[str, jax.Array], Batch], States]
    features: Callable[..., tuple[jax.Array, Mapping[str, Any]]] | None = None
    joint: bool = False


def network_inputs(module: nn.Module, batch: Batch) -> list[jax.Array]:
    """The entries of a batch that a network takes, in order: the image, or those that its `inputs` names."""
    return [batch[name] for name in contracts.option(module, 'inputs')]


def init_variables(module: nn.Module, key: jax.Array, batch: Batch, **options: Any) -> Variables:
    """The initial variables of a network.

    The collection 'perturbations', zeros that flax adds for features that can be explained (`perturb`), is left out:
    it is passed where a gradient with respect to a feature is needed, and it is not trained.

    Args:
      module: the network.
      key: random key of the initial parameters.
      batch: an example of a batch.
      **options: further arguments of the network.
    """
    collections = DenyList(('intermediates', 'perturbations'))
    return module.init({'params': key}, *network_inputs(module, batch), train=False, mutable=collections, **options)


def train_forward(module: nn.Module, variables: Variables, batch: Batch, key: jax.Array) -> tuple[Any, Variables]:
    """The output of a network in training mode, and the collections that the forward pass changed.

    Args:
      module: the network.
      variables: its variables; all collections but 'params' may change.
      batch: the batch.
      key: random key of dropout.
    """
    mutable = [name for name in variables if name != 'params']
    inputs = network_inputs(module, batch)
    return module.apply(variables, *inputs, train=True, mutable=mutable, rngs={'dropout': key})
