"""Classification of whole images: one class of several, of two, of several in an order, or any number of them.

A network's outputs are logits: of two classes one (sigmoid) or two (softmax); of several as many (softmax); of classes
in an order one less, each the odds that the class is a higher one given that it is not a lower one (Shi 2021); of
classes that do not exclude each other one for each (sigmoid).
"""

import functools
from collections.abc import Mapping, Sequence
from typing import Any

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, train_forward
from medjax.errors import InputError

MOST = 20.0  # of balanced weights: a class with hardly a case would outweigh all others


def task(module: nn.Module, *, statistics: Mapping[str, Any], weights: str | Sequence[float] | None = None,
         smoothing: float = 0.0, focal: float = 0.0) -> Task:
    """Makes classification with a network a task.

    Args:
      module: `(image [B, *S, C], train=…) -> (logits [B, K'], feats)`.
      statistics: of the training data: `classes`, `problem` ('binary', 'multiclass', 'ordinal' or 'multilabel'), and
        for balanced weights `positive` and `known`, the training cases that have each class and of which it is known.
      weights: of the classes' terms in the loss, one for each, or 'balanced': so that all classes weigh the same in
        the training set, up to 20 to 1. Of a multilabel problem they weigh the cases that have the class.
      smoothing: share of the target that all classes get alike (Szegedy 2016).
      focal: exponent of (1 - probability of the truth), which weighs down what is known well (Lin 2017).

    Returns:
      A task on `label`: `[B]` integers, or of a multilabel problem `[B, K]` of 0, 1 and −1, which is not known and
      counts nowhere. Where augmentation mixed examples, `partner` is the other one's label and `share [B]` the own
      one's part of the loss. `predict` gives `probs [B, K]` float32; with a key as third argument it leaves dropout on
      (Gal 2016).
    """
    classes, problem = statistics['classes'], statistics.get('problem') or 'multiclass'
    wanted = {'binary': (1, 2), 'ordinal': (len(classes) - 1,)}.get(problem, (len(classes),))
    outputs = getattr(module, 'classes', wanted[0])
    if outputs not in wanted:
        raise InputError(f'config.model.classes: {outputs}; expected {" or ".join(map(str, wanted))} for the {problem} '
                         f'problem {", ".join(classes)}')
    if not 0 <= smoothing < 1 or focal < 0:
        raise InputError(f'config.task: smoothing={smoothing}, focal={focal}; expected 0 to below 1, and 0 or more')
    weighed = jnp.asarray(_weights(weights, statistics, problem), jnp.float32)

    def log_probs(logits: jax.Array) -> jax.Array:
        """`[B, K]`; of a multilabel problem `[B, K, 2]`, without and with the class."""
        logits = logits.astype(jnp.float32)
        yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
        if problem == 'multilabel':
            return jnp.stack([no, yes], -1)
        if problem == 'ordinal':
            # At least this class: every step up to it is taken. Exactly this one: the next step is not.
            reached = jnp.pad(jnp.cumsum(yes, -1), [(0, 0), (1, 0)])
            return reached + jnp.pad(no, [(0, 0), (0, 1)])
        return jnp.concatenate([no, yes], -1) if logits.shape[-1] == 1 else jax.nn.log_softmax(logits)

    def cost(log: jax.Array, label: jax.Array) -> jax.Array:
        """`[B]`: weighted cross-entropy."""
        many = problem == 'multilabel'
        truth = jax.nn.one_hot(label, log.shape[-1])
        share = (1 - smoothing) * truth + smoothing / log.shape[-1]
        # The floor keeps the power's slope finite where a class is certain.
        hard = jnp.maximum(-jnp.expm1(log), 1e-12) ** focal if focal else 1.0
        weight = jnp.stack([jnp.ones_like(weighed), weighed], -1) if many else weighed
        terms = -(share * weight * hard * log).sum(-1)
        if not many:
            return terms
        known = label >= 0
        return jnp.where(known, terms, 0.0).sum(-1) / jnp.maximum(known.sum(-1), 1)

    def loss(variables: Variables, batch: Batch, key: jax.Array):
        (logits, _), mutated = train_forward(module, variables, batch, key)
        log = log_probs(logits)
        each = cost(log, batch['label'])
        if 'partner' in batch:
            each = batch['share'] * each + (1 - batch['share']) * cost(log, batch['partner'])
        total, count = masked_mean(each, batch['mask'])
        states = metrics({'probs': jax.lax.stop_gradient(_probs(log, problem))}, batch)
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def predict(variables: Variables, batch: Batch, key: jax.Array | None = None) -> dict[str, jax.Array]:
        rngs = None if key is None else {'dropout': key}
        logits, _ = module.apply(variables, batch['image'], train=False, rngs=rngs)
        return {'probs': _probs(log_probs(logits), problem)}

    def metrics(outputs: Mapping[str, Any], batch: Batch) -> States:
        probs, label = outputs['probs'], batch['label']
        if problem != 'multilabel':
            return {'accuracy': masked_mean((probs.argmax(-1) == label).astype(jnp.float32), batch['mask'])}
        known = label >= 0
        right = (((probs > 0.5) == (label > 0)) & known).sum(-1)
        share = right / jnp.maximum(known.sum(-1), 1)
        return {'accuracy': masked_mean(share, batch['mask'] * known.any(-1))}

    def features(variables: Variables, image: jax.Array, perturbations: Mapping[str, jax.Array] | None = None):
        """What speaks for each class `[B, K]`, or for class 1 `[B, 1]`, and named features."""
        given = {'perturbations': perturbations} if perturbations else {}
        logits, feats = module.apply({**variables, **given}, image, train=False)
        return (log_probs(logits) if problem == 'ordinal' else logits), feats

    return Task(functools.partial(init_variables, module), loss, predict, metrics, features)


def _probs(log: jax.Array, problem: str) -> jax.Array:
    return jnp.exp(log[..., 1] if problem == 'multilabel' else log)


def _weights(weights: str | Sequence[float] | None, statistics: Mapping[str, Any], problem: str) -> Sequence[float]:
    """A weight for each class; balanced ones make positive and negative cases, or all classes, weigh the same."""
    count = len(statistics['classes'])
    if weights is None:
        return [1.0] * count
    if weights == 'balanced':
        if problem == 'multilabel':
            return [min(max((known - positive) / max(positive, 1), 1 / MOST), MOST)
                    for positive, known in zip(statistics['positive'], statistics['known'])]
        share = [min(known / (count * max(positive, 1)), MOST)
                 for positive, known in zip(statistics['positive'], statistics['known'])]
        return share
    if isinstance(weights, str) or len(weights) != count or min(weights) < 0:
        raise InputError(f"config.task.weights: {weights!r}; expected 'balanced', or {count} numbers, none below zero, "
                         f'for {", ".join(statistics["classes"])}')
    return weights
