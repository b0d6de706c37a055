"""Classification of whole images: binary, multiclass, ordinal or multilabel.

The network's outputs are logits. Binary problems have one logit (sigmoid) or two (softmax), multiclass problems one for
each class (softmax), and multilabel problems one for each label (sigmoid). Ordinal problems have one less than classes:
each is the log odds that the class is a higher one, given that it is not a lower one (Shi 2021).
"""

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import flax.linen as nn
import jax
import jax.numpy as jnp

from medjax.core import contracts
from medjax.core.metrics import masked_mean
from medjax.core.task import Batch, States, Task, Variables, init_variables, train_forward
from medjax.errors import InputError
from medjax.options import FractionBelowOne, NonNegative, Positive

MAX_WEIGHT = 20.0  # of balanced weights: a class with hardly a case would outweigh all others


@dataclasses.dataclass(frozen=True)
class Classification:
    """The functions of the task, as methods; see `task`."""

    module: nn.Module
    problem: str
    class_weights: jax.Array
    label_smoothing: float
    focal_gamma: float

    @property
    def multilabel(self) -> bool:
        """Whether each class is a label of its own."""
        return self.problem == 'multilabel'

    def log_probs(self, logits: jax.Array) -> jax.Array:
        """Log probabilities `[B, K]`; for multilabel problems `[B, K, 2]`, without and with the label."""
        logits = logits.astype(jnp.float32)
        yes, no = jax.nn.log_sigmoid(logits), jax.nn.log_sigmoid(-logits)
        if self.multilabel:
            return jnp.stack([no, yes], -1)
        if self.problem == 'ordinal':
            # At least this class: every step up to it is taken. Exactly this class: the next step is not taken.
            reached = jnp.pad(jnp.cumsum(yes, -1), [(0, 0), (1, 0)])
            return reached + jnp.pad(no, [(0, 0), (0, 1)])
        return jnp.concatenate([no, yes], -1) if logits.shape[-1] == 1 else jax.nn.log_softmax(logits)

    def probs(self, log: jax.Array) -> jax.Array:
        """Probabilities `[B, K]` of log probabilities."""
        return jnp.exp(log[..., 1] if self.multilabel else log)

    def cross_entropy(self, log: jax.Array, label: jax.Array) -> jax.Array:
        """Weighted cross-entropy of each example, `[B]`.

        Args:
          log: log probabilities.
          label: `[B]` class numbers, or `[B, K]` labels.
        """
        truth = jax.nn.one_hot(label, log.shape[-1])
        target = (1 - self.label_smoothing) * truth + self.label_smoothing / log.shape[-1]
        # The lower bound keeps the power's gradient finite where a class is certain.
        focus = jnp.maximum(-jnp.expm1(log), 1e-12) ** self.focal_gamma if self.focal_gamma else 1.0
        weight = self.class_weights
        if self.multilabel:
            weight = jnp.stack([jnp.ones_like(weight), weight], -1)
        terms = -(target * weight * focus * log).sum(-1)
        if not self.multilabel:
            return terms
        known = label >= 0
        return jnp.where(known, terms, 0.0).sum(-1) / jnp.maximum(known.sum(-1), 1).astype(jnp.float32)

    def loss(self, variables: Variables, batch: Batch, key: jax.Array) -> tuple[jax.Array, tuple[Variables, States]]:
        """The mean cross-entropy over the batch."""
        (logits, _), mutated = train_forward(self.module, variables, batch, key)
        log = self.log_probs(logits)
        each = self.cross_entropy(log, batch['label'])
        if 'partner' in batch:
            each = batch['share'] * each + (1 - batch['share']) * self.cross_entropy(log, batch['partner'])
        total, count = masked_mean(each, batch['mask'])
        states = self.metrics({'probs': jax.lax.stop_gradient(self.probs(log))}, batch)
        return total / jnp.maximum(count, 1.0), (mutated, states)

    def predict(self, variables: Variables, batch: Batch, key: jax.Array | None = None) -> dict[str, jax.Array]:
        """`probs [B, K]` float32; with a key, dropout is active (Gal 2016)."""
        rngs = None if key is None else {'dropout': key}
        logits, _ = self.module.apply(variables, batch['image'], train=False, rngs=rngs)
        return {'probs': self.probs(self.log_probs(logits))}

    def metrics(self, outputs: Mapping[str, Any], batch: Batch) -> States:
        """Accuracy; for multilabel problems the fraction of known labels that are right at a threshold of 0.5."""
        probs, label = outputs['probs'], batch['label']
        if not self.multilabel:
            return {'accuracy': masked_mean((probs.argmax(-1) == label).astype(jnp.float32), batch['mask'])}
        known = label >= 0
        right = (((probs > 0.5) == (label > 0)) & known).sum(-1)
        share = right / jnp.maximum(known.sum(-1), 1)
        return {'accuracy': masked_mean(share, batch['mask'] * known.any(-1).astype(jnp.float32))}

    def features(self, variables: Variables, image: jax.Array,
                 perturbations: Mapping[str, jax.Array] | None = None) -> tuple[jax.Array, Mapping[str, Any]]:
        """The scores that saliency maps explain, `[B, K]`, or `[B, 1]` for class 1, and named features."""
        collections = {'perturbations': perturbations} if perturbations else {}
        logits, feats = self.module.apply({**variables, **collections}, image, train=False)
        return (self.log_probs(logits) if self.problem == 'ordinal' else logits), feats


def task(module: nn.Module, *, statistics: Mapping[str, Any],
         class_weight: Literal['balanced'] | Sequence[Positive] | None = None, label_smoothing: FractionBelowOne = 0.0,
         focal_gamma: NonNegative = 0.0) -> Task:
    """The classification task.

    Args:
      module: the network, `(image [B, *S, C], train=…) -> (logits [B, K'], feats)`; see the module for K'.
      statistics: statistics of the training data: `classes`, `problem` ('binary', 'multiclass', 'ordinal' or
        'multilabel'), and for balanced weights `positive` and `known`, the numbers of training cases that have each
        class and for which it is known.
      class_weight: weight of each class in the loss, or 'balanced': all classes have the same total weight in the
        training set, up to a weight of 20. For multilabel problems the weights are of cases that have the label.
      label_smoothing: label smoothing: fraction of the target that is spread over all classes (Szegedy 2016).
      focal_gamma: exponent of (1 - probability of the truth), which lowers the weight of easy examples (Lin 2017).

    Returns:
      A task on `label`: `[B]` integers, or for multilabel problems `[B, K]` of 0, 1 and −1 for unknown labels, which
      are ignored. If augmentation mixed examples, `partner` is the other example's label and `share [B]` the weight of
      the own one. `predict` gives `probs [B, K]` float32; with a key as third argument dropout is active (Gal 2016).

    Raises:
      InputError: the network has another number of outputs, or an option is out of range.
    """
    classes, problem = statistics['classes'], statistics.get('problem') or 'multiclass'
    expected = {'binary': (1, 2), 'ordinal': (len(classes) - 1,)}.get(problem, (len(classes),))
    outputs = contracts.option(module, 'classes') or expected[0]
    if outputs not in expected:
        raise InputError(f'config.model.classes: {outputs}; expected {" or ".join(map(str, expected))} for the '
                         f'{problem} problem {", ".join(classes)}')
    if not 0 <= label_smoothing < 1 or focal_gamma < 0:
        raise InputError(f'config.task: label_smoothing={label_smoothing}, focal_gamma={focal_gamma}; '
                         'expected 0 to below 1, and 0 or more')
    class_weights = jnp.asarray(_class_weights(class_weight, statistics, problem), jnp.float32)
    parts = Classification(module, problem, class_weights, label_smoothing, focal_gamma)
    return Task(functools.partial(init_variables, module), parts.loss, parts.predict, parts.metrics, parts.features)


def _class_weights(weights: str | Sequence[float] | None, statistics: Mapping[str, Any],
                   problem: str) -> Sequence[float]:
    """A weight for each class; balanced weights give positive and negative cases, or all classes, equal totals."""
    count = len(statistics['classes'])
    if weights is None:
        return [1.0] * count
    if weights == 'balanced':
        pairs = zip(statistics['positive'], statistics['known'])
        if problem == 'multilabel':
            return [min(max((known - positive) / max(positive, 1), 1 / MAX_WEIGHT), MAX_WEIGHT)
                    for positive, known in pairs]
        return [min(known / (count * max(positive, 1)), MAX_WEIGHT) for positive, known in pairs]
    if isinstance(weights, str) or len(weights) != count or min(weights) < 0:
        raise InputError(f"config.task.class_weight: {weights!r}; expected 'balanced', or {count} numbers, "
                         f'none below zero, for {", ".join(statistics["classes"])}')
    return weights
