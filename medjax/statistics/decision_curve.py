"""Net benefit of decisions by a predicted probability, over a range of thresholds (Vickers & Elkin 2006)."""

import numpy as np

from medjax.metrics.classification import compute_in_blocks


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
    positive, odds = np.asarray(positive, bool)[:, None], thresholds / (1 - thresholds)
    benefit = (probability[:, None] >= thresholds) * np.where(positive, 1.0, -odds)

    def means(w: np.ndarray) -> dict[str, np.ndarray]:
        w = w.astype(np.float64)
        total = w.sum(1, keepdims=True)
        return {'': np.divide(w @ benefit, total, out=np.full((len(w), len(thresholds)), np.nan), where=total > 0)}
    return compute_in_blocks(means, weight, len(thresholds))['']
