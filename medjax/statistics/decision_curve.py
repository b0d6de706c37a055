"""Net benefit of decisions by a predicted probability, over a range of thresholds (Vickers & Elkin 2006)."""

import numpy as np

from medjax.metrics.classification import weighted_mean


def net_benefit(positive: np.ndarray, probability: np.ndarray, thresholds: np.ndarray,
                weight: np.ndarray | None = None) -> np.ndarray:
    """The net benefit of a positive decision where the probability is at least a threshold t.

    It is the share of true positives minus the share of false positives times the odds t / (1 - t), both of all cases.
    A threshold of 0.1 stands for the judgement that missing a positive case is nine times as bad as a needless
    intervention. Treating nobody has a net benefit of 0.

    Args:
      positive: `[n]` bool.
      probability: `[n]`; all ones for the net benefit of treating everybody.
      thresholds: `[T]`, between 0 and 1.
      weight: `[..., n]`, the number of times that each case counts; 1 by default.

    Returns:
      `[..., T]`; NaN where no case has weight.
    """
    weight = np.ones(len(probability)) if weight is None else np.asarray(weight)
    positive = np.asarray(positive, np.float64)
    out = [weighted_mean((probability >= t) * (positive - (1 - positive) * t / (1 - t)), weight) for t in thresholds]
    return np.stack(out, -1)
