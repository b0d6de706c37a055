"""Confidence intervals over patients by the jackknife, and the entry of one metric in `results.json`."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from scipy import special

from medjax.statistics import scales

LEFT_OUT = 100  # rows of `left_out` that each leave out a patient, or a group of patients
LEAST_FREEDOM = 3.0  # with fewer degrees of freedom a single patient would widen an interval without limit
ROUNDING = 1e-12  # relative error up to which a metric does not vary
METHOD = 'jackknife'


def left_out(patients: np.ndarray) -> np.ndarray:
    """The weights of cases for which `entry` needs a metric: all cases once, and then without each patient.

    Of more than LEFT_OUT patients each row leaves out every LEFT_OUT-th one. Errors of groups of patients are also
    right for metrics that are not smooth, such as medians (Shao & Wu 1989, The Annals of Statistics 17).

    Args:
      patients: `[n]`, the patient of each case.

    Returns:
      `[1 + patients, n]` or `[1 + LEFT_OUT, n]` uint8, 0 for a case that is left out.
    """
    _, where = np.unique(patients, return_inverse=True)
    groups = min(int(where.max(initial=-1)) + 1, LEFT_OUT)
    out = np.ones((1 + groups, len(patients)), np.uint8)
    out[1:] = np.arange(groups)[:, None] != where % LEFT_OUT
    return out


def jackknife(samples: np.ndarray, patients: int) -> tuple[np.ndarray, np.ndarray]:
    """The standard error of a metric by the jackknife (Tukey 1958), and the degrees of freedom of that error.

    The latter are those of a chi-squared distribution with the variance of the squared error (Satterthwaite 1946),
    which is large where the patients' influences have heavy tails: for n influences with an excess kurtosis k it is
    k / n + 2 / (n - 1), relative to its square. Means of squares or of skewed distances so get wider intervals.

    Args:
      samples: `[1 + G, ...]`, the metric for each row of `left_out`; NaN where it is not defined.
      patients: the number of patients that count, 2 or more; leaving out the others has no influence.

    Returns:
      Error and degrees of freedom, `[...]`; NaN where the metric is not defined without one of the patients.
    """
    influence = samples[0] - samples[1:]
    count = np.maximum((influence != 0).sum(0), min(patients, LEFT_OUT))
    mean, others = influence.sum(0) / count, len(influence) - count  # of the others the influence is 0

    def moment(power: int) -> np.ndarray:
        return np.maximum(((influence - mean)**power).sum(0) - others * mean**power, 0.0) / count
    variance = moment(2)
    return np.sqrt((count - 1) * variance), _freedom(variance, moment(4), count)


def mean_error(values: np.ndarray) -> tuple[float, float]:
    """The standard error of the mean of independent values, and its degrees of freedom as of `jackknife`.

    Args:
      values: `[n]`, n of 2 or more.
    """
    n, deviation = len(values), values - values.mean()
    variance = (deviation**2).mean()
    return float(np.sqrt(variance / (n - 1))), float(_freedom(variance, (deviation**4).mean(), np.int64(n)))


def _freedom(variance: np.ndarray, fourth: np.ndarray, count: np.ndarray) -> np.ndarray:
    """Degrees of freedom of a variance of some values, from their second and fourth central moment."""
    most = count - 1.0
    with np.errstate(invalid='ignore', divide='ignore'):
        kurtosis = np.where(variance > 0, fourth / variance**2 - 3, 0.0)
        # The estimate that is unbiased for normal values (Joanes & Gill 1998).
        excess = ((count + 1) * kurtosis + 6) * most / ((count - 2) * (count - 3))
        found = 2 / (np.maximum(excess, 0.0) / count + 2 / most)
    return np.where(np.isnan(variance), np.nan,
                    np.where(count > 3, np.clip(found, np.minimum(LEAST_FREEDOM, most), most), most))


def limits(value: np.ndarray, error: np.ndarray, freedom: np.ndarray, scale: scales.Scale) -> np.ndarray:
    """The 95 % interval of an estimate by the t distribution, on a scale.

    Args:
      value: `[...]`.
      error: `[...]`, its standard error.
      freedom: `[...]`, the degrees of freedom of the error.
      scale: on which the estimate is nearly symmetric.

    Returns:
      `[2, ...]`: the lower and the upper limit.
    """
    return scale.limits(value, special.stdtrit(freedom, 0.975) * error)


def blank_entry(value: float, patients: np.ndarray, reason: str) -> dict[str, Any]:
    """The entry of a metric without an interval; `why` where it cannot have one.

    Args:
      value: the metric.
      patients: `[n]`, the patient of each case that counts.
      reason: the reason to report where the metric is not defined.

    Returns:
      `value`; `ci95`, None; `n`, the number of patients; `cases`; `unit`; and `why` where the metric is not defined or
      there is one patient only.
    """
    n = len(np.unique(patients))
    out = {'value': float(value), 'ci95': None, 'n': n, 'cases': len(patients), 'unit': 'patient'}
    if np.isnan(value):
        return out | {'why': reason}
    return out | {'why': 'one patient: no confidence interval'} if n == 1 else out


def with_interval(out: Mapping[str, Any], error: float, freedom: float, scale: scales.Scale,
                  method: str) -> dict[str, Any]:
    """A blank entry with its interval.

    Args:
      out: of `blank_entry`, without `why`.
      error: standard error of the value.
      freedom: degrees of freedom of the error.
      scale: on which the value is nearly symmetric.
      method: how the error was found.

    Returns:
      The entry with `ci95` [low, high] and `method`; or with the reason in `why` where there is no interval.
    """
    value = out['value']
    if error <= ROUNDING * abs(value):
        return {**out, 'why': 'equal without each patient: no confidence interval'}
    found = limits(np.float64(value), np.float64(error), np.float64(freedom), scale)
    if not np.isfinite(found).all():
        return {**out, 'why': 'too few patients for their spread: no confidence interval'}
    return {**out, 'ci95': found.tolist(), 'method': method}


def entry(value: float, samples: np.ndarray, patients: np.ndarray, reason: str, name: str = '') -> dict[str, Any]:
    """A metric with its confidence interval, as in `results.json`.

    The interval is that of Student's t distribution with the error and the degrees of freedom of `jackknife`, on the
    scale of the metric.

    Args:
      value: the metric on the cases as they are.
      samples: `[1 + G]`, the metric for each row of `left_out`; NaN where it is not defined.
      patients: `[n]`, the patient of each case that counts.
      reason: the reason to report where the metric is not defined.
      name: the metric's name, which determines the scale; see `scales.of_metric`.

    Returns:
      `value`; `ci95` [low, high], or None; `n`, the number of patients; `cases`; `unit`; with an interval also
      `method`; `why` where the value or the interval is missing.
    """
    out = blank_entry(value, patients, reason)
    if 'why' in out:
        return out
    error, freedom = jackknife(np.asarray(samples, np.float64), out['n'])
    if np.isnan(error):
        return out | {'why': f'not defined without some patient ({reason}): no confidence interval'}
    return with_interval(out, float(error), float(freedom), scales.of_metric(name), METHOD)


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
