"""Which unlabelled cases to label next: by uncertainty, by diversity, or by both (active learning)."""

from collections.abc import Sequence

import numpy as np

STRATEGIES = ('uncertainty', 'diversity', 'both', 'random')
PRESELECTED = 5  # times as many uncertain cases as are chosen, among which 'both' chooses different ones


def entropy(probs: np.ndarray, multilabel: bool = False) -> np.ndarray:
    """The entropy of predictions as a share of its maximum, 0 to 1.

    Args:
      probs: `[n, K]`, probabilities of classes.
      multilabel: each class is a decision of its own, of which the mean entropy is returned.

    Returns:
      `[n]` float64.
    """
    probs = np.asarray(probs, np.float64)
    pairs = np.stack([probs, 1 - probs], -1) if multilabel else probs
    terms = np.where(pairs > 0, -pairs * np.log(np.where(pairs > 0, pairs, 1)), 0).sum(-1) / np.log(pairs.shape[-1])
    return terms.mean(-1) if multilabel else terms


def farthest_first(features: np.ndarray, count: int, labelled: np.ndarray | None = None) -> list[int]:
    """Cases that are far from each other and from those that are labelled (k-centre greedy, Sener and Savarese 2018).

    Args:
      features: `[n, D]`, standardised here over all cases.
      count: number of cases.
      labelled: `[m, D]`, of the labelled cases. Without one the first case is the one nearest to the mean.

    Returns:
      The numbers of `count` cases, the farthest first.
    """
    labelled = features[:0] if labelled is None else labelled
    every = np.concatenate([features, labelled]).astype(np.float64)
    spread = every.std(0)
    points, known = ((part - every.mean(0)) / np.where(spread > 0, spread, 1) for part in (features, labelled))
    nearest = np.full(len(points), np.inf)
    for centre in known:
        nearest = np.minimum(nearest, ((points - centre) ** 2).sum(1))
    chosen: list[int] = []
    for _ in range(min(count, len(points))):
        at = int(nearest.argmax()) if np.isfinite(nearest).any() else int((points ** 2).sum(1).argmin())
        chosen.append(at)
        nearest = np.minimum(nearest, ((points - points[at]) ** 2).sum(1))
        nearest[chosen] = -1
    return chosen


def select(strategy: str, count: int, uncertainty: np.ndarray, features: np.ndarray,
           labelled: np.ndarray | None = None, seed: int = 0) -> Sequence[int]:
    """The cases to label next.

    Args:
      strategy: 'uncertainty', the most uncertain; 'diversity', see `farthest_first`; 'both', the latter among five
        times as many uncertain ones; 'random', for comparison.
      count: number of cases.
      uncertainty: `[n]`.
      features: `[n, D]`.
      labelled: `[m, D]`, features of the cases that are labelled.
      seed: of 'random'.

    Returns:
      Their numbers in the order in which they should be labelled.
    """
    if strategy == 'random':
        return np.random.default_rng(seed).permutation(len(uncertainty))[:count].tolist()
    if strategy == 'diversity':
        return farthest_first(features, count, labelled)
    ranked = np.argsort(-np.asarray(uncertainty, np.float64), kind='stable')
    if strategy == 'uncertainty':
        return ranked[:count].tolist()
    among = ranked[:PRESELECTED * count]
    return among[farthest_first(features[among], count, labelled)].tolist()
