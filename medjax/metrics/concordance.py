"""Concordance of predicted risks with the order of events: Harrell's, Uno's and Antolini's, on the host.

A pair consists of a case with the event and a case that is observed without it at that time or later. Of equal times
the censored one is later, and two events at the same time are no pair. A concordance is the share of pairs in which the
first case has the higher risk, where equal risks count one half; NaN where there is no pair. A case with a competing
event is censored at it. Cases of one patient, such as the same patient at different landmarks, are no pair.

`time [n]`, `event [n]` and `weight [..., n]` are those of `metrics.survival`; weights are whole numbers, such as the
multiplicities of a bootstrap. A case that is drawn twice makes no pair with itself, so that resamples need no special
treatment.
"""

from collections.abc import Callable

import numpy as np

from medjax.metrics.survival import censoring_weights

PAIRS = 1 << 22  # number of pairs that are in memory at once


def harrell(time: np.ndarray, event: np.ndarray, risk: np.ndarray, weight: np.ndarray | None = None,
            patients: np.ndarray | None = None) -> np.ndarray:
    """Harrell's C-index (1996).

    It equals those of lifelines and scikit-survival, which differ only in the tolerance of equal risks: here two risks
    are equal where their numbers are.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      risk: `[n]`, higher where the event is expected sooner.
      weight: `[..., n]`.
      patients: `[n]`, the patient of each case; by default each case is a patient of its own.

    Returns:
      `[...]`.
    """
    risk = np.asarray(risk)
    return _concordant_share(time, event, np.inf, lambda rows: _order_score(risk[rows, None], risk), weight, None,
                             patients)


def uno(time: np.ndarray, event: np.ndarray, risk: np.ndarray, tau: float | None = None,
        weight: np.ndarray | None = None, patients: np.ndarray | None = None) -> np.ndarray:
    """Uno's C (2011): Harrell's, with each pair weighted by 1 / G² at the event; G as in `metrics.survival`.

    It does not depend on the distribution of censoring times. It equals that of scikit-survival, where the censoring
    distribution is estimated on the same cases.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      risk: `[n]`.
      tau: only events before this time count; None counts all.
      weight: `[..., n]`.
      patients: see `harrell`.

    Returns:
      `[...]`.
    """
    time, risk = np.asarray(time), np.asarray(risk)
    weight = np.ones(len(time)) if weight is None else np.asarray(weight)
    inverse, _ = censoring_weights(time, np.asarray(event, bool), np.zeros(0), weight)
    tau = np.inf if tau is None else np.nextafter(tau, -np.inf)
    return _concordant_share(time, event, tau, lambda rows: _order_score(risk[rows, None], risk), weight, inverse ** 2,
                             patients)


def antolini(time: np.ndarray, event: np.ndarray, curve_at: Callable[[np.ndarray], np.ndarray],
             tau: float | None = None, weight: np.ndarray | None = None,
             patients: np.ndarray | None = None) -> np.ndarray:
    """Antolini's time-dependent concordance (2005): the risk is the predicted incidence at the time of the event.

    Where the predicted curves do not cross it equals Harrell's. Equal incidences count one half; in the paper they do
    not count.

    Args:
      time: `[n]`.
      event: `[n]` bool.
      curve_at: `(times [m]) -> [n, m]`, the predicted incidence of every case at these times.
      tau: only events up to this time count; None counts all.
      weight: `[..., n]`.
      patients: see `harrell`.

    Returns:
      `[...]`.
    """
    def score(rows: np.ndarray) -> np.ndarray:
        curves = curve_at(np.asarray(time)[rows]).T
        return _order_score(curves[np.arange(len(rows)), rows][:, None], curves)
    return _concordant_share(time, event, np.inf if tau is None else tau, score, weight, None, patients)


def _order_score(risk: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 where a risk is higher than another, 0.5 where they are equal, else 0; float32."""
    return ((risk > others) + 0.5 * (risk == others)).astype(np.float32)


def _concordant_share(time: np.ndarray, event: np.ndarray, tau: float, score: Callable[[np.ndarray], np.ndarray],
                      weight: np.ndarray | None, factor: np.ndarray | None,
                      patients: np.ndarray | None) -> np.ndarray:
    """The weighted share of concordant pairs.

    Args:
      time: `[n]`.
      event: `[n]`.
      tau: events up to this time count.
      score: `(rows [m]) -> [m, n]` float32, the `_order_score` of these cases against all.
      weight: `[..., n]`.
      factor: `[..., n]`, a weight of each pair, by its first case; None for 1.
      patients: `[n]`; None where all differ.
    """
    time, event = np.asarray(time), np.asarray(event, bool)
    weight = np.ones(len(time)) if weight is None else np.asarray(weight)
    # Halves and whole numbers up to 2^23 are exact in float32, whose products take half the time.
    counts, first = weight.astype(np.float32), np.flatnonzero(event & (time <= tau))
    concordant, total = np.zeros((2, *weight.shape[:-1]))
    step = max(1, PAIRS // max(len(time), 1))
    for start in range(0, len(first), step):
        rows = first[start:start + step]
        later = (time > time[rows, None]) | ((time == time[rows, None]) & ~event)
        if patients is not None:
            later &= patients[rows, None] != patients
        each = weight[..., rows] * (1.0 if factor is None else factor[..., rows])
        concordant = concordant + (each * (counts @ (score(rows) * later).T)).sum(-1)
        total = total + (each * (counts @ later.T.astype(np.float32))).sum(-1)
    return np.divide(concordant, total, out=np.full(weight.shape[:-1], np.nan), where=total > 0)
