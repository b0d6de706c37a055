"""Concordance of predicted risks with the order of events: Harrell's, Uno's and Antolini's, on the host.

A pair consists of a case with the event and a case that is observed without it at that time or later. Of equal times
the censored one is later, and two events at the same time are no pair. A concordance is the share of pairs in which the
first case has the higher risk, where equal risks count one half; NaN where there is no pair. A case with a competing
event is censored at it. Cases of one patient, such as the same patient at different landmarks, are no pair.

`time [n]`, `event [n]` and `weight [..., n]` are those of `metrics.survival`; weights are whole numbers, such as the
multiplicities of a bootstrap. A case that is drawn twice makes no pair with itself, so that resamples need no special
treatment.
"""

from collections.abc import Callable, Iterator

import numpy as np
import tqdm

from medjax.metrics.survival import censoring_weights

PAIRS = 1 << 22  # number of pairs that are in memory at once
BLOCK = 1024  # number of events whose pairs are counted together


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
    return _concordant_share(time, event, np.inf, np.asarray(risk), weight, None, patients)


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
    time = np.asarray(time)
    weight = np.ones(len(time)) if weight is None else np.asarray(weight)
    inverse, _ = censoring_weights(time, np.asarray(event, bool), np.zeros(0), weight)
    tau = np.inf if tau is None else np.nextafter(tau, -np.inf)
    return _concordant_share(time, event, tau, np.asarray(risk), weight, inverse ** 2, patients)


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
    def scores(rows: np.ndarray, others: np.ndarray) -> np.ndarray:
        curves = curve_at(np.asarray(time)[rows])
        return _order_score(curves[rows, np.arange(len(rows))][:, None], curves[others].T)
    return _concordant_share(time, event, np.inf if tau is None else tau, scores, weight, None, patients)


def _order_score(risk: np.ndarray, others: np.ndarray) -> np.ndarray:
    """1 where a risk is higher than another, 0.5 where they are equal, else 0; float32."""
    return ((risk > others) + 0.5 * (risk == others)).astype(np.float32)


def _concordant_share(time: np.ndarray, event: np.ndarray, tau: float,
                      risk: np.ndarray | Callable[[np.ndarray, np.ndarray], np.ndarray],
                      weight: np.ndarray | None, factor: np.ndarray | None,
                      patients: np.ndarray | None) -> np.ndarray:
    """The weighted share of concordant pairs.

    Args:
      time: `[n]`.
      event: `[n]`.
      tau: events up to this time count.
      risk: `[n]`, for which the time grows little faster than n; or `(rows [m], others [k]) -> [m, k]` float32, the
        `_order_score` of some cases against others, for which it grows as n².
      weight: `[..., n]`.
      factor: `[..., n]`, a weight of each pair, by its first case; None for 1.
      patients: `[n]`; None where all differ.
    """
    time, event = np.asarray(time), np.asarray(event, bool)
    weight = np.ones(len(time)) if weight is None else np.asarray(weight)
    # From here on cases are in the order of time, of equal times the events first: later cases are the last ones.
    order = np.lexsort((~event, time))
    rank = 2 * np.unique(time[order], return_inverse=True)[1] + ~event[order]
    first_later = np.searchsorted(rank, rank, 'right')
    # Halves and whole numbers up to 2^23 are exact in float32, whose products take half the time.
    counts = weight[..., order].astype(np.float32)
    each = counts if factor is None else counts * factor[..., order]
    later_count = np.zeros((*counts.shape[:-1], len(time) + 1))
    later_count[..., :-1] = np.cumsum(counts[..., ::-1], -1, np.float64)[..., ::-1]
    rows = np.flatnonzero(event[order] & (time[order] <= tau))
    concordant, total = np.zeros((2, *weight.shape[:-1]))
    by_risk = None if callable(risk) else np.argsort(risk[order], kind='stable')
    step = max(1, PAIRS // max(len(time), 1)) if callable(risk) else BLOCK
    for start in tqdm.trange(0, len(rows), step, desc='comparing pairs of cases', unit='', leave=False, delay=5):
        block = rows[start:start + step]
        begin = first_later[block]
        # With one risk a case, those beyond the block's last event are counted by the order of their risks.
        end = len(time) if callable(risk) else begin[-1]
        others = np.arange(begin[0], end)
        pair = others >= begin[:, None]
        if callable(risk):
            score = risk(order[block], order[others])
            if patients is not None:
                pair &= patients[order[block], None] != patients[order[others]]
        else:
            score = _order_score(risk[order[block], None], risk[order[others]])
        found = counts[..., others] @ (score * pair).T
        if not callable(risk):
            beyond = by_risk[by_risk >= end]
            found = found + _count_below(risk[order[beyond]], counts[..., beyond], risk[order[block]])
        concordant = concordant + (each[..., block] * found).sum(-1)
        total = total + (each[..., block] * later_count[..., begin]).sum(-1)
    if patients is not None:
        for first, second in _pairs_within(patients[order], event[order] & (time[order] <= tau), rank):
            excluded = each[..., first] * counts[..., second]
            total = total - excluded.sum(-1)
            if not callable(risk):
                score = _order_score(risk[order[first]], risk[order[second]])
                concordant = concordant - (excluded * score).sum(-1)
    return np.divide(concordant, total, out=np.full(weight.shape[:-1], np.nan), where=total > 0)


def _count_below(sorted_risk: np.ndarray, counts: np.ndarray, risk: np.ndarray) -> np.ndarray:
    """The number of cases with a lower risk, and half of those with an equal one.

    Args:
      sorted_risk: `[k]`, rising.
      counts: `[..., k]`, the number of times that each of these cases counts.
      risk: `[m]`.

    Returns:
      `[..., m]`.
    """
    cumulative = np.zeros((*counts.shape[:-1], counts.shape[-1] + 1))
    np.cumsum(counts, -1, out=cumulative[..., 1:])
    below, up_to = (np.searchsorted(sorted_risk, risk, side) for side in ('left', 'right'))
    return (cumulative[..., below] + cumulative[..., up_to]) / 2


def _pairs_within(patients: np.ndarray, counts_as_first: np.ndarray,
                  rank: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Pairs of cases of one patient, of which the second is later, as two arrays of places at a time.

    Args:
      patients: `[n]`.
      counts_as_first: `[n]` bool, the cases that can be the first of a pair.
      rank: `[n]`, rising; a case is later where it is higher.
    """
    place = np.argsort(patients, kind='stable')  # keeps the order of time within a patient
    for apart in range(1, len(place)):
        same = np.flatnonzero(patients[place[apart:]] == patients[place[:-apart]])
        if not len(same):
            return
        first, second = place[same], place[same + apart]
        kept = counts_as_first[first] & (rank[second] > rank[first])
        yield first[kept], second[kept]
