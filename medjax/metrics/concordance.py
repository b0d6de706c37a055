"""How well an order of risks is the order of events: Harrell's, Uno's and Antolini's concordance, on the host.

A pair is a case with the event and one that is seen without it at that time or later: of equal times the censored one
is later, and two events at the same time are no pair. Of all pairs a concordance is the share in which the first has
the higher risk, equal risks counting half; NaN where there is no pair. A case with another event is censored by it.

`time [n]`, `event [n]` and `weight [..., n]` are those of `metrics.survival`; weights are whole numbers, as a bootstrap's
multiplicities are. A case that is drawn twice makes no pair with itself, and so no resample needs care for that.
"""

from collections.abc import Callable

import numpy as np

from medjax.metrics.survival import censoring_weights

PAIRS = 1 << 22  # in memory at once


def harrell(time: np.ndarray, event: np.ndarray, risk: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """Harrell's C-index `[...]` (1996) of `risk [n]`, higher where the event is sooner.

    lifelines' and scikit-survival's, which differ in nothing but how near two risks must be to be equal: here they are
    equal where the numbers are.
    """
    risk = np.asarray(risk)
    return _share(time, event, np.inf, lambda part: _above(risk[part, None], risk), weight, None)


def uno(time: np.ndarray, event: np.ndarray, risk: np.ndarray, tau: float | None = None,
        weight: np.ndarray | None = None) -> np.ndarray:
    """Uno's C `[...]` (2011): Harrell's, with each pair weighted by 1 / G² at the event, of `metrics.survival`.

    It does not depend on when cases are censored. scikit-survival's, with the censoring of the same cases.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      risk: `[n]`.
      tau: events count before this time; None counts all.
      weight: `[..., n]`.
    """
    time, risk = np.asarray(time), np.asarray(risk)
    weight = np.ones(len(time)) if weight is None else np.asarray(weight)
    inverse, _ = censoring_weights(time, np.asarray(event, bool), np.zeros(0), weight)
    tau = np.inf if tau is None else np.nextafter(tau, -np.inf)
    return _share(time, event, tau, lambda part: _above(risk[part, None], risk), weight, inverse ** 2)


def antolini(time: np.ndarray, event: np.ndarray, curve_at: Callable[[np.ndarray], np.ndarray],
             tau: float | None = None, weight: np.ndarray | None = None) -> np.ndarray:
    """Antolini's time-dependent concordance `[...]` (2005): risk is the predicted incidence at the time of the event.

    Where predicted curves never cross it is Harrell's. Equal incidences count half; in the paper they count nothing.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      curve_at: gives for times `[m]` all cases' predicted incidence then, `[n, m]`.
      tau: events count up to this time; None counts all.
      weight: `[..., n]`.
    """
    def better(part: np.ndarray) -> np.ndarray:
        curves = curve_at(np.asarray(time)[part]).T
        return _above(curves[np.arange(len(part)), part][:, None], curves)
    return _share(time, event, np.inf if tau is None else tau, better, weight, None)


def _above(risk: np.ndarray, others: np.ndarray) -> np.ndarray:
    return ((risk > others) + 0.5 * (risk == others)).astype(np.float32)


def _share(time: np.ndarray, event: np.ndarray, tau: float, better: Callable[[np.ndarray], np.ndarray],
           weight: np.ndarray | None, factor: np.ndarray | None) -> np.ndarray:
    """The weighted share of right pairs.

    Args:
      time: `[n]`.
      event: `[n]`.
      tau: events count up to it.
      better: for numbers of cases `[m]`, 1, 0.5 or 0 for each against all, `[m, n]` float32.
      weight: `[..., n]`.
      factor: `[..., n]`, of each pair by its first case.
    """
    time, event = np.asarray(time), np.asarray(event, bool)
    weight = np.ones(len(time)) if weight is None else np.asarray(weight)
    # Halves and whole numbers up to 2^23 are exact in float32, which multiplies twice as fast.
    counts, first = weight.astype(np.float32), np.flatnonzero(event & (time <= tau))
    right, total = np.zeros((2, *weight.shape[:-1]))
    step = max(1, PAIRS // max(len(time), 1))
    for start in range(0, len(first), step):
        part = first[start:start + step]
        later = (time > time[part, None]) | ((time == time[part, None]) & ~event)
        each = weight[..., part] * (1.0 if factor is None else factor[..., part])
        right = right + (each * (counts @ (better(part) * later).T)).sum(-1)
        total = total + (each * (counts @ later.T.astype(np.float32))).sum(-1)
    return np.divide(right, total, out=np.full(weight.shape[:-1], np.nan), where=total > 0)
