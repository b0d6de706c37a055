"""Means of per-case metrics over patients, with confidence intervals and counts of missed cases."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.statistics import intervals, proportions, scales

FLAGS = ('missed_', 'spurious_')  # beginnings of columns that are 0 or 1, followed by a class


def summarise(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str],
              unit: str = 'patient') -> dict[str, dict[str, Any]]:
    """The mean over patients of each per-case metric, with its 95 % confidence interval.

    The cases of one patient are averaged first, because they are not independent. NaN, empty and missing cells do not
    count, which lowers `n`. The interval is that of `intervals.limits`, on the scale of the metric.

    Where no structure of a class is missed or spurious, the sample cannot show how often that happens. The interval is
    then that of the mean of structures that are neither, and the exact interval of the share of such failures stands
    beside it: two parts, as for other means with rare zeros (Zhou & Tu 2000, Biometrics 56).

    Args:
      rows: a mapping for each case: `unit`, `id`, and numbers; `missed_CLASS` and `spurious_CLASS` are 0 or 1.
      metrics: the keys of the metrics.
      unit: the key of the group of a case, such as its patient; a case without it is a group of its own.

    Returns:
      For each metric `value` (NaN where no case counts); `ci95`, [low, high], or None, with the reason in `why`; `sd`,
      the standard deviation between patients, None for a single one; `n`, the number of patients that count; `cases`,
      the number of cases that count; `unit`; and with an interval `method`. The metric of a class, and a mean over
      classes, also has `missed` and `spurious`: the number of cases in which the structure is present but not
      predicted, or predicted but not present; and `failures95`, the interval of the share of the cases that count in
      which it is either, of two patients or more.
    """
    groups = [row.get(unit) or f"case {row.get('id', number)}" for number, row in enumerate(rows)]
    classes = {key.removeprefix('missed_') for row in rows for key in row if key.startswith('missed_')}
    return {metric: _metric_entry(rows, groups, metric, unit) | _failures(rows, groups, metric, classes)
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


def parse_number(value: Any) -> float:
    """A cell of a table as a float; NaN where it is empty or None.

    Raises:
      InputError: it is not a number.
    """
    try:
        return float('nan') if value is None or value == '' else float(value)
    except ValueError:
        raise InputError(f'predictions: {value!r}; expected a number') from None


def _metric_entry(rows: Sequence[Mapping[str, Any]], groups: Sequence[Any], metric: str, unit: str) -> dict[str, Any]:
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
    entry['sd'] = float(values.std(ddof=1))
    return intervals.with_interval(entry, *intervals.mean_error(values), scales.of_metric(metric), 't')


def _failures(rows: Sequence[Mapping[str, Any]], groups: Sequence[Any], metric: str,
              classes: set[str]) -> dict[str, Any]:
    """The numbers of missed and spurious cases of a metric's class, or of all classes for a mean over them."""
    named = [name for name in classes if metric.endswith(f'_{name}')]
    if not classes or not named and not metric.endswith('_mean'):
        return {}
    # 'dice_grey_matter' belongs to the class 'grey_matter', not to 'matter'.
    chosen = [max(named, key=len)] if named else sorted(classes)
    flags = {flag: np.nan_to_num([[parse_number(row.get(f'{flag}_{name}')) for name in chosen] for row in rows])
             for flag in ('missed', 'spurious')}
    out: dict[str, Any] = {flag: int(found.sum()) for flag, found in flags.items()}
    counts = ~np.isnan([parse_number(row.get(metric)) for row in rows])
    patients = np.array([str(group) for group in groups])[counts]
    if len(np.unique(patients)) > 1:
        failed = (flags['missed'] + flags['spurious']).any(1)[counts]
        out['failures95'] = proportions.entry(failed, patients, '')['ci95']
    return out
