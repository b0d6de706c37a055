"""What predicted numbers are worth against measured ones, weighted, on the host; all is float64.

`weight [..., n]` says how often each case counts, in whole numbers: a bootstrap's multiplicities give all resamples in
one call. A figure that is not defined is NaN.
"""

import numpy as np


def compute_metrics(measured: np.ndarray, predicted: np.ndarray, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All figures, `[...]` each.

    `r2`, 1 less the mean square error over the variance of what was measured, which may be negative; `rmse`; `mae`;
    `bias`, the mean of predicted less measured; `pearson`; `spearman`, with the mean rank for equal values.

    Args:
      measured: `[n]`.
      predicted: `[n]`.
      weight: `[..., n]`, once each where it is left out.
    """
    measured, predicted = np.asarray(measured, np.float64), np.asarray(predicted, np.float64)
    weight = np.ones(len(measured)) if weight is None else np.asarray(weight)
    off = predicted - measured
    square, far = weighted_mean(off**2, weight), measured - weighted_mean(measured, weight)[..., None]
    spread = weighted_mean(far**2, weight)
    with np.errstate(invalid='ignore', divide='ignore'):
        r2 = np.where(spread > 0, 1 - square / spread, np.nan)
    return {'r2': r2, 'rmse': np.sqrt(square), 'mae': weighted_mean(np.abs(off), weight), 'bias': weighted_mean(off, weight),
            'pearson': pearson(measured, predicted, weight),
            'spearman': pearson(weighted_ranks(measured, weight), weighted_ranks(predicted, weight), weight)}


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means `[...]` of `values [..., n]`; NaN where no case has weight."""
    with np.errstate(invalid='ignore', divide='ignore'):
        return (values * weight).sum(-1, dtype=np.float64) / weight.sum(-1, dtype=np.float64)


def pearson(a: np.ndarray, b: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Pearson's correlation `[...]` of `[..., n]` each; NaN where one of both does not vary."""
    a, b = (value - weighted_mean(value, weight)[..., None] for value in (a, b))
    spread = [weighted_mean(value**2, weight) for value in (a, b)]
    with np.errstate(invalid='ignore', divide='ignore'):
        out = weighted_mean(a * b, weight) / np.sqrt(spread[0]) / np.sqrt(spread[1])
    return np.where((spread[0] > 0) & (spread[1] > 0), np.clip(out, -1, 1), np.nan)


def weighted_ranks(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Ranks from 1 on of values `[n]`, each `weight [..., n]` times there; equal ones share the mean rank."""
    _, place = np.unique(values, return_inverse=True)
    count = place.max(initial=-1) + 1
    order = np.argsort(place, kind='stable')
    if not count:
        return np.zeros(weight.shape)
    starts = np.searchsorted(place[order], np.arange(count))
    times = np.add.reduceat(weight[..., order].astype(np.float64), starts, -1)
    ends = np.cumsum(times, -1)
    return (ends - (times - 1) / 2)[..., place]
