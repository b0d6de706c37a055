"""Means over patients with bootstrap confidence intervals, and the counts that a mean hides."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError


def summarise(rows: Sequence[Mapping[str, Any]], metrics: Sequence[str], unit: str = 'patient',
              resamples: int = 2000, seed: int = 0) -> dict[str, dict[str, Any]]:
    """Sums a table of cases up: for each metric the mean over patients and its 95 % interval.

    The cases of one patient are averaged first, for they are not independent. NaN, an empty cell and a missing
    one are not counted: n falls. The interval is the percentile bootstrap's (Efron & Tibshirani 1993, chapter
    13): patients are drawn with replacement, and the 2.5th and 97.5th percentiles of the means taken. Each metric
    draws anew from the seed, so that an interval does not depend on which other metrics were asked for.

    Args:
      rows: a mapping per case: `unit`, `id`, and numbers; `missed_CLASS` and `spurious_CLASS` are 0 or 1.
      metrics: which keys to sum up.
      unit: the key that says which cases belong together; a case without it stands for itself.
      resamples: bootstrap draws.
      seed: of the draws.

    Returns:
      For each metric `value` (NaN where nothing is counted); `ci95`, [low, high], or None, where `why` says so;
      `sd` between patients, None for one; `n`, the patients counted; `cases`, the cases counted; `unit`;
      `resamples`. A metric of a class, or a mean over the classes, has `missed` and `spurious` too: in how many
      cases the structure is there but not found, or found but not there.
    """
    groups = [row.get(unit) or f"case {row.get('id', number)}" for number, row in enumerate(rows)]
    flagged = [key.removeprefix('missed_') for row in rows for key in row if key.startswith('missed_')]
    return {metric: _one(rows, groups, metric, unit, resamples, seed) | _flags(rows, metric, set(flagged))
            for metric in metrics}


def patient_numbers(rows: Sequence[Mapping[str, Any]]) -> np.ndarray:
    """Whose each row is, `[n]` int from 0 in their order; a case without a patient is one of its own."""
    names = [row.get('patient') or f'case {row.get("id", number)}' for number, row in enumerate(rows)]
    place = {name: number for number, name in enumerate(dict.fromkeys(names))}
    return np.array([place[name] for name in names], int)


def rows_by_split(rows: Sequence[Mapping[str, Any]]) -> dict[str, list[Mapping[str, Any]]]:
    """The rows of each split, in their order."""
    out: dict[str, list[Mapping[str, Any]]] = {}
    for row in rows:
        out.setdefault(row['split'], []).append(row)
    return out


def mean_interval(values: np.ndarray, resamples: int, seed: int) -> list[float]:
    """The 95 % percentile bootstrap interval of the mean of `values [n]`."""
    rng, n = np.random.default_rng(seed), len(values)
    means = [values[rng.integers(0, n, n)].mean() for _ in range(resamples)]
    return [float(limit) for limit in np.percentile(means, [2.5, 97.5])]


def parse_number(value: Any) -> float:
    """A cell of a table as a float; NaN where there is none.

    Raises:
      InputError: it is no number.
    """
    try:
        return float('nan') if value is None or value == '' else float(value)
    except ValueError:
        raise InputError(f'predictions: {value!r}; expected a number') from None


def _one(rows: Sequence[Mapping[str, Any]], groups: Sequence[Any], metric: str, unit: str, resamples: int,
         seed: int) -> dict[str, Any]:
    by_group: dict[Any, list[float]] = {}
    for group, row in zip(groups, rows):
        value = parse_number(row.get(metric))
        if not np.isnan(value):
            by_group.setdefault(group, []).append(value)
    values = np.array([np.mean(cases) for cases in by_group.values()])
    n = len(values)
    entry = {'value': float('nan'), 'ci95': None, 'n': n, 'sd': None, 'cases': sum(map(len, by_group.values())),
             'unit': unit}
    if not n:
        return entry | {'why': 'no case has a value'}
    if not np.isfinite(values).all():
        return entry | {'why': 'a case is infinite: no mean'}
    entry['value'] = float(values.mean())
    if n == 1:
        return entry | {'why': f'one {unit}: no confidence interval'}
    return entry | {'sd': float(values.std(ddof=1)), 'ci95': mean_interval(values, resamples, seed), 'resamples': resamples}


def _flags(rows: Sequence[Mapping[str, Any]], metric: str, classes: set[str]) -> dict[str, int]:
    named = [name for name in classes if metric.endswith(f'_{name}')]
    if not named and not metric.endswith('_mean'):
        return {}
    # Of the classes 'matter' and 'grey_matter' the longer one is meant; a mean over classes counts them all.
    chosen = [max(named, key=len)] if named else classes
    return {flag: int(np.nansum([parse_number(row.get(f'{flag}_{name}')) for row in rows for name in chosen]))
            for flag in ('missed', 'spurious') if classes}
