"""Means of per-case metrics over patients, with bootstrap confidence intervals and counts of missed cases."""

import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.classification import weighted_mean
from medjax.statistics import intervals

FLAGS = ('missed_', 'spurious_')  # beginnings of columns that are 0 or 1, followed by a class
SHARES = re.compile('(detector_|lesion_)?(dice|iou|nsd|f1|sensitivity|precision|ssim)(_|$)')  # metrics from 0 to 1
MAGNITUDES = re.compile('(detector_)?(hd95|assd|mae|timing_ms|sharpness)(_|$)')  # metrics of 0 or more


def summarise(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], unit: str = 'patient',
              resamples: int = 2000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """The mean over patients of each per-case metric, with its 95 % confidence interval.

    The cases of one patient are averaged first, because they are not independent. NaN, empty and missing cells do not
    count, which lowers `n`. The interval is `mean_interval`, within the range of the metric. The draws of each metric
    start from the seed, so that an interval does not depend on the other metrics.

    Args:
      rows: a mapping for each case: `unit`, `id`, and numbers; `missed_CLASS` and `spurious_CLASS` are 0 or 1.
      metrics: the keys of the metrics.
      unit: the key of the group of a case, such as its patient; a case without it is a group of its own.
      resamples: number of bootstrap resamples.
      seed: seed of the draws.

    Returns:
      For each metric `value` (NaN where no case counts); `ci95`, [low, high], or None, with the reason in `why`; `sd`,
      the standard deviation between patients, None for a single one; `n`, the number of patients that count; `cases`,
      the number of cases that count; `unit`; `resamples`. The metric of a class, and a mean over classes, also has
      `missed` and `spurious`: the number of cases in which the structure is present but not predicted, or predicted but
      not present.
    """
    groups = [row.get(unit) or f"case {row.get('id', number)}" for number, row in enumerate(rows)]
    classes = {key.removeprefix('missed_') for row in rows for key in row if key.startswith('missed_')}
    return {metric: _metric_entry(rows, groups, metric, unit, resamples, seed) | _flag_counts(rows, metric, classes)
            for metric in metrics}


def patient_numbers(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """The number of each row's patient, from 0 in order of appearance, `[n]` int.

    A case without a patient counts as a patient of its own.
    """
    names = [row.get('patient') or f'case {row.get("id", number)}' for number, row in enumerate(rows)]
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([place[name] for name in names], int)


def rows_by_split(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each split, in the order of the table."""
    out: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        out.setdefault(row['split'], []).append(row)
    return out


def missing_test(splits: Iterable[str]) -> list[str]:
    """A warning where none of the splits is of test cases: 'test', or one whose name begins so."""
    return [] if any(split.startswith('test') for split in splits) else ['no test cases: no metrics of test cases']


def mean_interval(values: np.ndarray, resamples: int, seed: int) -> list[float]:
    """The 95 % interval of a mean by the studentised bootstrap (Efron & Tibshirani 1993, chapter 12).

    Of each resample the difference of its mean from that of the values is divided by its own standard deviation; the
    percentiles of these ratios take the place of those of the t distribution. Of skewed values, such as distances in
    mm, it contains the true mean more often than percentiles of the means. The variance of the values themselves is
    added to that of a resample with the weight of one value, so that it is not 0 where all values drawn are equal.

    Args:
      values: `[n]`, n of 2 or more, not all equal.
      resamples: number of bootstrap resamples.
      seed: seed of the draws.

    Returns:
      [low, high].
    """
    n, mean = len(values), float(np.mean(values))
    centred = values - mean
    variance = float((centred**2).mean())
    draws = intervals.multiplicities(np.arange(n), resamples, seed)[:resamples]
    shift = weighted_mean(centred, draws)
    spread = np.sqrt((n * (weighted_mean(centred**2, draws) - shift**2) + variance) / (n + 1))
    low, high = np.percentile(shift / spread, [2.5, 97.5])
    return [float(mean - high * np.sqrt(variance)), float(mean - low * np.sqrt(variance))]


def parse_number(value: Any) -> float:
    """A cell of a table as a float; NaN where it is empty or None.

    Raises:
      InputError: it is not a number.
    """
    try:
        return float('nan') if value is None or value == '' else float(value)
    except ValueError:
        raise InputError(f'predictions: {value!r}; expected a number') from None


def _metric_entry(rows: Sequence[Mapping[str, Any]], groups: Sequence[Any], metric: str, unit: str, resamples: int,
                  seed: int) -> dict[str, Any]:
    """The entry of one metric, without counts of missed cases; see `summarise`."""
    by_group: dict[Any, list[float]] = {}
    for group, row in zip(groups, rows):
        value = parse_number(row.get(metric))
        if not np.isnan(value):
            by_group.setdefault(group, []).append(value)
    values = np.array([np.mean(cases) for cases in by_group.values()])
    n = len(values)
    entry: dict[str, Any] = {'value': float('nan'), 'ci95': None, 'n': n, 'sd': None,
                             'cases': sum(map(len, by_group.values())), 'unit': unit}
    if not n:
        return entry | {'why': 'no case has a value'}
    if not np.isfinite(values).all():
        return entry | {'why': 'a case is infinite: no mean'}
    entry['value'] = float(values.mean())
    if n == 1:
        return entry | {'why': f'one {unit}: no confidence interval'}
    if np.ptp(values) == 0:
        return entry | {'sd': 0.0, 'why': f'equal for all {unit}s: no confidence interval'}
    least = 0.0 if SHARES.match(metric) or MAGNITUDES.match(metric) else -np.inf
    most = 1.0 if SHARES.match(metric) else np.inf
    limits = [min(max(limit, least), most) for limit in mean_interval(values, resamples, seed)]
    return entry | {'sd': float(values.std(ddof=1)), 'ci95': limits, 'resamples': resamples}


def _flag_counts(rows: Sequence[Mapping[str, Any]], metric: str, classes: set[str]) -> dict[str, int]:
    """The numbers of missed and spurious cases of a metric's class, or of all classes for a mean over them."""
    named = [name for name in classes if metric.endswith(f'_{name}')]
    if not named and not metric.endswith('_mean'):
        return {}
    # 'dice_grey_matter' belongs to the class 'grey_matter', not to 'matter'.
    chosen = [max(named, key=len)] if named else classes
    return {flag: int(np.nansum([parse_number(row.get(f'{flag}_{name}')) for row in rows for name in chosen]))
            for flag in ('missed', 'spurious') if classes}
