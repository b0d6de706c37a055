"""Times to events, some of them censored: estimates of curves, and what predicted curves are worth, on the host.

All is float64. `time [n]` is when the event happened or, where `event [n]` is false, how long the case was seen
without. `weight [..., n]` says how often each case counts: left out, once; a bootstrap's multiplicities
`[resamples, n]` give all resamples in one call. Where times are equal events come first: a case that is censored then
was still at risk.

What judges predictions weights cases by the inverse of the chance to be uncensored (IPCW). That chance, G, is the
Kaplan–Meier estimate of the judged cases themselves, in each resample anew, and is taken at a time, not just before.
Where G is 0 a case has no weight. With `competing [n]`, the cases whose end was another event, a case stays without
the judged event after that, and only those with neither are censored (Schoop 2011, Blanche 2013). Without it the
figures are scikit-survival's.
"""

from typing import NamedTuple

import numpy as np
from scipy import special

from medjax.metrics.classification import bin_sums, compute_in_blocks

Z = special.ndtri(0.975)


class Curve(NamedTuple):
    """A step function of time with its 95 % interval.

    Attributes:
      times: `[k]`, the different times of all cases, rising.
      values: `[..., k]` from each of them on, up to the next.
      variance: `[..., k]` of `values`.
      low: `[..., k]` of the interval on the scale of log(-log), which stays between 0 and 1.
      high: `[..., k]`. Where `values` is 0 or 1 both limits are the same.
      at_risk: `[..., k]`: how many are seen, without an event, up to each time.
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
        """Value, low and high at times `[m]`, or one time, each `[..., m]`."""
        place = np.searchsorted(self.times, when, 'right')
        padded = (np.insert(array, 0, self.start, -1) for array in (self.values, self.low, self.high))
        return tuple(array[..., place] for array in padded)

    def complement(self) -> 'Curve':
        """One less the curve: survival of incidence, incidence of survival."""
        return self._replace(values=1 - self.values, low=1 - self.high, high=1 - self.low, start=1 - self.start)


def kaplan_meier(time: np.ndarray, event: np.ndarray, weight: np.ndarray | None = None) -> Curve:
    """The share without the event over time (Kaplan & Meier 1958), with Greenwood's variance."""
    times, at_risk, (events,) = _counts(time, [event], weight)
    values = np.cumprod(1 - _over(events, at_risk), -1)
    variance = values ** 2 * np.cumsum(_over(events, at_risk * (at_risk - events)), -1)
    return Curve(times, values, variance, *_interval(values, variance), at_risk, 1.0)


def aalen_johansen(time: np.ndarray, event: np.ndarray, of: int, weight: np.ndarray | None = None) -> Curve:
    """The probability of one of several events over time, of which only the first to happen is seen.

    Aalen & Johansen 1978. The variance is that of the delta method (Dinse & Larson 1986, equation 6), with one
    event Greenwood's.

    Args:
      time: `[n]`.
      event: `[n]` int, 0 where censored.
      of: which event.
      weight: `[..., n]`.
    """
    event = np.asarray(event)
    times, at_risk, (events, every) = _counts(time, [event == of, event > 0], weight)
    left = np.cumprod(1 - _over(every, at_risk), -1)
    before = np.insert(left, 0, 1.0, -1)[..., :-1]
    values = np.cumsum(before * _over(events, at_risk), -1)
    total = lambda terms: np.cumsum(terms, -1)
    # What stays is (values - values then)², and twice (values - values then), of each time up to now.
    lost, own = _over(every, at_risk * (at_risk - every)), before * _over(events, at_risk ** 2)
    variance = (values ** 2 * total(lost) - 2 * values * total(values * lost) + total(values ** 2 * lost)
                + total(before ** 2 * _over(events * (at_risk - events), at_risk ** 3))
                - 2 * (values * total(own) - total(values * own)))
    variance = np.maximum(variance, 0.0)
    return Curve(times, values, variance, *_interval(values, variance), at_risk, 0.0)


def logrank(time: np.ndarray, event: np.ndarray, group: np.ndarray) -> tuple[float, int, float]:
    """The log-rank test (Mantel 1966), with the variance of the hypergeometric distribution where events are tied.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      group: `[n]`, to which group each case belongs.

    Returns:
      Chi², its degrees of freedom, and p. Groups that nobody was in when an event happened are left out, and with fewer
      than two others chi² and p are NaN.
    """
    names, place = np.unique(group, return_inverse=True)
    mine = (place == np.arange(len(names))[:, None]).astype(np.float64)
    _, at_risk, (events,) = _counts(time, [event], mine)
    n, d = at_risk.sum(0), events.sum(0)
    expected = at_risk * _over(d, n)
    kept = expected.sum(1) > 0
    if kept.sum() < 2:
        return float('nan'), 0, float('nan')
    share, spread = _over(at_risk, n)[kept], _over(d * (n - d), n - 1)
    covariance = np.diag((share * spread).sum(1)) - (share * spread) @ share.T
    apart = (events - expected)[kept].sum(1)[:-1]
    chi2, df = float(apart @ np.linalg.pinv(covariance[:-1, :-1]) @ apart), int(kept.sum()) - 1
    return chi2, df, float(special.chdtrc(df, chi2))


def brier(time: np.ndarray, event: np.ndarray, survival_at: np.ndarray, at: np.ndarray,
          weight: np.ndarray | None = None, competing: np.ndarray | None = None) -> np.ndarray:
    """Brier's score at some times, with IPCW (Graf 1999): the mean squared error of the predicted survival.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      survival_at: `[n, T]`, the predicted probability to be without the event at each of the times.
      at: `[T]`.
      weight: `[..., n]`.
      competing: `[n]` bool.

    Returns:
      `[..., T]`; NaN where no case has weight. Beyond the last follow-up only the cases with the event count.
    """
    time, event, at, other = np.asarray(time), np.asarray(event, bool), np.asarray(at), _others(time, competing)
    left = time[:, None] > at
    # Which share of the squared error counts at a case's own G, and which at the horizon's.
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
    """The mean `[...]` of `brier` between the first and the last of the times `grid [T]`, by the trapezoid rule."""
    scores = brier(time, event, survival_at, grid, weight, competing)
    return np.trapezoid(scores, grid, axis=-1) / (grid[-1] - grid[0])


def cumulative_dynamic_auc(time: np.ndarray, event: np.ndarray, score: np.ndarray, horizon: float,
                           weight: np.ndarray | None = None, competing: np.ndarray | None = None) -> np.ndarray:
    """Area under the ROC curve at a horizon, with IPCW (Uno 2007).

    The chance that a case with the event by then has the higher score than one without, equal scores counting half.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      score: `[n]`, higher where the event is more likely by the horizon.
      horizon: a time; an event at it has happened.
      weight: `[..., n]`.
      competing: `[n]` bool.

    Returns:
      `[...]`; NaN where one side has no weight.
    """
    time, event, other = np.asarray(time), np.asarray(event, bool), _others(time, competing)
    levels, place = np.unique(score, return_inverse=True)
    left = time > horizon
    tally = lambda chosen, w: bin_sums(chosen, place, len(levels), w)

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
    """1 / G of each case at its own time, `[..., n]`, and at the times `at [T]`, `[..., T]`; 0 where G is.

    Args:
      time: `[n]`.
      ended: `[n]` bool: who had any event, and so was not censored.
      at: `[T]`.
      weight: `[..., n]`.
    """
    times, at_risk, (events, lost) = _counts(time, [ended, ~ended], weight)
    chance = np.insert(np.cumprod(1 - _over(lost, at_risk - events), -1), 0, 1.0, -1)
    inverse = _over(1.0, chance)
    take = lambda when: inverse[..., np.searchsorted(times, when, 'right')]
    return take(time), take(at)


def _counts(time: np.ndarray, kinds: list[np.ndarray],
            weight: np.ndarray | None) -> tuple[np.ndarray, np.ndarray, list[np.ndarray]]:
    """The different times, how many are at risk at each, `[..., k]`, and how many of each kind end then."""
    times, place = np.unique(time, return_inverse=True)
    tally = lambda mask: bin_sums(mask, place, len(times), _ones(time, weight))
    at_risk = tally(np.ones(len(place)))[..., ::-1].cumsum(-1)[..., ::-1]
    return times, at_risk, [tally(mask) for mask in kinds]


def _interval(values: np.ndarray, variance: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    inside = (values > 0) & (values < 1)
    known = np.where(inside, values, 0.5)
    apart = np.exp(Z * np.sqrt(variance) / np.abs(known * np.log(known)))
    return np.where(inside, known ** apart, values), np.where(inside, known ** (1 / apart), values)


def _others(time: np.ndarray, competing: np.ndarray | None) -> np.ndarray:
    return np.zeros(len(time), bool) if competing is None else np.asarray(competing, bool)


def _ones(time: np.ndarray, weight: np.ndarray | None) -> np.ndarray:
    return np.ones(len(time)) if weight is None else np.asarray(weight)


def _over(a: np.ndarray | float, b: np.ndarray) -> np.ndarray:
    """a / b, 0 where b is."""
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    return np.divide(a, b, out=np.zeros(a.shape), where=b > 0)


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """a / b, NaN where b is 0."""
    return np.where(b > 0, _over(a, b), np.nan)
