"""What predicted effects of a treatment are worth, on the host.

All is float64. `weight [..., n]` says how often each patient counts: left out, once; a bootstrap's multiplicities
`[resamples, n]` give all resamples in one call. A higher outcome is better. Where a figure is not defined it is NaN.
`chance [n]` is a weight by the inverse chance of the treatment that was given (`balance.inverse_propensity`).
"""

import numpy as np

from medjax.metrics.classification import weighted_mean


def pehe(effect: np.ndarray, truth: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The root of the precision in estimating heterogeneous effects (Hill 2011): a root mean square, `[...]`.

    Args:
      effect: predicted, `[n]`.
      truth: `[n]`.
      weight: `[..., n]`.
    """
    return np.sqrt(weighted_mean((effect - truth)**2, weight))


def factual_rmse(predicted: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Root mean square error of the outcomes that came, each group counting half, `[...]`.

    Args:
      predicted: `[n, 2]`, without and with treatment.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      weight: `[..., n]`.
    """
    square = (predicted[np.arange(len(outcome)), treatment] - outcome)**2
    return np.sqrt((weighted_mean(square, weight * (treatment == 0)) + weighted_mean(square, weight * (treatment == 1))) / 2)


def policy_value(effect: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, chance: np.ndarray,
                 weight: np.ndarray) -> np.ndarray:
    """The mean outcome to be expected if those are treated whom the treatment is predicted to help, `[...]`.

    It is estimated from the patients whose treatment was that one (Horvitz & Thompson 1952, with the weights' own sum
    below, Hájek 1971).

    Args:
      effect: predicted, `[n]`.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      chance: `[n]`.
      weight: `[..., n]`.
    """
    return weighted_mean(outcome, weight * chance * (treatment == (effect > 0)))


def uplift_curve(effect: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, chance: np.ndarray,
          weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The uplift curve: what treating a share of the patients gains, those of the largest predicted effect first.

    At a share it is that share times the difference of the treated and the untreated patients' weighted mean outcomes
    among them (Radcliffe 2007; Gutierrez & Gérardy 2017); 0 as long as one group is not among them.

    Args:
      effect: predicted, `[n]`; patients of equal effects come together.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      chance: `[n]`.
      weight: `[..., n]`.

    Returns:
      Shares and gains, both `[..., k + 1]` for k different effects; both start at 0. Gains are NaN where one group has
      nobody at all.
    """
    order = np.argsort(-effect, kind='stable')
    last = np.flatnonzero(np.diff(effect[order], append=np.inf) != 0)

    def summed(values: np.ndarray) -> np.ndarray:
        return np.cumsum(values[..., order], -1)[..., last]

    share, means = summed(weight * 1.0), []
    share = np.divide(share, share[..., -1:], out=np.zeros_like(share), where=share[..., -1:] > 0)
    for number in (0, 1):
        of = weight * chance * (treatment == number)
        total = summed(of)
        means.append(np.divide(summed(of * outcome), total, out=np.full_like(total, np.nan), where=total > 0))
    apart = means[1] - means[0]
    gain = share * np.where(np.isnan(apart) & ~np.isnan(apart[..., -1:]), 0, apart)
    return tuple(np.concatenate([np.zeros_like(part[..., :1]), part], -1) for part in (share, gain))


def qini(share: np.ndarray, gain: np.ndarray) -> np.ndarray:
    """The area between `gains` and the straight line to their end, which is chance's: in the outcome's unit, `[...]`.

    Args:
      share: `[..., k + 1]`.
      gain: `[..., k + 1]`.
    """
    return np.trapezoid(gain, share) - gain[..., -1] / 2


def doubly_robust_effect(predicted: np.ndarray, outcome: np.ndarray, treatment: np.ndarray, chance: np.ndarray,
                  weight: np.ndarray) -> np.ndarray:
    """The mean effect by predictions that what came corrects (Robins 1994, augmented inverse propensity), `[...]`.

    Args:
      predicted: `[n, 2]`.
      outcome: `[n]`.
      treatment: `[n]`, 0 or 1.
      chance: `[n]`.
      weight: `[..., n]`.
    """
    off = outcome - predicted[np.arange(len(outcome)), treatment]
    return weighted_mean(predicted[:, 1] - predicted[:, 0] + np.where(treatment == 1, 1, -1) * chance * off, weight)
