"""Weighted classification metrics of tables of probabilities, in float64 on the host.

`weight [..., n]` is the number of times that each case counts, 1 by default. With the multiplicities
`[resamples, n]` of a bootstrap (any dtype), one call computes a metric of all resamples, in blocks. The predicted class
is the one with the highest probability, the first of equal ones; with two classes it is the positive class, class 1,
where its probability exceeds one half.

A metric that is not defined is NaN, and UNDEFINED gives the reason. A class that is in the truth but never predicted
has precision and F1 of 0 and not NaN, so that a missed class never improves a mean over classes. The values equal those
of scikit-learn.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

# The reason why a metric is NaN. Means over classes or labels are over those for which the metric is defined.
UNDEFINED = {
    'auroc': 'one class only in the truth: nothing to rank', 'auprc': 'one class only in the truth: nothing to rank',
    'accuracy': 'no case', 'balanced_accuracy': 'no case',
    'sensitivity': 'no positive case', 'specificity': 'no negative case',
    'precision': 'no case is positive, and none is predicted to be', 'f1': 'no case is positive, and none is predicted',
    'f1_micro': 'no case is positive, and none is predicted',
    'kappa': 'truth and prediction are one and the same class', 'mcc': 'one class only in the truth',
    'kappa_weighted': 'truth and prediction are one and the same class', 'brier': 'no case', 'log_loss': 'no case',
}
PER_CLASS = ('auroc', 'auprc', 'sensitivity', 'specificity', 'precision', 'f1')
BLOCK = 1 << 17  # number of weights in one block: 1 MB as float64, so that several such arrays fit into a cache

# A metric over all classes by its name, that of class k by (name, k).
Scores = dict[str | tuple[str, int], np.ndarray]


def compute_metrics(targets: np.ndarray, probs: np.ndarray, weight: np.ndarray | None = None) -> Scores:
    """All metrics.

    Args:
      targets: `[n]` class numbers from 0; or `[n, K]` for K independent labels: 1, 0, or -1 where the label is not
        known, which leaves the case out for this label.
      probs: `[n, K]`; of exclusive classes (rows sum to 1), or of K independent labels.
      weight: `[..., n]`.

    Returns:
      `[...]` for each name of UNDEFINED. With two classes they are those of class 1. With more, those in PER_CLASS are
      means over the classes, and the values of class k are under (name, k). With labels all are means over the labels,
      with the values of label k under (name, k), except for `f1_micro`, which pools the decisions on all labels.
    """
    targets, probs = np.asarray(targets), np.asarray(probs, np.float64)
    weight = np.ones(len(probs)) if weight is None else np.asarray(weight)
    if targets.ndim == 2:
        return _label_metrics(targets, probs, weight)
    classes = probs.shape[1]
    out = decision_metrics(targets, probs.argmax(1), classes, weight)
    ranked = range(classes) if classes > 2 else [1]
    of_class = {k: auroc_and_auprc(targets == k, probs[:, k], weight) for k in ranked}
    for position, name in enumerate(('auroc', 'auprc')):
        out[name] = mean_over_defined([values[position] for values in of_class.values()])
        if classes > 2:
            out |= {(name, k): values[position] for k, values in of_class.items()}
    square, log = case_losses(targets, probs)
    return out | {'brier': weighted_mean(square, weight), 'log_loss': weighted_mean(log, weight)}


def decision_metrics(targets: np.ndarray, predicted: np.ndarray, classes: int,
                     weight: np.ndarray | None = None) -> Scores:
    """The metrics of decisions, which do not use probabilities; shapes and names are those of `compute_metrics`.

    Args:
      targets: `[n]` class numbers.
      predicted: `[n]` class numbers.
      classes: number of classes.
      weight: `[..., n]`.
    """
    weight = np.ones(len(targets)) if weight is None else np.asarray(weight)
    def block_metrics(w: np.ndarray) -> Scores:
        return _table_metrics(confusion_matrix(targets, predicted, classes, w))
    return compute_in_blocks(block_metrics, weight, classes ** 2)


def confusion_matrix(targets: np.ndarray, predicted: np.ndarray, classes: int, weight: np.ndarray) -> np.ndarray:
    """The confusion matrix.

    Args:
      targets: `[n]` class numbers.
      predicted: `[n]` class numbers.
      classes: number of classes, K.
      weight: `[..., n]`.

    Returns:
      `[..., K, K]`, truth by prediction.
    """
    cells = bin_sums(np.ones(len(targets)), np.asarray(targets) * classes + predicted, classes * classes, weight)
    return cells.reshape(*weight.shape[:-1], classes, classes)


def auroc_and_auprc(positive: np.ndarray, score: np.ndarray,
                    weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve, and average precision.

    The first is the share of pairs of a positive and a negative case that are in the right order, where equal scores
    count one half. The second is the sum over thresholds of precision times the increase of recall, without
    interpolation.

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.
      weight: `[..., n]`.

    Returns:
      Two arrays `[...]`; NaN where the positive or the negative cases have no weight.
    """
    weight = np.ones(len(score)) if weight is None else np.asarray(weight)
    order = np.argsort(-score, kind='stable')
    positive = np.asarray(positive, bool)[order]
    if not positive.any():
        return np.full(weight.shape[:-1], np.nan), np.full(weight.shape[:-1], np.nan)
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))  # of each group of equal scores
    ends = np.append(starts[1:], len(order)) - 1
    # Only groups with a positive case matter: the numbers of cases and of positives down to their ends.
    count = positive.cumsum()
    kept = np.flatnonzero(np.diff(count[ends], prepend=0))
    starts, ends, positives, negatives = starts[kept], ends[kept], order[positive], order[~positive]

    def areas(w: np.ndarray) -> Scores:
        exact = np.int64 if w.dtype.kind in 'biu' else np.float64  # integers are added three times as fast
        cases, hits = w.take(order, 1).cumsum(1, dtype=exact), w.take(positives, 1).cumsum(1, dtype=exact)
        true, ranked = hits.take(count[ends] - 1, 1).astype(np.float64), cases.take(ends, 1)
        before = np.where(starts > 0, cases.take(starts - 1, 1), 0)
        gained, total = np.diff(true, prepend=0.0), hits[:, -1]
        against = w.take(negatives, 1).sum(1, dtype=np.float64)  # a separate sum, exactly 0 without negatives
        # Negatives below a group plus half of those in it; those above it are `before` minus its positives.
        below = against[:, None] - (ranked - true + before - (true - gained)) / 2
        precision = np.divide(true, ranked, out=np.zeros_like(true), where=ranked > 0)
        # Without negatives every ranking has an average precision of 1, which is no information.
        return {'auroc': _ratio((gained * below).sum(1), total * against),
                'auprc': np.where(against > 0, _ratio((gained * precision).sum(1), total), np.nan)}
    found = compute_in_blocks(areas, weight)
    return found['auroc'], found['auprc']


def case_losses(targets: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The squared error (Brier) and the log loss of each case.

    The squared error is summed over the classes, and halved for two classes, so that it is that of class 1 alone. For
    the log loss, probabilities are clipped to at least the epsilon of float64 from 0 and 1: the log loss of a certain
    but wrong prediction is 36.

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`.

    Returns:
      `[n]` both.
    """
    true = np.arange(probs.shape[1]) == np.asarray(targets)[:, None]
    square = ((probs - true) ** 2).sum(1) / (2 if probs.shape[1] == 2 else 1)
    tiny = np.finfo(np.float64).eps
    return square, -np.log(np.clip(probs, tiny, 1 - tiny)[true])


def bin_sums(values: np.ndarray, bins: np.ndarray, count: int, weight: np.ndarray) -> np.ndarray:
    """Weighted sums of values by bin.

    A matrix product would do the same, but BLAS takes ten times as long for it where another process uses a core.

    Args:
      values: `[n]`.
      bins: `[n]`, the number of each value's bin.
      count: number of bins.
      weight: `[..., n]`.

    Returns:
      `[..., count]`.
    """
    present, where = np.unique(bins, return_inverse=True)
    order = np.argsort(where, kind='stable')
    starts, values = np.searchsorted(where[order], np.arange(len(present))), np.asarray(values, np.float64)[order]

    def sums(w: np.ndarray) -> Scores:
        out = np.zeros((len(w), count))
        if len(present):
            out[:, present] = np.add.reduceat(w.take(order, 1) * values, starts, axis=1)
        return {'sum': out}
    return compute_in_blocks(sums, np.asarray(weight), count)['sum']


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means.

    Args:
      values: `[n]`.
      weight: `[..., n]`.

    Returns:
      `[...]`; NaN where no case has weight.
    """
    values, weight = np.asarray(values, np.float64), np.asarray(weight)
    total = compute_in_blocks(lambda w: {'sum': np.einsum('bn,n->b', w.astype(np.float64), values)}, weight)['sum']
    return _ratio(total, weight.sum(-1, dtype=np.float64))


def mean_over_defined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The elementwise mean of arrays of one shape over those that are not NaN; NaN where all are."""
    stack = np.stack(parts)
    known = ~np.isnan(stack)
    return _ratio(np.where(known, stack, 0.0).sum(0), known.sum(0))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0)


def compute_in_blocks(score: Callable[[np.ndarray], Scores], weight: np.ndarray, width: int = 1) -> Scores:
    """Metrics of many weightings, computed in blocks of them.

    Args:
      score: `([b, n] weights) -> {name: [b, …]}`.
      weight: `[..., n]`.
      width: number of results for each weighting; a block has at most BLOCK elements of weights and of results.

    Returns:
      `[..., …]` by name.
    """
    lead = weight.shape[:-1]
    flat = weight.reshape(math.prod(lead), weight.shape[-1])
    step = max(1, BLOCK // max(flat.shape[1], width))
    parts = [score(flat[i:i + step]) for i in range(0, max(1, len(flat)), step)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: array.reshape(lead + array.shape[1:]) for name, array in joined.items()}


def _table_metrics(table: np.ndarray) -> Scores:
    """Metrics of confusion matrices `[b, K, K]`."""
    classes = table.shape[-1]
    right = np.diagonal(table, axis1=1, axis2=2)
    true, guessed, total = table.sum(2), table.sum(1), table.sum((1, 2))
    others = true @ (1 - np.eye(classes))  # separate sums, as above
    each = {'sensitivity': _ratio(right, true), 'specificity': _ratio(others - (guessed - right), others),
            # 2 TP / (2 TP + FP + FN); precision is NaN only where F1 is.
            'precision': np.where((true > 0) & (guessed == 0), 0.0, _ratio(right, guessed)),
            'f1': _ratio(2 * right, true + guessed)}
    out: Scores = {}
    for name, values in each.items():
        out[name] = values[:, 1] if classes == 2 else mean_over_defined(list(values.T))
        if classes > 2:
            out |= {(name, k): values[:, k] for k in range(classes)}
    accuracy = _ratio(right.sum(1), total)
    distance = (np.subtract.outer(np.arange(classes), np.arange(classes)) ** 2).astype(np.float64)
    chance = true[:, :, None] * guessed[:, None, :] / np.maximum(total, np.finfo(np.float64).tiny)[:, None, None]
    agreed = right.sum(1) * total - (true * guessed).sum(1)
    spread = (total ** 2 - (true ** 2).sum(1)) * (total ** 2 - (guessed ** 2).sum(1))
    correlation = np.where((guessed > 0).sum(1) > 1, agreed / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
    return out | {
        'accuracy': accuracy, 'balanced_accuracy': mean_over_defined(list(each['sensitivity'].T)),
        'f1_micro': accuracy,  # each error is a miss of one class and a false positive of another
        'kappa': _kappa(table, chance, (distance > 0).astype(np.float64)),
        'kappa_weighted': _kappa(table, chance, distance),
        'mcc': np.where((true > 0).sum(1) > 1, correlation, np.nan)}


def _kappa(table: np.ndarray, chance: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Cohen's kappa: 1 minus the cost of the errors divided by the cost expected by chance."""
    return 1 - _ratio((table * cost).sum((1, 2)), (chance * cost).sum((1, 2)))


def _label_metrics(targets: np.ndarray, probs: np.ndarray, weight: np.ndarray) -> Scores:
    """Metrics of independent labels; `targets [n, K]` are 1, 0, or -1 where a label is not known."""
    known, of_label = targets >= 0, []
    for k, mask in enumerate(known.T):
        binary = np.stack([1 - probs[mask, k], probs[mask, k]], -1)
        of_label.append(compute_metrics(targets[mask, k], binary, weight[..., mask]))
    out: Scores = {}
    for name in of_label[0]:
        out[name] = mean_over_defined([found[name] for found in of_label])
        out |= {(name, k): found[name] for k, found in enumerate(of_label)}

    def pooled_f1(w: np.ndarray) -> Scores:
        tables = (confusion_matrix(targets[mask, k], probs[mask, k] > 0.5, 2, w[:, mask])
                  for k, mask in enumerate(known.T))
        return {'f1': _table_metrics(sum(tables))['f1']}
    return out | {'f1_micro': compute_in_blocks(pooled_f1, weight)['f1']}
