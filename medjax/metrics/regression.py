"""Weighted metrics of predicted against measured numbers, in float64 on the host.

`weight [..., n]` is the number of times that each case counts: with the multiplicities of a bootstrap, one call
computes a metric of all resamples. A metric that is not defined is NaN.
"""

import numpy as np


def compute_metrics(measured: np.ndarray, predicted: np.ndarray,
                    weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics of a regression.

    Args:
      measured: `[n]`.
      predicted: `[n]`.
      weight: `[..., n]`; 1 by default.

    Returns:
      `[...]` each: `r2`, 1 minus the mean squared error over the variance of the measured values, which may be
      negative; `rmse`; `mae`; `bias`, the mean of predicted minus measured; `pearson`; `spearman`, with mean ranks for
      equal values.
    """
    measured, predicted = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    weight = np.ones(len(measured)) if weight is None else np.asarray(weight)
    error = predicted - measured
    square, deviation = weighted_mean(error**2, weight), measured - weighted_mean(measured, weight)[..., None]
    variance = weighted_mean(deviation**2, weight)
    with np.errstate(invalid='ignore', divide='ignore'):
        r2 = np.where(variance > 0, 1 - square / variance, np.nan)
    return {'r2': r2, 'rmse': np.sqrt(square), 'mae': weighted_mean(np.abs(error), weight),
            'bias': weighted_mean(error, weight), 'pearson': pearson(measured, predicted, weight),
            'spearman': pearson(weighted_ranks(measured, weight), weighted_ranks(predicted, weight), weight)}


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means.

    Args:
      values: `[..., n]`.
      weight: `[..., n]`.

    Returns:
      `[...]`; NaN where no case has weight.
    """
    with np.errstate(invalid='ignore', divide='ignore'):
        return (values * weight).sum(-1, dtype=np.float64) / weight.sum(-1, dtype=np.float64)


def pearson(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Pearson's correlation.

    Args:
      a: `[..., n]`.
      b: `[..., n]`.
      weight: `[..., n]`.

    Returns:
      `[...]`; NaN where a or b is constant.
    """
    a, b = (value - weighted_mean(value, weight)[..., None] for value in (a, b))
    variances = [weighted_mean(value**2, weight) for value in (a, b)]
    with np.errstate(invalid='ignore', divide='ignore'):
        out = weighted_mean(a * b, weight) / np.sqrt(variances[0]) / np.sqrt(variances[1])
    return np.where((variances[0] > 0) & (variances[1] > 0), np.clip(out, -1, 1), np.nan)


def weighted_ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Ranks from 1 on of values that occur several times; equal values have their mean rank.

    Args:
      values: `[n]`.
      weight: `[..., n]`, the number of times that each value occurs.

    Returns:
      `[..., n]`.
    """
    _, place = np.unique(values, return_inverse=True)
    count = place.max(initial=-1) + 1
    order = np.argsort(place, kind='stable')
    if not count:
        return np.zeros(weight.shape)
    starts = np.searchsorted(place[order], np.arange(count))
    times = np.add.reduceat(weight[..., order].astype(np.float64), starts, -1)
    ends = np.cumsum(times, -1)
    return (ends - (times - 1) / 2)[..., place]
