"""The differences between groups that arise by chance: permutations of the groups over patients."""

from typing import Any

import numpy as np


def shuffled_groups(group: np.ndarray, patients: np.ndarray, permutations: int, seed: int) -> np.ndarray:
    """The groups of the cases with the groups' names permuted over patients.

    Each patient keeps its cases together, and each group its number of patients. Where a patient has cases in several
    groups, the names are permuted over cases.

    Args:
      group: `[n]`, the group of each case.
      patients: `[n]`, the patient of each case.
      permutations: their number.
      seed: of the permutations.

    Returns:
      `[permutations, n]`, as `group`.
    """
    _, first, where = np.unique(patients, return_index=True, return_inverse=True)
    if (group[first][where] != group).any():
        first = where = np.arange(len(group))
    rng = np.random.default_rng(seed)
    return np.stack([rng.permutation(group[first])[where] for _ in range(permutations)])


def entry(value: float, null: np.ndarray, patients: np.ndarray, reason: str) -> dict[str, Any]:
    """The largest difference between groups beside what equal groups have, as in `results.json`.

    A largest difference is positive by chance even where groups are equal, and the more so the smaller they are; its
    bootstrap interval would never contain 0.

    Args:
      value: the difference.
      null: `[permutations]`, the differences of permuted groups; NaN where it is not defined.
      patients: `[n]`, the patient of each case that counts.
      reason: the reason to report where the difference is not defined.

    Returns:
      `value`; `by_chance`, its mean over the permutations; `by_chance95`, their 95th percentile; `excess`, the value
      less its mean by chance, 0 or more; `p`, (1 + number of permutations with at least this difference) / (1 +
      permutations), Phipson & Smyth 2010; `n` patients, `cases`, `unit`; `why` where the value is missing.
    """
    out: dict[str, Any] = {'value': float(value), 'n': len(np.unique(patients)), 'cases': len(patients),
                           'unit': 'patient'}
    null = null[~np.isnan(null)]
    if np.isnan(value) or not len(null):
        return out | {'why': reason}
    mean = float(null.mean())
    at_least = int((null >= value - 1e-12).sum())
    return out | {'by_chance': mean, 'by_chance95': float(np.percentile(null, 95)), 'excess': max(value - mean, 0.0),
                  'p': (1 + at_least) / (1 + len(null))}
