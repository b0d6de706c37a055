"""Exact confidence intervals of proportions, such as sensitivity, with several cases of a patient or one."""

from typing import Any

import numpy as np
from scipy import special

LEVEL = 0.95
Z95 = float(special.ndtri(1 - (1 - LEVEL) / 2))  # normal quantile of a two-sided interval
EXACT = 'Clopper–Pearson'
CLUSTERED = 'Clopper–Pearson, effective sample size'


def limits(share: float, size: float) -> list[float]:
    """The Clopper–Pearson interval (1934) of a proportion, [low, high].

    Args:
      share: the observed proportion, 0 to 1.
      size: the number of independent cases, above 0; it need not be whole.
    """
    hits, tail = share * size, (1 - LEVEL) / 2
    low = special.betaincinv(hits, size - hits + 1, tail) if hits > 0 else 0.0
    high = special.betaincinv(hits + 1, size - hits, 1 - tail) if hits < size else 1.0
    return [float(low), float(high)]


def paired_difference(hits_a: np.ndarray, hits_b: np.ndarray) -> list[float]:
    """The 95 % interval of the difference of two proportions of the same cases, [low, high].

    That of Agresti & Min (2005, Statistics in Medicine): the normal interval after one half is added to each of the
    four counts of hits and misses.

    Args:
      hits_a: `[n]` bool, of one model.
      hits_b: `[n]` bool, of the other; the difference is that of the first minus that of the second.
    """
    size, only_a, only_b = len(hits_a) + 2, (hits_a & ~hits_b).sum() + 0.5, (~hits_a & hits_b).sum() + 0.5
    difference = (only_a - only_b) / size
    reach = Z95 * np.sqrt((only_a + only_b) / size - difference**2) / np.sqrt(size)
    return [max(float(difference - reach), -1.0), min(float(difference + reach), 1.0)]


def effective_size(hits: np.ndarray, patients: np.ndarray) -> float:
    """The number of independent cases with as much information as the cases of some patients.

    It is that of Korn & Graubard (1998): p (1 - p) over the variance of the proportion between patients, times the
    squared ratio of the t quantiles of the numbers of cases and of patients; at most the number of cases. Where all
    cases or none are hits, so that the variance is unknown, it is the number of patients.

    Args:
      hits: `[n]` bool.
      patients: `[n]`, the patient of each case.
    """
    n = len(hits)
    _, where = np.unique(patients, return_inverse=True)
    count = int(where.max()) + 1
    share = hits.mean()
    if count == n or share in (0, 1):
        return float(count)
    if count == 1:
        return 1.0
    excess = np.bincount(where, hits - share)
    variance = count / (count - 1) * float((excess**2).sum()) / n**2
    ratio = special.stdtrit(n - 1, 0.975) / special.stdtrit(count - 1, 0.975)
    return n if variance == 0 else float(min(share * (1 - share) / variance * ratio**2, n))


def entry(hits: np.ndarray, patients: np.ndarray, reason: str, value: float | None = None) -> dict[str, Any]:
    """A proportion with its interval, as in `results.json`.

    Args:
      hits: `[n]` bool, of the cases that count.
      patients: `[n]`, the patient of each case.
      reason: the reason to report where no case counts.
      value: the proportion, where it is a mean over several rounds of the same cases; by default that of `hits`.

    Returns:
      `value`, NaN without a case; `ci95` [low, high], or None with the reason in `why`; `n`, the number of patients;
      `cases`; `count`, the number of hits, unless `value` is given; `unit`; and `method`.
    """
    hits, n = np.asarray(hits, bool), len(np.unique(patients))
    out: dict[str, Any] = {'value': float('nan'), 'ci95': None, 'n': n, 'cases': len(hits), 'unit': 'patient'}
    if not len(hits):
        return out | {'why': reason}
    share = float(hits.mean()) if value is None else value
    if n == 1 and len(hits) > 1:
        return out | {'value': share, 'why': 'one patient: no confidence interval'}
    out |= {'value': share, 'method': EXACT if n == len(hits) else CLUSTERED,
            'ci95': limits(share, effective_size(hits, patients))}
    return out if value is not None and value != hits.mean() else out | {'count': int(hits.sum())}
