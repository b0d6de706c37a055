"""Paired tests of two models on the same cases, without resampling: DeLong's of AUROC, McNemar's of decisions."""

import numpy as np
from scipy import special

EXACT_BELOW = 25  # number of discordant cases below which McNemar's test is the exact binomial one


def placements(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The structural components of the AUROC: the placement of each case among the cases of the other class.

    They are computed from mid-ranks in O(n log n) (Sun & Xu 2014, IEEE Signal Processing Letters 21).

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.

    Returns:
      For each positive the share of negatives below it, `[m]`, and for each negative the share of positives above it,
      `[n - m]`; equal scores count one half. The mean of either is the AUROC.
    """
    positive, score = np.asarray(positive, bool), np.asarray(score, np.float64)
    ranks, (m, n) = _midranks(score), (positive.sum(), (~positive).sum())
    above = (ranks[positive] - _midranks(score[positive])) / max(n, 1)
    below = 1 - (ranks[~positive] - _midranks(score[~positive])) / max(m, 1)
    return above, below


def auroc_and_variance(positive: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """The AUROC and its variance (DeLong et al. 1988, Biometrics 44).

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.

    Returns:
      The area, NaN where a class is empty; its variance, NaN where a class has a single case.
    """
    above, below = placements(positive, score)
    if not above.size or not below.size:
        return float('nan'), float('nan')
    return float(above.mean()), _variance(above, below)


def auroc_interval(area: float, variance: float) -> dict[str, object]:
    """The 95 % confidence interval of an AUROC, on the logit scale, so that it stays between 0 and 1.

    At an area of 0 or 1 the logit is not finite. There the interval is the normal one, clipped; it has no width,
    because DeLong's variance is 0.

    Args:
      area: the AUROC.
      variance: its variance.

    Returns:
      `ci95` [low, high], or None; `scale`, 'logit' or 'plain, clipped'; `why`, an explanation where one is needed.
    """
    if np.isnan(variance):
        return {'ci95': None, 'why': 'one positive or one negative case only: no variance'}
    z, error = special.ndtri(0.975), np.sqrt(variance)
    if not 0 < area < 1:
        limits = np.clip([area - z * error, area + z * error], 0, 1)
        return {'ci95': [float(limit) for limit in limits], 'scale': 'plain, clipped',
                'why': "an AUROC of 0 or 1: DeLong's variance is 0, and the interval has no width"}
    centre, reach = special.logit(area), z * error / (area * (1 - area))
    return {'ci95': [float(x) for x in special.expit([centre - reach, centre + reach])], 'scale': 'logit'}


def auroc_test(positive: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, object]:
    """DeLong's test of the equality of two AUROCs on the same cases.

    Args:
      positive: `[n]` bool.
      a: `[n]`, the scores of one model, higher for positives.
      b: `[n]`, the scores of the other model.

    Returns:
      `difference` (a minus b), its `se` and `ci95`; `z`; `p`, two-sided. A result that is not defined is None, with the
      reason in `why`.
    """
    (above_a, below_a), (above_b, below_b) = placements(positive, a), placements(positive, b)
    none = {'difference': None, 'se': None, 'ci95': None, 'z': None, 'p': None}
    if not above_a.size or not below_a.size:
        return none | {'why': 'one class only in the truth: nothing to rank'}
    # The variance of the differences of the components includes their covariance.
    above, below = above_a - above_b, below_a - below_b
    difference, variance = float(above.mean()), _variance(above, below)
    if np.isnan(variance):
        return none | {'difference': difference, 'why': 'one positive or one negative case only: no variance'}
    error, reach = np.sqrt(variance), special.ndtri(0.975) * np.sqrt(variance)
    out = {'difference': difference, 'se': float(error), 'ci95': [difference - reach, difference + reach]}
    out['ci95'] = [float(np.clip(limit, -1, 1)) for limit in out['ci95']]
    if error == 0:
        if difference == 0:
            return out | {'z': 0.0, 'p': 1.0}
        return out | {'z': None, 'p': None, 'why': 'the variance is 0: no test'}
    z = difference / error
    return out | {'z': float(z), 'p': float(2 * special.ndtr(-abs(z)))}


def mcnemar_test(right_a: np.ndarray, right_b: np.ndarray) -> dict[str, object]:
    """McNemar's test of the equality of two models' accuracies on the same cases.

    Args:
      right_a: `[n]` bool, whether one model's decision is correct.
      right_b: `[n]` bool, the same for the other model.

    Returns:
      `only_a` and `only_b`, the numbers of cases that only one model decides correctly; `p`, two-sided; `method`, exact
      binomial with fewer than 25 such cases, else chi-squared with continuity correction; `statistic`, of the latter,
      else None.
    """
    a, b = np.asarray(right_a, bool), np.asarray(right_b, bool)
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    both = only_a + only_b
    out = {'only_a': only_a, 'only_b': only_b}
    if both < EXACT_BELOW:
        p = min(1.0, 2 * float(special.bdtr(min(only_a, only_b), both, 0.5))) if both else 1.0
        return out | {'statistic': None, 'p': p, 'method': 'exact binomial'}
    statistic = max(abs(only_a - only_b) - 1, 0) ** 2 / both
    return out | {'statistic': float(statistic), 'p': float(special.chdtrc(1, statistic)),
                  'method': 'chi-squared with continuity correction'}


def _midranks(values: np.ndarray) -> np.ndarray:
    """Ranks from 1 on; equal values have their mean rank."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[where]


def _variance(above: np.ndarray, below: np.ndarray) -> float:
    if above.size < 2 or below.size < 2:
        return float('nan')
    return float(above.var(ddof=1) / above.size + below.var(ddof=1) / below.size)
