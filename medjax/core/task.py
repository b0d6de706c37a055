"""The one abstraction: what the train loop has to know of a problem, and nothing more."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax

Batch = Mapping[str, jax.Array]
Variables = Mapping[str, Any]
States = Mapping[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count); see core.metrics


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem as four pure functions; every one may be traced, sharded and differentiated.

    Attributes:
      init: `(key, batch) -> variables`, a dict of collections, 'params' among them.
      loss: `(variables, batch, key) -> (scalar float32, (mutated collections, metric states))`. The scalar is the mean
        over the examples with `mask` 1, so that a device's mean over an equal share of them averages to the whole's.
      predict: `(variables, batch) -> dict of arrays`, such as 'probs', 'boxes', 'risk' or 'recon'.
      metrics: `(outputs, batch) -> metric states`, masked by `batch['mask']`.
    """

    init: Callable[[jax.Array, Batch], Variables]
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, tuple[Variables, States]]]
    predict: Callable[[Variables, Batch], dict[str, jax.Array]]
    metrics: Callable[[Mapping[str, jax.Array], Batch], States]


def initial(module: nn.Module, key: jax.Array, batch: Batch) -> Variables:
    """A network's variables, for a batch's images."""
    return module.init({'params': key}, batch['image'], train=False)


def trained_forward(module: nn.Module, variables: Variables, batch: Batch, key: jax.Array) -> tuple[Any, Variables]:
    """What a network gives for a batch's images in training, and the collections that this changed."""
    mutable = [name for name in variables if name != 'params']
    return module.apply(variables, batch['image'], train=True, mutable=mutable, rngs={'dropout': key})
