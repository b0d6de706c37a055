"""Bootstrap over patients: resampling multiplicities, BCa limits, and the entry of one metric in `results.json`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from medjax.metrics.classification import BLOCK

DEFINED = 0.9  # least share of resamples in which a metric is defined; with fewer the interval would be selective
ROUNDING = 1e-12  # relative difference up to which resamples are equal
LEFT_OUT = 100  # number of rows of `multiplicities` that leave out a patient, or a group of patients


def multiplicities(patients: np.ndarray, resamples: int, seed: int) -> np.ndarray:
    """Number of times that each case is drawn when patients are drawn with replacement.

    All cases of a patient are drawn together. The probability that one of 256 or more patients is drawn 256 times or
    more is negligible, so that counts fit 8 bits. After the resamples come the rows that `bca_limits` needs: all cases
    once, and LEFT_OUT rows which each leave out one patient, or of more patients each LEFT_OUT-th; of fewer patients
    the last rows leave out none.

    Args:
      patients: `[n]`, the patient of each case.
      resamples: number of bootstrap resamples.
      seed: seed of the draws.

    Returns:
      `[resamples + 1 + LEFT_OUT, n]` uint8.
    """
    names, where = np.unique(patients, return_inverse=True)
    rng, count = np.random.default_rng(seed), len(names)
    out = np.ones((resamples + 1 + LEFT_OUT, len(patients)), np.uint8)
    if not count:
        return out
    step = max(1, BLOCK // count)
    for start in range(0, resamples, step):
        rows = min(step, resamples - start)
        drawn = rng.integers(0, count, (rows, count)) + count * np.arange(rows)[:, None]
        times = np.bincount(drawn.ravel(), minlength=rows * count).reshape(rows, count)
        out[start:start + rows] = times.astype(np.uint8)[:, where]
    out[resamples + 1:] = np.arange(LEFT_OUT)[:, None] != where % LEFT_OUT
    return out


def bca_limits(samples: np.ndarray, patients: int) -> list[float]:
    """The 95 % interval of a metric by the BCa bootstrap, bias-corrected and accelerated (Efron 1987, JASA).

    The levels are those of the t distribution instead of the normal one, so that the interval of a mean is as wide as
    that of Student (Hesterberg 2015, The American Statistician); percentiles alone are too narrow in small samples.
    The acceleration is that of the jackknife over patients, or over groups of them.

    Args:
      samples: `[resamples + 1 + LEFT_OUT]`, the metric for each row of `multiplicities`; NaN where it is not defined.
      patients: the number of patients that count, 2 or more.

    Returns:
      [low, high].
    """
    drawn, bias, acceleration = _bias_and_acceleration(samples)
    reach = bias + t_quantile(patients) * np.array([-1, 1])
    levels = special.ndtr(bias + reach / (1 - acceleration * reach))
    return [float(limit) for limit in np.quantile(drawn, levels)]


def p_value(samples: np.ndarray, patients: int) -> float:
    """The two-sided p value of a value of 0: the level at which the interval of `bca_limits` just excludes 0.

    Args:
      samples: as for `bca_limits`, not all equal.
      patients: the number of patients that count, 2 or more.
    """
    drawn, bias, acceleration = _bias_and_acceleration(samples)
    distance = _normal_score(drawn, 0.0) - bias
    reach = distance / max(1 + acceleration * distance, ROUNDING)
    t = (reach - bias) / np.sqrt(patients / (patients - 1))
    return float(2 * special.stdtr(patients - 1, -abs(t)))


def _bias_and_acceleration(samples: np.ndarray) -> tuple[np.ndarray, float, float]:
    """The resamples in which a metric is defined, and the bias and acceleration of BCa; see `bca_limits`."""
    drawn, whole, left_out = np.split(np.asarray(samples, np.float64), [-LEFT_OUT - 1, -LEFT_OUT])
    drawn, influence = drawn[~np.isnan(drawn)], (whole - left_out)[~np.isnan(left_out)]
    influence = influence[influence != 0]
    influence = influence - influence.mean() if influence.size else influence
    spread = (influence**2).sum()
    acceleration = (influence**3).sum() / spread**1.5 / 6 if spread > 0 else 0.0
    return drawn, _normal_score(drawn, whole), acceleration


def _normal_score(drawn: np.ndarray, value: float) -> float:
    """The normal quantile of the share of resamples below a value; of equal ones one half counts."""
    below = ((drawn < value).mean() + (drawn <= value).mean()) / 2
    return float(special.ndtri(np.clip(below, 1 / len(drawn), 1 - 1 / len(drawn))))


def t_quantile(patients: int) -> float:
    """The 97.5th percentile of a mean of this many values, in units of its bootstrap standard deviation."""
    return float(special.stdtrit(patients - 1, 0.975) * np.sqrt(patients / (patients - 1)))


def entry(value: float, samples: np.ndarray, patients: np.ndarray, reason: str) -> dict[str, Any]:
    """A metric with its confidence interval, as in `results.json`.

    Args:
      value: the metric on the cases as they are.
      samples: `[resamples + 1 + LEFT_OUT]`, the metric for each row of `multiplicities`; NaN where it is not defined.
      patients: `[n]`, the patient of each case that counts.
      reason: the reason to report where the metric is not defined.

    Returns:
      `value`; `ci95` [low, high] by `bca_limits`, extended to the value where it is outside, or None; `n`, the number
      of patients; `cases`; `unit`; with an interval also `method` and `resamples`, the number of resamples in which the
      metric is defined; `why` where the value or the interval is missing.
    """
    n, resamples = len(np.unique(patients)), len(samples) - LEFT_OUT - 1
    out = {'value': float(value), 'ci95': None, 'n': n, 'cases': len(patients), 'unit': 'patient'}
    if np.isnan(value):
        return out | {'why': reason}
    if n == 1:
        return out | {'why': 'one patient: no confidence interval'}
    drawn = samples[:resamples][~np.isnan(samples[:resamples])]
    if len(drawn) < DEFINED * resamples:
        return out | {'why': f'not defined in {resamples - len(drawn)} of {resamples} resamples ({reason}): '
                             'no confidence interval'}
    if np.ptp(drawn) <= ROUNDING * np.abs(drawn).max():
        return out | {'why': 'equal in all resamples: no confidence interval'}
    low, high = bca_limits(samples, n)
    return out | {'ci95': [min(low, float(value)), max(high, float(value))], 'method': 'BCa', 'resamples': len(drawn)}


def in_unit(found: Any, unit: str) -> Any:
    """Entries, or results that contain some, that name another unit of analysis than the patient.

    Args:
      found: an entry, or mappings and lists of them.
      unit: what counts as one, such as 'image' where it is not known which images are of the same patient.

    Returns:
      A copy with `unit` in place of 'patient' in each entry, also in the reason in `why`.
    """
    if isinstance(found, list):
        return [in_unit(part, unit) for part in found]
    if not isinstance(found, Mapping):
        return found
    out = {key: in_unit(part, unit) for key, part in found.items()}
    if found.get('unit') == 'patient':
        out['unit'] = unit
        if 'why' in found:
            out['why'] = found['why'].replace('patient', unit)
    return out
