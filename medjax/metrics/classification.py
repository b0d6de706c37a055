"""What tables of probabilities are worth against the truth: classification's scores, weighted, on the host.

All is float64. `weight [..., n]` says how often each case counts: left out, once; a bootstrap's multiplicities
`[resamples, n]` (any dtype) give all resamples in one call, a block of them at a time. The class with the highest
probability is the predicted one, the first of equals: of two classes the positive one, class 1, where it has more than
one half.

Where a score is not defined it is NaN, and UNDEFINED says why. A class that is in the truth but never predicted has
precision and F1 0 and not NaN, so that a miss never improves a mean over classes. The figures are scikit-learn's.
"""

import math
from collections.abc import Callable, Sequence

import numpy as np

# Figures whose names begin so, of any family, are better lower; all others better higher.
LOWER = ('log_loss', 'loss', 'brier', 'ibs', 'ece', 'hd95', 'assd', 'volume_error', 'mase', 'mae', 'rmse', 'error',
         'bound', 'pehe', 'ate_error', 'factual_rmse', 'fid', 'kid')
# Why a score is NaN. Means over classes or labels are over those in which the score is defined.
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
BLOCK = 1 << 17  # weights in work at a time: 1 MB as float64, so that a handful of such arrays fit a cache

# A score of all classes by its name, that of class k by (name, k).
Scores = dict[str | tuple[str, int], np.ndarray]


def compute_metrics(targets: np.ndarray, probs: np.ndarray, weight: np.ndarray | None = None) -> Scores:
    """All scores.

    Args:
      targets: `[n]` class numbers from 0; or `[n, K]` for K labels that are judged each by itself: 1, 0, or -1 where it
        is not known, which is not judged.
      probs: `[n, K]`; of one class each (rows sum to 1), or of K independent labels.
      weight: `[..., n]`.

    Returns:
      `[...]` for each name of UNDEFINED. Of two classes they are class 1's. Of more, those in PER_CLASS are means over
      the classes, and their parts stand under (name, k). Of labels all are means over the labels, with the parts under
      (name, k), but `f1_micro`, which pools the decisions on all labels.
    """
    targets, probs = np.asarray(targets), np.asarray(probs, np.float64)
    weight = np.ones(len(probs)) if weight is None else np.asarray(weight)
    if targets.ndim == 2:
        return _labels(targets, probs, weight)
    classes = probs.shape[1]
    out = decision_metrics(targets, probs.argmax(1), classes, weight)
    of_class = {k: auroc_and_auprc(targets == k, probs[:, k], weight) for k in (range(classes) if classes > 2 else [1])}
    for position, name in enumerate(('auroc', 'auprc')):
        out[name] = mean_over_defined([values[position] for values in of_class.values()])
        if classes > 2:
            out |= {(name, k): values[position] for k, values in of_class.items()}
    square, log = case_losses(targets, probs)
    return out | {'brier': weighted_mean(square, weight), 'log_loss': weighted_mean(log, weight)}


def decision_metrics(targets: np.ndarray, predicted: np.ndarray, classes: int, weight: np.ndarray | None = None) -> Scores:
    """The scores that are of decisions and not of probabilities; shapes and names are those of `compute`.

    Args:
      targets: `[n]` class numbers.
      predicted: `[n]` class numbers.
      classes: how many there are.
      weight: `[..., n]`.
    """
    weight = np.ones(len(targets)) if weight is None else np.asarray(weight)
    return compute_in_blocks(lambda w: _of_table(confusion_matrix(targets, predicted, classes, w)), weight, classes ** 2)


def confusion_matrix(targets: np.ndarray, predicted: np.ndarray, classes: int, weight: np.ndarray) -> np.ndarray:
    """The confusion table `[..., K, K]`, truth by prediction, of `weight [..., n]`."""
    cells = bin_sums(np.ones(len(targets)), np.asarray(targets) * classes + predicted, classes * classes, weight)
    return cells.reshape(*weight.shape[:-1], classes, classes)


def auroc_and_auprc(positive: np.ndarray, score: np.ndarray, weight: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Area under the ROC curve and average precision, both NaN where one side has no weight.

    The first is the share of pairs of a positive and a negative in the right order, equal scores counting half. The
    second is the sum over thresholds of the precision there times the growth of recall, without interpolation.

    Args:
      positive: `[n]` bool.
      score: `[n]`, higher for positives.
      weight: `[..., n]`.

    Returns:
      Two arrays `[...]`.
    """
    weight = np.ones(len(score)) if weight is None else np.asarray(weight)
    order = np.argsort(-score, kind='stable')
    positive = np.asarray(positive, bool)[order]
    if not positive.any():
        return np.full(weight.shape[:-1], np.nan), np.full(weight.shape[:-1], np.nan)
    starts = np.flatnonzero(np.diff(score[order], prepend=np.inf))  # of each group of equal scores
    ends = np.append(starts[1:], len(order)) - 1
    # Only groups with a positive matter: how many cases, and how many positives, there are down to their ends.
    count = positive.cumsum()
    some = np.flatnonzero(np.diff(count[ends], prepend=0))
    starts, ends, positives, negatives = starts[some], ends[some], order[positive], order[~positive]

    def areas(w: np.ndarray) -> Scores:
        exact = np.int64 if w.dtype.kind in 'biu' else np.float64  # whole numbers add up three times as fast
        cases, hits = w.take(order, 1).cumsum(1, dtype=exact), w.take(positives, 1).cumsum(1, dtype=exact)
        true, upto = hits.take(count[ends] - 1, 1).astype(np.float64), cases.take(ends, 1)
        before = np.where(starts > 0, cases.take(starts - 1, 1), 0)
        grown, total = np.diff(true, prepend=0.0), hits[:, -1]
        against = w.take(negatives, 1).sum(1, dtype=np.float64)  # a sum of its own: 0 where there is none, exactly
        # Negatives below a group, and half of those in it: above it are `before` less its positives.
        below = against[:, None] - (upto - true + before - (true - grown)) / 2
        precision = np.divide(true, upto, out=np.zeros_like(true), where=upto > 0)
        # Without negatives every ranking has average precision 1: that says nothing.
        return {'auroc': _ratio((grown * below).sum(1), total * against),
                'auprc': np.where(against > 0, _ratio((grown * precision).sum(1), total), np.nan)}
    found = compute_in_blocks(areas, weight)
    return found['auroc'], found['auprc']


def case_losses(targets: np.ndarray, probs: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Each case's squared error and log loss, `[n]` both.

    The squared error is summed over the classes, and halved for two, so that it is that of class 1 alone. For the log
    loss probabilities are held at least float64's epsilon from 0 and 1: a certain error costs 36.
    """
    true = np.arange(probs.shape[1]) == np.asarray(targets)[:, None]
    square = ((probs - true) ** 2).sum(1) / (2 if probs.shape[1] == 2 else 1)
    tiny = np.finfo(np.float64).eps
    return square, -np.log(np.clip(probs, tiny, 1 - tiny)[true])


def bin_sums(values: np.ndarray, bins: np.ndarray, count: int, weight: np.ndarray) -> np.ndarray:
    """Weighted sums `[..., count]` of `values [n]` in each bin, of which `bins [n]` are the numbers.

    Not a matrix product: BLAS takes ten times as long for one where other work keeps a core busy, waiting for it.
    """
    there, where = np.unique(bins, return_inverse=True)
    order = np.argsort(where, kind='stable')
    starts, values = np.searchsorted(where[order], np.arange(len(there))), np.asarray(values, np.float64)[order]

    def sums(w: np.ndarray) -> Scores:
        out = np.zeros((len(w), count))
        if len(there):
            out[:, there] = np.add.reduceat(w.take(order, 1) * values, starts, axis=1)
        return {'sum': out}
    return compute_in_blocks(sums, np.asarray(weight), count)['sum']


def weighted_mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """Weighted means `[...]` of `values [n]`; NaN where no case has weight."""
    values, weight = np.asarray(values, np.float64), np.asarray(weight)
    total = compute_in_blocks(lambda w: {'sum': np.einsum('bn,n->b', w.astype(np.float64), values)}, weight)['sum']
    return _ratio(total, weight.sum(-1, dtype=np.float64))


def mean_over_defined(parts: Sequence[np.ndarray]) -> np.ndarray:
    """The mean of arrays, place by place, over those that are not NaN there; NaN where all are."""
    stack = np.stack(parts)
    known = ~np.isnan(stack)
    return _ratio(np.where(known, stack, 0.0).sum(0), known.sum(0))


def _ratio(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    a, b = np.broadcast_arrays(np.asarray(a, np.float64), b)
    return np.divide(a, b, out=np.full(a.shape, np.nan), where=b != 0)


def compute_in_blocks(score: Callable[[np.ndarray], Scores], weight: np.ndarray, width: int = 1) -> Scores:
    """Scores `[b, n]` blocks of `weight [..., n]`, `b` such that BLOCK elements hold n and `width` of each."""
    lead = weight.shape[:-1]
    flat = weight.reshape(math.prod(lead), weight.shape[-1])
    step = max(1, BLOCK // max(flat.shape[1], width))
    parts = [score(flat[i:i + step]) for i in range(0, max(1, len(flat)), step)]
    joined = {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return {name: array.reshape(lead + array.shape[1:]) for name, array in joined.items()}


def _of_table(table: np.ndarray) -> Scores:
    """Scores of confusion tables `[b, K, K]`."""
    classes = table.shape[-1]
    right = np.diagonal(table, axis1=1, axis2=2)
    true, guessed, total = table.sum(2), table.sum(1), table.sum((1, 2))
    others = true @ (1 - np.eye(classes))  # sums of their own, as above
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
    apart = (np.subtract.outer(np.arange(classes), np.arange(classes)) ** 2).astype(np.float64)
    chance = true[:, :, None] * guessed[:, None, :] / np.maximum(total, np.finfo(np.float64).tiny)[:, None, None]
    agreed = right.sum(1) * total - (true * guessed).sum(1)
    spread = (total ** 2 - (true ** 2).sum(1)) * (total ** 2 - (guessed ** 2).sum(1))
    correlation = np.where((guessed > 0).sum(1) > 1, agreed / np.sqrt(np.where(spread > 0, spread, 1.0)), 0.0)
    return out | {
        'accuracy': accuracy, 'balanced_accuracy': mean_over_defined(list(each['sensitivity'].T)),
        'f1_micro': accuracy,  # each error is one class's miss and another's false alarm
        'kappa': _kappa(table, chance, (apart > 0).astype(np.float64)),
        'kappa_weighted': _kappa(table, chance, apart),
        'mcc': np.where((true > 0).sum(1) > 1, correlation, np.nan)}


def _kappa(table: np.ndarray, chance: np.ndarray, cost: np.ndarray) -> np.ndarray:
    """Cohen's kappa: 1 less the cost of the errors over that of chance."""
    return 1 - _ratio((table * cost).sum((1, 2)), (chance * cost).sum((1, 2)))


def _labels(targets: np.ndarray, probs: np.ndarray, weight: np.ndarray) -> Scores:
    """Scores of labels that are judged each by itself."""
    out, known = {}, targets >= 0
    of_label = [compute_metrics(targets[judged, k], np.stack([1 - probs[judged, k], probs[judged, k]], -1), weight[..., judged])
                for k, judged in enumerate(known.T)]
    for name in of_label[0]:
        out[name] = mean_over_defined([found[name] for found in of_label])
        out |= {(name, k): found[name] for k, found in enumerate(of_label)}

    def pooled(w: np.ndarray) -> Scores:
        return {'f1': _of_table(sum(confusion_matrix(targets[judged, k], probs[judged, k] > 0.5, 2, w[:, judged])
                                    for k, judged in enumerate(known.T)))['f1']}
    return out | {'f1_micro': compute_in_blocks(pooled, weight)['f1']}
