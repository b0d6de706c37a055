"""Whether one model ranks or decides better than another on the same cases, without resampling: DeLong and McNemar."""

import numpy as np
from scipy import special

EXACT_BELOW = 25  # discordant cases: below it the binomial's own p, from it on the normal approximation's


def placements(positive: np.ndarray, score: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """How each case is placed among those of the other side: the structural components of the AUROC.

    By mid-ranks in O(n log n) (Sun & Xu 2014, IEEE Signal Processing Letters 21).

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.

    Returns:
      `[m]` for each positive the share of negatives below it, and `[n - m]` for each negative that of positives above
      it; equals count half. The mean of either is the AUROC.
    """
    positive, score = np.asarray(positive, bool), np.asarray(score, np.float64)
    ranks, (m, n) = _midranks(score), (positive.sum(), (~positive).sum())
    above = (ranks[positive] - _midranks(score[positive])) / max(n, 1)
    below = 1 - (ranks[~positive] - _midranks(score[~positive])) / max(m, 1)
    return above, below


def auroc_and_variance(positive: np.ndarray, score: np.ndarray) -> tuple[float, float]:
    """The AUROC and DeLong's variance of it (DeLong et al. 1988, Biometrics 44).

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.

    Returns:
      The area, NaN where one side is empty; its variance, NaN where one side has a single case.
    """
    above, below = placements(positive, score)
    if not above.size or not below.size:
        return float('nan'), float('nan')
    return float(above.mean()), _variance(above, below)


def auroc_interval(area: float, variance: float) -> dict[str, object]:
    """The 95 % interval of an AUROC: on the logit scale, so that it stays between 0 and 1.

    At an area of 0 or 1 the logit is not finite: there it is the plain interval, clipped, which has no width, for
    DeLong's variance is 0 there.

    Returns:
      `ci95` [low, high], or None; `scale` 'logit' or 'plain, clipped'; `why` where there is more to say.
    """
    if np.isnan(variance):
        return {'ci95': None, 'why': 'one positive or one negative case only: no variance'}
    z, error = special.ndtri(0.975), np.sqrt(variance)
    if not 0 < area < 1:
        return {'ci95': [float(x) for x in np.clip([area - z * error, area + z * error], 0, 1)],
                'scale': 'plain, clipped', 'why': 'perfectly ranked, rightly or wrongly: DeLong\'s variance is 0, and '
                                                  'the interval has no width'}
    centre, reach = special.logit(area), z * error / (area * (1 - area))
    return {'ci95': [float(x) for x in special.expit([centre - reach, centre + reach])], 'scale': 'logit'}


def auroc_test(positive: np.ndarray, a: np.ndarray, b: np.ndarray) -> dict[str, object]:
    """DeLong's test of two scores `[n]` of the same cases: is the AUROC of `a` that of `b`?

    Returns:
      `difference` (a minus b); `se`; `ci95` of it; `z`; `p`, two-sided. What is not defined is None, and `why` says so.
    """
    (above_a, below_a), (above_b, below_b) = placements(positive, a), placements(positive, b)
    none = {'difference': None, 'se': None, 'ci95': None, 'z': None, 'p': None}
    if not above_a.size or not below_a.size:
        return none | {'why': 'one class only in the truth: nothing to rank'}
    # The components' differences have the variance of the paired difference, their covariances included.
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
    """McNemar's test of two models' decisions on the same cases: is one right more often?

    Args:
      right_a: `[n]` bool.
      right_b: `[n]` bool.

    Returns:
      `only_a` and `only_b`, the cases that one alone has right; `p`, two-sided; `method`: the exact binomial below 25
      such cases, else chi-squared with continuity correction, whose `statistic` is given (None else).
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
    """Ranks from 1; equal values share the mean of theirs."""
    _, where, counts = np.unique(values, return_inverse=True, return_counts=True)
    return (counts.cumsum() - (counts - 1) / 2)[where]


def _variance(above: np.ndarray, below: np.ndarray) -> float:
    if above.size < 2 or below.size < 2:
        return float('nan')
    return float(above.var(ddof=1) / above.size + below.var(ddof=1) / below.size)
