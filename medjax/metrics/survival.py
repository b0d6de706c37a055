"""Survival curves of censored times, and metrics of predicted survival curves, in float64 on the host.

`time [n]` is the time of the event or, where `event [n]` is false, of the last observation without it.
`weight [..., n]` is the number of times that each case counts, 1 by default: with the multiplicities `[resamples, n]`
of a bootstrap, one call computes a result for all resamples. Of equal times events come first: a case that is censored
then was still at risk.

Metrics of predictions weight cases by the inverse probability of censoring (IPCW). The probability G of being
uncensored is the Kaplan-Meier estimate on the evaluated cases themselves, in each resample separately, and is taken at
a time, not just before it. Where G is 0 a case has no weight. `competing [n]` marks cases that ended with another
event: such a case stays without the event of interest afterwards, and only cases with neither are censored (Schoop
2011, Blanche 2013). Without competing events the values equal those of scikit-survival.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from medjax.metrics.classification import bin_sums, compute_in_blocks

Z = special.ndtri(0.975)
ROUNDING = 1e-12  # sums of probabilities may miss 0 and 1 by this much


class Curve(NamedTuple):
    """A step function of time with its 95 % confidence interval.

    Attributes:
      times: `[k]`, the different times of all cases, in increasing order.
      values: `[..., k]`, the value from each time on until the next.
      variance: `[..., k]`, the variance of `values`.
      low: `[..., k]`, the lower limit of the interval on the log(-log) scale, which stays between 0 and 1.
      high: `[..., k]`, the upper limit. Where `values` is 0 or 1 both limits equal it.
      at_risk: `[..., k]`, the number of cases under observation and without an event until each time.
      start: the value before the first time.
    """

    times: np.ndarray
    values: np.ndarray
    variance: np.ndarray
    low: np.ndarray
    high: np.ndarray
    at_risk: np.ndarray
    start: float

    def at(self, when: float | np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The curve at given times.

        Args:
          when: `[m]`, or one time.

        Returns:
          Value, lower and upper limit, each `[..., m]`.
        """
        place = np.searchsorted(self.times, when, 'right')
        value, low, high = (np.insert(array, 0, self.start, -1)[..., place]
                            for array in (self.values, self.low, self.high))
        return value, low, high

    def complement(self) -> 'Curve':
        """One minus the curve: survival for incidence, and incidence for survival."""
        return self._replace(values=1 - self.values, low=1 - self.high, high=1 - self.low, start=1 - self.start)


def kaplan_meier(time: np.ndarray, event: np.ndarray, weight: np.ndarray | None = None) -> Curve:
    """The probability of being without the event over time (Kaplan & Meier 1958), with Greenwood's variance.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      weight: `[..., n]`.
    """
    times, at_risk, (events,) = _counts(time, [event], weight)
    values = np.cumprod(1 - _over(events, at_risk), -1)
    variance = values ** 2 * np.cumsum(_over(events, at_risk * (at_risk - events)), -1)
    return Curve(times, values, variance, *_interval(values, variance), at_risk, 1.0)


def aalen_johansen(time: np.ndarray, event: np.ndarray, of: int, weight: np.ndarray | None = None) -> Curve:
    """The cumulative incidence of one of several competing events (Aalen & Johansen 1978).

    The variance is that of the delta method (Dinse & Larson 1986, equation 6); with a single event it is Greenwood's.

    Args:
      time: `[n]`, of the first event of a case.
      event: `[n]` int, the number of that event; 0 where the case is censored.
      of: the number of the event of interest.
      weight: `[..., n]`.
    """
    event = np.asarray(event)
    times, at_risk, (events, every) = _counts(time, [event == of, event > 0], weight)
    left = np.cumprod(1 - _over(every, at_risk), -1)
    before = np.insert(left, 0, 1.0, -1)[..., :-1]
    values = np.cumsum(before * _over(events, at_risk), -1)

    def total(terms: np.ndarray) -> np.ndarray:
        return np.cumsum(terms, -1)

    # Weighted sums over times s up to t of (F(t) - F(s))² and of 2 (F(t) - F(s)), expanded in F(t).
    lost, own = _over(every, at_risk * (at_risk - every)), before * _over(events, at_risk ** 2)
    variance = (values ** 2 * total(lost) - 2 * values * total(values * lost) + total(values ** 2 * lost)
                + total(before ** 2 * _over(events * (at_risk - events), at_risk ** 3))
                - 2 * (values * total(own) - total(values * own)))
    variance = np.maximum(variance, 0.0)
    return Curve(times, values, variance, *_interval(values, variance), at_risk, 0.0)


def logrank(time: np.ndarray, event: np.ndarray, group: np.ndarray) -> tuple[float, int, float]:
    """The log-rank test (Mantel 1966), with the hypergeometric variance for tied events.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      group: `[n]`, the group of each case.

    Returns:
      Chi², its degrees of freedom, and p. Groups without a case at risk at the time of any event are left out; with
      fewer than two other groups chi² and p are NaN.
    """
    names, place = np.unique(group, return_inverse=True)
    membership = (place == np.arange(len(names))[:, None]).astype(np.float64)
    _, at_risk, (events,) = _counts(time, [event], membership)
    n, d = at_risk.sum(0), events.sum(0)
    expected = at_risk * _over(d, n)
    kept = expected.sum(1) > 0
    if kept.sum() < 2:
        return float('nan'), 0, float('nan')
    share, variance = _over(at_risk, n)[kept], _over(d * (n - d), n - 1)
    covariance = np.diag((share * variance).sum(1)) - (share * variance) @ share.T
    excess = (events - expected)[kept].sum(1)[:-1]
    chi2, df = float(excess @ np.linalg.pinv(covariance[:-1, :-1]) @ excess), int(kept.sum()) - 1
    return chi2, df, float(special.chdtrc(df, chi2))


def brier(time: np.ndarray, event: np.ndarray, survival_at: np.ndarray, at: np.ndarray,
          weight: np.ndarray | None = None, competing: np.ndarray | None = None) -> np.ndarray:
    """The Brier score at given times, with IPCW (Graf 1999): the mean squared error of the predicted survival.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      survival_at: `[n, T]`, the predicted probability of being without the event at each time.
      at: `[T]`, the times.
      weight: `[..., n]`.
      competing: `[n]` bool.

    Returns:
      `[..., T]`; NaN where no case has weight. After the last follow-up only cases with the event count.
    """
    time, event, at, other = np.asarray(time), np.asarray(event, bool), np.asarray(at), _others(time, competing)
    left = time[:, None] > at
    # The part of the squared error that is weighted by G at the case's own time, and by G at the evaluated time.
    ended = ~left & event[:, None]
    own = ended * survival_at ** 2 + (~left & other[:, None]) * (1 - survival_at) ** 2
    beyond = left * (1 - survival_at) ** 2

    def score(w: np.ndarray) -> dict[str, np.ndarray]:
        w = w.astype(np.float64)
        inverse, horizon = censoring_weights(time, event | other, at, w)
        return {'': _ratio((w * inverse) @ own + (w @ beyond) * horizon, w.sum(-1, keepdims=True))}
    return compute_in_blocks(score, _ones(time, weight), len(at))['']


def integrated_brier(time: np.ndarray, event: np.ndarray, survival_at: np.ndarray, grid: np.ndarray,
                     weight: np.ndarray | None = None, competing: np.ndarray | None = None) -> np.ndarray:
    """The integrated Brier score: the mean of `brier` over a time interval, by the trapezoid rule.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      survival_at: `[n, T]`, the predicted survival at the times of the grid.
      grid: `[T]`, in increasing order, from the start to the end of the interval.
      weight: `[..., n]`.
      competing: `[n]` bool.

    Returns:
      `[...]`.
    """
    scores = brier(time, event, survival_at, grid, weight, competing)
    return np.trapezoid(scores, grid, axis=-1) / (grid[-1] - grid[0])


def cumulative_dynamic_auc(time: np.ndarray, event: np.ndarray, score: np.ndarray, horizon: float,
                           weight: np.ndarray | None = None, competing: np.ndarray | None = None) -> np.ndarray:
    """Area under the cumulative/dynamic ROC curve at a horizon, with IPCW (Uno 2007).

    It is the probability that a case with the event by the horizon has a higher score than a case without it, where
    equal scores count one half.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      score: `[n]`, higher where the event by the horizon is more likely.
      horizon: the time; an event at this time counts as an event by the horizon.
      weight: `[..., n]`.
      competing: `[n]` bool.

    Returns:
      `[...]`; NaN where one side has no weight.
    """
    time, event, other = np.asarray(time), np.asarray(event, bool), _others(time, competing)
    levels, place = np.unique(score, return_inverse=True)
    left = time > horizon

    def tally(chosen: np.ndarray, w: np.ndarray) -> np.ndarray:
        return bin_sums(chosen, place, len(levels), w)

    def area(w: np.ndarray) -> dict[str, np.ndarray]:
        w = w.astype(np.float64)
        inverse, after = censoring_weights(time, event | other, np.array([horizon]), w)
        positive = tally(event & ~left, w * inverse)
        negative = tally(left, w) * after + tally(other & ~left, w * inverse)
        below = negative.cumsum(-1) - negative / 2
        return {'': _ratio((positive * below).sum(-1), positive.sum(-1) * negative.sum(-1))}
    return compute_in_blocks(area, _ones(time, weight), len(levels))['']


def censoring_weights(time: np.ndarray, ended: np.ndarray, at: np.ndarray,
                      weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The inverse probability of being uncensored, 1 / G; 0 where G is 0.

    Args:
      time: `[n]`.
      ended: `[n]` bool, whether a case had any event and was thus not censored.
      at: `[T]`, further times.
      weight: `[..., n]`.

    Returns:
      1 / G of each case at its own time, `[..., n]`, and at the further times, `[..., T]`.
    """
    times, at_risk, (events, lost) = _counts(time, [ended, ~ended], weight)
    uncensored = np.insert(np.cumprod(1 - _over(lost, at_risk - events), -1), 0, 1.0, -1)
    inverse = _over(1.0, uncensored)
    own, further = (inverse[..., np.searchsorted(times, when, 'right')] for when in (time, at))
    return own, further


def horizon_weights(time: np.ndarray, ended: np.ndarray, horizon: float,
                    weight: np.ndarray | None = None) -> np.ndarray:
    """The weight of each case in a question about events by a horizon: inverse probabilities of censoring.

    A case with an event by the horizon has one over the probability of being uncensored just before its event; a case
    that is followed beyond the horizon, one over that at the horizon. A case that is censored before the horizon has no
    weight: the answer is not known. Without weights, cases with an event would be too frequent.

    Args:
      time: `[n]`, of the event or the end of observation.
      ended: `[n]` bool, whether a case had an event.
      horizon: in the unit of `time`.
      weight: `[..., n]`, for the estimate of the probabilities.

    Returns:
      `[..., n]` float64.
    """
    time, ended = np.asarray(time, np.float64), np.asarray(ended, bool)
    beyond = time > horizon
    at = np.where(beyond, horizon, np.nextafter(time, -np.inf))
    _, inverse = censoring_weights(time, ended, at, _ones(time, weight))
    return np.where(beyond | ended, inverse, 0.0)


def _counts(time: np.ndarray, kinds: list[np.ndarray],
            weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The different times, the number at risk at each, `[..., k]`, and the number of each kind that end then."""
    times, place = np.unique(time, return_inverse=True)

    def tally(mask: np.ndarray) -> np.ndarray:
        return bin_sums(mask, place, len(times), _ones(time, weight))

    at_risk = tally(np.ones(len(place)))[..., ::-1].cumsum(-1)[..., ::-1]
    return times, at_risk, [tally(mask) for mask in kinds]


def _interval(values: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The 95 % interval of probabilities on the log(-log) scale."""
    inside = (values > ROUNDING) & (values < 1 - ROUNDING)
    known = np.where(inside, values, 0.5)
    factor = np.exp(Z * np.sqrt(variance) / np.abs(known * np.log(known)))
    return np.where(inside, known ** factor, values), np.where(inside, known ** (1 / factor), values)


def _others(time: np.ndarray, competing: np.ndarray | None) -> np.ndarray:
    return np.zeros(len(time), bool) if competing is None else np.asarray(competing, bool)


def _ones(time: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    return np.ones(len(time)) if weight is None else np.asarray(weight)


def _over(a: np.ndarray | float, b: np.ndarray) -> np.ndarray:
    """a / b; 0 where b is 0."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    return np.divide(a, b, out=np.zeros(a.shape), where=b > 0)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b; NaN where b is 0."""
    return np.where(b > 0, _over(a, b), np.nan)
