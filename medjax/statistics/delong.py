"""The AUROC with its interval, and paired tests of two models on the same cases, without resampling."""

import numpy as np
from scipy import special

METHOD, SCORE = 'DeLong', 'Newcombe'  # of the interval of an AUROC
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


def auroc_and_variance(positive: np.ndarray, score: np.ndarray,
                       patients: np.ndarray | None = None) -> tuple[float, float, float]:
    """The AUROC and its variance (DeLong et al. 1988, Biometrics 44).

    Where patients have several cases, the variance is that of Obuchowski (1997, Biometrics 53).

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.
      patients: `[n]`, the patient of each case; by default each case is a patient of its own.

    Returns:
      The area, NaN where a class is empty; its variance, and the variance's degrees of freedom by Satterthwaite's
      formula (Brunner & Munzel 2000), both NaN where a class has a single patient.
    """
    positive = np.asarray(positive, bool)
    above, below = placements(positive, score)
    if not above.size or not below.size:
        return float('nan'), float('nan'), float('nan')
    area, names = float(above.mean()), np.arange(len(positive)) if patients is None else patients
    _, place = np.unique(names, return_inverse=True)
    # Of each patient the sum of its cases' deviations, as a share of all cases of the class.
    sums = np.stack([np.bincount(place[chosen], (part - area) / part.size, place.max() + 1)
                     for chosen, part in ((positive, above), (~positive, below))])
    count, every = np.array([len(np.unique(place[chosen])) for chosen in (positive, ~positive)]), sums.shape[1]
    if count.min() < 2:
        return area, float('nan'), float('nan')
    parts = (sums**2).sum(1) * count / (count - 1)
    variance = parts.sum() + 2 * (sums[0] * sums[1]).sum() * every / (every - 1)
    spread = (parts**2 / (count - 1)).sum()
    return area, max(float(variance), 0.0), float(parts.sum()**2 / spread) if spread > 0 else float(count.min() - 1)


def auroc_interval(positive: np.ndarray, score: np.ndarray, patients: np.ndarray | None = None) -> dict[str, object]:
    """The AUROC with its 95 % confidence interval by `auroc_and_variance`.

    It is on the logit scale, so that it stays between 0 and 1, with percentiles of the t distribution, which matter
    where one of the classes is rare. Where the variance is 0, as at an area of 1, it is `score_limits`.

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.
      patients: `[n]`, the patient of each case; by default each case is a patient of its own.

    Returns:
      `value`; `ci95` [low, high], or None with the reason in `why`; `method`.
    """
    area, variance, freedom = auroc_and_variance(positive, score, patients)
    if np.isnan(area):
        return {'value': area, 'ci95': None, 'why': 'one class only in the truth: nothing to rank'}
    if np.isnan(variance):
        return {'value': area, 'ci95': None, 'why': 'one patient only with a positive, or with a negative case: no '
                                                    'variance'}
    if not 0 < area < 1 or variance == 0:
        names = np.arange(len(positive)) if patients is None else patients
        counts = [len(np.unique(names[chosen])) for chosen in (np.asarray(positive, bool), ~np.asarray(positive, bool))]
        return {'value': area, 'ci95': score_limits(area, *counts), 'method': SCORE}
    centre, reach = special.logit(area), special.stdtrit(freedom, 0.975) * np.sqrt(variance) / (area * (1 - area))
    return {'value': area, 'ci95': [float(x) for x in special.expit([centre - reach, centre + reach])],
            'method': METHOD}


def score_limits(area: float, positives: int, negatives: int) -> list[float]:
    """The 95 % interval of an AUROC from its value and the numbers of cases (Newcombe 2006, Stat Med 25, method 5).

    It holds the areas from which the estimate is less than 1.96 standard errors away, with the variance that Hanley and
    McNeil (1982) give for exponential scores at that area. At an area of 1 it has a width, unlike DeLong's.

    Args:
      area: the estimate.
      positives: number of positive cases.
      negatives: number of negative cases.

    Returns:
      [low, high].
    """
    from scipy import optimize  # slow to import
    half, z = (positives + negatives) / 2 - 1, special.ndtri(0.975)

    def excess(true: float) -> float:
        variance = true * (1 - true) * (1 + half * ((1 - true) / (2 - true) + true / (1 + true)))
        return (area - true)**2 - z**2 * variance / (positives * negatives)
    inside = min(max(area, 1e-9), 1 - 1e-9)  # at 0 and 1 the variance is 0
    low = optimize.brentq(excess, 0, inside) if area > 0 else 0.0
    high = optimize.brentq(excess, inside, 1) if area < 1 else 1.0
    return [float(low), float(high)]


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
