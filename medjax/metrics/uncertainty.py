"""Predictive uncertainty, and selective prediction: the loss of the most confident cases."""

import numpy as np

from medjax.metrics import classification


def entropy(probs: np.ndarray) -> np.ndarray:
    """Predictive entropy in nats, from 0 to log K.

    Args:
      probs: `[..., K]`, summing to 1.

    Returns:
      `[...]`.
    """
    return -np.where(probs > 0, probs * np.log(np.where(probs > 0, probs, 1.0)), 0.0).sum(-1)


def mutual_information(members: np.ndarray, labels: bool = False) -> np.ndarray:
    """The disagreement of the members of an ensemble, or of dropout samples (BALD; Houlsby et al. 2011).

    It is the entropy of their mean minus the mean of their entropies: 0 where all members agree, even if each of them
    is uncertain.

    Args:
      members: `[M, n, K]`.
      labels: whether the K probabilities are of independent labels; the result is then the sum over the labels.

    Returns:
      `[n]` in nats, from 0 to the log of the smaller of M and K.
    """
    if labels:
        members = np.stack([1 - members, members], -1)
        return mutual_information(members).sum(-1)
    return np.maximum(entropy(members.mean(0)) - entropy(members).mean(0), 0.0)


def risk_coverage(confidence: np.ndarray, loss: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The risk-coverage curve: the mean loss of the most confident cases (El-Yaniv & Wiener 2010, JMLR).

    Args:
      confidence: `[n]`.
      loss: `[n]`; 1 where the decision is wrong.

    Returns:
      Coverage `[n]`, k / n for the k most confident cases, and their mean loss `[n]`. Cases with the same confidence
      each have the mean loss of them all, which is the expectation over their order.
    """
    starts, order = _ties(confidence)
    size = np.diff([*starts, len(order)])
    mean_loss = loss
    if len(order):
        mean_loss = np.repeat(np.add.reduceat(loss[order].astype(np.float64), starts) / size, size)
    count = np.arange(1, len(order) + 1)
    return count / max(len(order), 1), mean_loss.cumsum() / count


def area_under_risk_coverage(confidence: np.ndarray, loss: np.ndarray, weight: np.ndarray | None = None) -> np.ndarray:
    """The area under the risk-coverage curve (AURC): its mean over all coverages k / n (Geifman et al. 2019, ICLR).

    Args:
      confidence: `[n]`.
      loss: `[n]`.
      weight: `[..., n]` whole numbers, the number of times that each case counts.

    Returns:
      `[...]`; NaN where no case counts.
    """
    weight = np.ones((len(loss)), np.int64) if weight is None else np.asarray(weight)
    starts, order = _ties(confidence)
    most = int(weight.sum(-1, dtype=np.int64).max(initial=0))
    harmonic = np.concatenate([[0.0], (1 / np.arange(1, most + 1)).cumsum()])

    def areas(w: np.ndarray) -> dict:
        if not len(order):
            return {'area': np.full(len(w), np.nan)}
        w = w.take(order, 1).astype(np.float64)
        count, lost = np.add.reduceat(w, starts, axis=1), np.add.reduceat(w * loss[order], starts, axis=1)
        covered, total = count.cumsum(1), count.sum(1)
        before, lost_before = covered - count, lost.cumsum(1) - lost
        rate = np.divide(lost, count, out=np.zeros_like(lost), where=count > 0)
        # The sum of (lost_before + j rate) / (before + j) over j = 1 … count, as a difference of harmonic numbers.
        steps = harmonic[covered.astype(int)] - harmonic[before.astype(int)]
        found = (count * rate + (lost_before - before * rate) * steps).sum(1)
        return {'area': np.divide(found, total, out=np.full(len(w), np.nan), where=total > 0)}
    return classification.compute_in_blocks(areas, weight)['area']


def _ties(confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The start of each group of equal confidences in decreasing order, and that order."""
    order = np.argsort(-confidence, kind='stable')
    return np.flatnonzero(np.diff(confidence[order], prepend=np.inf)), order
