"""Metrics of predicted treatment effects, in float64 on the host.

`weight [..., n]` is the number of times that each patient counts, 1 by default: with the multiplicities
`[resamples, n]` of a bootstrap, one call computes a metric of all resamples. A higher outcome is better. A metric that
is not defined is NaN. `inverse [n]` are weights by the inverse probability of the treatment that was given, see
`covariate_balance.inverse_propensity`.
"""

import numpy as np

from medjax.metrics.classification import weighted_mean


def pehe(effect: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The precision in estimating heterogeneous effects (Hill 2011): the root mean squared error of the effects.

    Args:
      effect: `[n]`, predicted.
      truth: `[n]`.
      weight: `[..., n]`.

    Returns:
      `[...]`.
    """
    return np.sqrt(weighted_mean((effect - truth)**2, weight))


def factual_rmse(predicted: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Root mean squared error of the observed outcomes; each treatment group counts one half.

    Args:
      predicted: `[n, 2]`, without and with treatment.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      weight: `[..., n]`.

    Returns:
      `[...]`.
    """
    square = (predicted[np.arange(len(outcome)), treatment] - outcome)**2
    untreated, treated = (weighted_mean(square, weight * (treatment == group)) for group in (0, 1))
    return np.sqrt((untreated + treated) / 2)


def policy_value(effect: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, inverse: np.ndarray,
                 weight: np.ndarray) -> np.ndarray:
    """The expected mean outcome of the policy that treats the patients with a positive predicted effect.

    It is estimated from the patients whose treatment agrees with the policy (Horvitz & Thompson 1952), divided by the
    sum of their weights (Hájek 1971).

    Args:
      effect: `[n]`, predicted.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      inverse: `[n]`.
      weight: `[..., n]`.

    Returns:
      `[...]`.
    """
    return weighted_mean(outcome, weight * inverse * (treatment == (effect > 0)))


def uplift_curve(effect: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, inverse: np.ndarray,
                 weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The uplift curve: the gain from treating a share of the patients, in order of decreasing predicted effect.

    At a share it is that share times the difference between the weighted mean outcomes of the treated and the untreated
    patients among them (Radcliffe 2007; Gutierrez & Gérardy 2017); 0 as long as one group is not among them.

    Args:
      effect: `[n]`, predicted; patients with equal effects are added together.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      inverse: `[n]`.
      weight: `[..., n]`.

    Returns:
      Shares and gains, both `[..., k + 1]` for k different effects; both start at 0. Gains are NaN where one group is
      empty.
    """
    order = np.argsort(-effect, kind='stable')
    last = np.flatnonzero(np.diff(effect[order], append=np.inf) != 0)

    def cumulative(values: np.ndarray) -> np.ndarray:
        return np.cumsum(values[..., order], -1)[..., last]

    share, means = cumulative(weight * 1.0), []
    share = np.divide(share, share[..., -1:], out=np.zeros_like(share), where=share[..., -1:] > 0)
    for group in (0, 1):
        group_weight = weight * inverse * (treatment == group)
        total = cumulative(group_weight)
        sums = cumulative(group_weight * outcome)
        means.append(np.divide(sums, total, out=np.full_like(total, np.nan), where=total > 0))
    difference = means[1] - means[0]
    gain = share * np.where(np.isnan(difference) & ~np.isnan(difference[..., -1:]), 0, difference)
    share, gain = (np.concatenate([np.zeros_like(part[..., :1]), part], -1) for part in (share, gain))
    return share, gain


def qini(share: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The Qini coefficient: the area between the uplift curve and the straight line to its end, that of a random order.

    Args:
      share: `[..., k + 1]`, see `uplift_curve`.
      gain: `[..., k + 1]`.

    Returns:
      `[...]`, in the unit of the outcome.
    """
    return np.trapezoid(gain, share) - gain[..., -1] / 2


def doubly_robust_effect(predicted: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, inverse: np.ndarray,
                         weight: np.ndarray) -> np.ndarray:
    """The doubly robust estimate of the mean effect, by augmented inverse propensity weighting (Robins 1994).

    Args:
      predicted: `[n, 2]`, without and with treatment.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      inverse: `[n]`.
      weight: `[..., n]`.

    Returns:
      `[...]`.
    """
    residual = outcome - predicted[np.arange(len(outcome)), treatment]
    correction = np.where(treatment == 1, 1, -1) * inverse * residual
    return weighted_mean(predicted[:, 1] - predicted[:, 0] + correction, weight)
