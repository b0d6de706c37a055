"""Percentile bootstrap over patients: resampling multiplicities, and the entry of one metric in `results.json`."""

from typing import Any

import numpy as np

from medjax.metrics.classification import BLOCK

DEFINED = 0.9  # least share of resamples in which a metric is defined; with fewer the interval would be selective


def multiplicities(patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Number of times that each case is drawn when patients are drawn with replacement.

    All cases of a patient are drawn together. The probability that one of 256 or more patients is drawn 256 times or
    more is negligible, so that counts fit 8 bits.

    Args:
      patients: `[n]`, the patient of each case.
      resamples: number of bootstrap resamples.
      seed: seed of the draws.

    Returns:
      `[resamples, n]` uint8.
    """
    names, where = np.unique(patients, return_inverse=True)
    rng, count = np.random.default_rng(seed), len(names)
    out = np.empty((resamples, len(patients)), np.uint8)
    if not count:
        return out
    step = max(1, BLOCK // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        out[start:start + rows] = times.astype(np.uint8)[:, where]
    return out


def entry(value: float, samples: np.ndarray, patients: np.ndarray, reason: str) -> dict[str, Any]:
    """A metric with its confidence interval, as in `results.json`.

    Args:
      value: the metric on the cases as they are.
      samples: `[resamples]`, the metric on each resample; NaN where it is not defined.
      patients: `[n]`, the patient of each case that counts.
      reason: the reason to report where the metric is not defined.

    Returns:
      `value`; `ci95` [low, high] by the percentile bootstrap, or None; `n`, the number of patients; `cases`; `unit`;
      with an interval also `method` and `resamples`, the number of resamples in which the metric is defined; `why`
      where the value or the interval is missing.
    """
    n = len(np.unique(patients))
    out = {'value': float(value), 'ci95': None, 'n': n, 'cases': len(patients), 'unit': 'patient'}
    if np.isnan(value):
        return out | {'why': reason}
    if n == 1:
        return out | {'why': 'one patient: no confidence interval'}
    defined = samples[~np.isnan(samples)]
    if len(defined) < DEFINED * len(samples):
        return out | {'why': f'not defined in {len(samples) - len(defined)} of {len(samples)} resamples ({reason}): '
                             'no confidence interval'}
    limits = np.percentile(defined, [2.5, 97.5])
    return out | {'ci95': [float(limit) for limit in limits], 'method': 'bootstrap', 'resamples': len(defined)}
