"""The predictions table of signals: its columns, and how an evaluation writes them."""

from collections.abc import Sequence

import numpy as np

from medjax.metrics import ecg_beats

METRICS = ('f1', 'sensitivity', 'precision', 'timing_ms')
DETECTOR = 'detector_'  # starts the columns of the baseline detector's metrics
COLUMNS = (*METRICS, *(f'{DETECTOR}{name}' for name in METRICS))
TRUE, FOUND = 'beats', 'found'  # columns with the numbers of beats


def beat_metrics(found: Sequence[int] | np.ndarray, true: Sequence[int] | np.ndarray, rate: float) -> dict[str, float]:
    """METRICS of found beats; see `evaluator.CONVENTIONS`.

    Args:
      found: samples of the found beats, in order.
      true: samples of the true beats, in order.
      rate: samples per second.
    """
    pairs, nan = ecg_beats.match_beats(found, true, rate), float('nan')
    total = len(found) + len(true)
    distance = np.abs(np.asarray(found)[pairs[:, 0]] - np.asarray(true)[pairs[:, 1]]) / rate
    precision = 0.0 if len(true) else nan
    if len(found):
        precision = len(pairs) / len(found)
    return {'f1': 2 * len(pairs) / total if total else nan, 'sensitivity': len(pairs) / len(true) if len(true) else nan,
            'precision': precision, 'timing_ms': float(1000 * distance.mean()) if len(pairs) else nan}


def case_columns(found: np.ndarray, true: np.ndarray, rate: float,
                 detected: np.ndarray | None = None) -> dict[str, float]:
    """The columns of a recording.

    Args:
      found: samples of the beats that the network found.
      true: samples of the true beats.
      rate: samples per second.
      detected: samples of the beats that the baseline detector found; None leaves its metrics out.

    Returns:
      The numbers of true and of found beats, METRICS, and those of the detector.
    """
    columns = {TRUE: len(true), FOUND: len(found), **beat_metrics(found, true, rate)}
    if detected is not None:
        columns |= {f'{DETECTOR}{name}': value for name, value in beat_metrics(detected, true, rate).items()}
    return columns
