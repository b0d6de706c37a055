"""Calibration of detection scores as probabilities of a hit."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.metrics.detection import HIT
from medjax.statistics import calibration
from medjax.tasks.detection.table import Table


def calibrate_scores(tables: Mapping[str, Table]) -> dict[str, Any]:
    """Calibration of the scores of all found boxes, before and after Platt scaling.

    Args:
      tables: the table of each split.

    Returns:
      For each split with a found box its `error`, the expected calibration error, and `bins` of
      `statistics.calibration.reliability_bins`. If validation boxes have both outcomes, Platt scaling is fitted on
      them: the other splits have `calibrated`, the same after scaling, and `parameters` are those of the scaling.
    """
    pairs = {split: (table.pooled_matches.score, table.pooled_matches.matched_object[HIT] >= 0)
             for split, table in tables.items()}
    out: dict[str, Any] = {split: _error_and_bins(*pair) for split, pair in pairs.items() if len(pair[0])}
    if 'val' not in out or len(np.unique(pairs['val'][1])) < 2:
        return out
    score, hit = pairs['val']
    calibrator = calibration.fit_platt(hit.astype(int), np.stack([1 - score, score], -1))
    for split in out.keys() - {'val'}:
        score, hit = pairs[split]
        out[split]['calibrated'] = _error_and_bins(calibrator(np.stack([1 - score, score], -1))[:, 1], hit)
    return {**out, 'parameters': calibrator.parameters}


def _error_and_bins(probability: np.ndarray, hit: np.ndarray) -> dict[str, Any]:
    bins = calibration.reliability_bins(probability, hit)
    return {'error': calibration.mean_calibration_error(bins), 'bins': bins}
