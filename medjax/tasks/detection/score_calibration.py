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
      `statistics.calibration.reliability_bins`. If boxes of the split `calibrate`, or without it validation boxes, have
      both outcomes, Platt scaling is fitted on them: the other splits have `calibrated`, the same after scaling,
      `parameters` are those of the scaling, and `fitted_on` is the split.
    """
    pairs = {split: (table.pooled_matches.score, table.pooled_matches.matched_object[HIT] >= 0)
             for split, table in tables.items()}
    out: dict[str, Any] = {split: _error_and_bins(*pair) for split, pair in pairs.items() if len(pair[0])}
    fit = calibration.fitting_split(tables)
    if fit not in out or len(np.unique(pairs[fit][1])) < 2:
        return out
    score, hit = pairs[fit]
    calibrator = calibration.fit_platt(hit.astype(int), np.stack([1 - score, score], -1))
    for split in out.keys() - {fit}:
        score, hit = pairs[split]
        out[split]['calibrated'] = _error_and_bins(calibrator(np.stack([1 - score, score], -1))[:, 1], hit)
    return {**out, 'parameters': calibrator.parameters, 'fitted_on': fit}


def _error_and_bins(probability: np.ndarray, hit: np.ndarray) -> dict[str, Any]:
    bins = calibration.reliability_bins(probability, hit)
    return {'error': calibration.mean_calibration_error(bins), 'bins': bins}
