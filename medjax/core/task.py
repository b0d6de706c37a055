"""The one abstraction: what the train loop has to know of a problem, and nothing more."""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import flax.linen as nn
import jax
from flax.core import DenyList

Batch = Mapping[str, jax.Array]
Variables = Mapping[str, Any]
States = Mapping[str, tuple[jax.Array, jax.Array]]  # name -> (sum, count); see core.metrics


@dataclasses.dataclass(frozen=True)
class Task:
    """A problem as pure functions; every one may be traced, sharded and differentiated.

    Attributes:
      init: `(key, batch) -> variables`, a dict of collections, 'params' among them.
      loss: `(variables, batch, key) -> (scalar float32, (mutated collections, metric states))`. The scalar is the mean
        over the examples with `mask` 1, so that a device's mean over an equal share of them averages to the whole's.
      predict: `(variables, batch) -> dict of arrays`, such as 'probs', 'boxes', 'risk' or 'recon'. Where a task takes
        a key as third argument, that leaves dropout on.
      metrics: `(outputs, batch) -> metric states`, masked by `batch['mask']`.
      features: `(variables, image, perturbations) -> (logits, feats)`, for explanations: what is added to a feature by
        its name is what gradients can be taken by. None where there is nothing to explain.
      joint: whether an example's loss is by the others of its batch, which then has to stay one: no pmap, and no
        micro-batches.
    """

    init: Callable[[jax.Array, Batch], Variables]
    loss: Callable[[Variables, Batch, jax.Array], tuple[jax.Array, tuple[Variables, States]]]
    predict: Callable[..., dict[str, jax.Array]]
    metrics: Callable[[Mapping[str, jax.Array], Batch], States]
    features: Callable[..., tuple[jax.Array, Mapping[str, Any]]] | None = None
    joint: bool = False


def seen(module: nn.Module, batch: Batch) -> list[jax.Array]:
    """What a network sees of a batch: the image, or what its `inputs` name."""
    return [batch[name] for name in getattr(module, 'inputs', ('image',))]


def initial(module: nn.Module, key: jax.Array, batch: Batch, **more: Any) -> Variables:
    """A network's variables, for what it sees of a batch and whatever `more` it takes.

    Without 'perturbations', the zeros that flax would add to features that can be explained (`perturb`): they are
    given where a gradient by a feature is wanted, and are no part of what is trained.
    """
    barred = DenyList(('intermediates', 'perturbations'))
    return module.init({'params': key}, *seen(module, batch), train=False, mutable=barred, **more)


def trained_forward(module: nn.Module, variables: Variables, batch: Batch, key: jax.Array) -> tuple[Any, Variables]:
    """What a network gives for what it sees of a batch in training, and the collections that this changed."""
    mutable = [name for name in variables if name != 'params']
    return module.apply(variables, *seen(module, batch), train=True, mutable=mutable, rngs={'dropout': key})
