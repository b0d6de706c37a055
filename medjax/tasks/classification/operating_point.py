"""Operating points: thresholds that are chosen on some cases, and metrics of the decisions on others."""

from collections.abc import Mapping

import numpy as np

from medjax.metrics import classification
from medjax.tasks.classification.table import Cases

METRICS = ('sensitivity', 'specificity', 'precision', 'accuracy')
SUFFIX = '_operating'  # of the names of metrics at the operating point


def choose_threshold(positive: np.ndarray, probability: np.ndarray, sensitivity: float | None = None) -> float | None:
    """The threshold that a probability must reach for a positive decision; the highest of several that are equal.

    Args:
      positive: `[n]` bool, of the cases that it is chosen on.
      probability: `[n]`.
      sensitivity: minimum sensitivity; None for the largest Youden index, sensitivity + specificity - 1.

    Returns:
      One of the probabilities; None where there is only one class.
    """
    positive = np.asarray(positive, bool)
    if positive.all() or not positive.any():
        return None
    candidates = np.unique(probability)[::-1]
    true_positive = 1 - np.searchsorted(np.sort(probability[positive]), candidates, side='left') / positive.sum()
    if sensitivity is not None:
        # The last one reaches any sensitivity. The tolerance makes 3 of 4 reach .75 in spite of rounding.
        return float(candidates[np.argmax(true_positive >= sensitivity - 1e-12)])
    true_negative = np.searchsorted(np.sort(probability[~positive]), candidates, side='left') / (~positive).sum()
    return float(candidates[np.argmax(np.round(true_positive + true_negative, 12))])


def choose_thresholds(cases: Cases, sensitivity: float | None = None) -> dict[str, float]:
    """The threshold of the positive class, under '', or of each label, under its name, where one can be chosen."""
    parts = [(name, part) for name, part, _ in cases.parts() if part.binary]
    found = {name: choose_threshold(part.targets == 1, part.probs[:, 1], sensitivity) for name, part in parts}
    return {name: value for name, value in found.items() if value is not None}


def metrics_at(cases: Cases, thresholds: Mapping[str, float],
               weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Sensitivity, specificity, precision and accuracy at thresholds, as `NAME_operating` or `NAME_operating_LABEL`.

    Args:
      cases: the cases.
      thresholds: of `choose_thresholds`.
      weight: `[..., n]`, the number of times that each case counts; 1 by default.

    Returns:
      `[...]` for each name.
    """
    out = {}
    for label, part, mask in cases.parts():
        if label in thresholds:
            decisions = (part.probs[:, 1] >= thresholds[label]).astype(int)
            part_weight = None if weight is None else weight[..., mask]
            found = classification.decision_metrics(part.targets, decisions, 2, part_weight)
            out |= {f'{name}{SUFFIX}_{label}' if label else f'{name}{SUFFIX}': found[name] for name in METRICS}
    return out
