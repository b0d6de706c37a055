"""Agreement of anomaly maps with masks of the anomalies, case by case."""

import math

import numpy as np

from medjax.tasks.anomaly.table import VOXEL_METRICS


def voxel_metrics(scores: np.ndarray, truth: np.ndarray, threshold: float, baseline: np.ndarray) -> dict[str, float]:
    """The metrics of one case; NaN where it has no anomaly.

    Args:
      scores: `[*S]`, the anomaly map.
      truth: `[*S]` bool, the mask.
      threshold: of the map.
      baseline: `[*S]`, an anomaly map without a network.

    Returns:
      `voxel_auprc`, the average precision; `voxel_dice`, Dice at the threshold; `voxel_dice_best`, Dice at the best
      threshold of the case; `voxel_auprc_baseline`, the average precision of the baseline.
    """
    from sklearn.metrics import average_precision_score, precision_recall_curve  # slow to import

    scores, truth, baseline = scores.ravel(), truth.ravel(), baseline.ravel()
    if not truth.any():
        return dict.fromkeys(VOXEL_METRICS, math.nan)
    precision, recall, _ = precision_recall_curve(truth, scores)
    dice = 2 * precision * recall / np.maximum(precision + recall, 1e-12)
    above = scores > threshold
    values = (average_precision_score(truth, scores), 2 * (above & truth).sum() / (above.sum() + truth.sum()),
              dice.max(), average_precision_score(truth, baseline))
    return dict(zip(VOXEL_METRICS, map(float, values)))
