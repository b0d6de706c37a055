"""Decisions at a threshold that was chosen on validation cases, and what they are worth on others."""

from collections.abc import Mapping

import numpy as np

from medjax.metrics import classification
from medjax.tasks.classification.table import Cases

FIGURES = ('sensitivity', 'specificity', 'precision', 'accuracy')


def choose(positive: np.ndarray, probability: np.ndarray, sensitivity: float | None = None) -> float | None:
    """The threshold that a probability must reach for a positive decision: the highest of several that are as good.

    Args:
      positive: `[n]` bool, of validation cases.
      probability: `[n]`.
      sensitivity: the share of positives to find at least; None takes the largest Youden index, sensitivity +
        specificity - 1.

    Returns:
      One of the probabilities; None where only one class is there.
    """
    positive = np.asarray(positive, bool)
    if positive.all() or not positive.any():
        return None
    thresholds = np.unique(probability)[::-1]
    found = 1 - np.searchsorted(np.sort(probability[positive]), thresholds, side='left') / positive.sum()
    if sensitivity is not None:
        # The last reaches all of them. 3 of 4 are .75, however it is rounded.
        return float(thresholds[np.argmax(found >= sensitivity - 1e-12)])
    spared = np.searchsorted(np.sort(probability[~positive]), thresholds, side='left') / (~positive).sum()
    return float(thresholds[np.argmax(np.round(found + spared, 12))])


def thresholds(cases: Cases, sensitivity: float | None = None) -> dict[str, float]:
    """A threshold for the positive class, under '', or for each label, under its name, where one can be chosen."""
    parts = [(name, part) for name, part, _ in cases.parts() if part.binary]
    found = {name: choose(part.targets == 1, part.probs[:, 1], sensitivity) for name, part in parts}
    return {name: value for name, value in found.items() if value is not None}


def figures(cases: Cases, at: Mapping[str, float], weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, precision and accuracy `[...]` of decisions at thresholds, as `NAME_operating[_LABEL]`.

    Args:
      cases: to decide.
      at: what `thresholds` gives.
      weight: `[..., n]`, as for `metrics.classification`.
    """
    out = {}
    for label, part, mask in cases.parts():
        if label in at:
            of = None if weight is None else weight[..., mask]
            found = classification.decision_metrics(part.targets, (part.probs[:, 1] >= at[label]).astype(int), 2, of)
            out |= {f'{name}_operating{f"_{label}" if label else ""}': found[name] for name in FIGURES}
    return out
