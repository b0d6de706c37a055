"""Whether probabilities are what they say, how to mend them, and sets that hold the truth as often as promised.

What is fitted here is fitted on validation cases, from probabilities alone, and applied to test cases.
"""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy import special

from medjax.metrics import classification

BINS = 15
FLOOR = 1e-12  # a probability of 0 has no logarithm
SHARPEST = 100.0  # the temperature is sought from 1/100 to 100


def expected_calibration_error(targets: np.ndarray, probs: np.ndarray, weight: np.ndarray | None = None, *,
                   equal_mass: bool = False) -> np.ndarray:
    """Expected calibration error of the chosen class (Guo et al. 2017, ICML).

    The mean over the bins, weighted by their cases, of how far mean confidence and accuracy are apart.

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`.
      weight: `[..., n]`, as for `metrics.classification`.
      equal_mass: bins with about the same number of cases instead of the same width (adaptive ECE). They are those of
        the cases without weight, and equal confidences are never parted.

    Returns:
      `[...]`; NaN where no case has weight.
    """
    weight = np.ones(len(probs)) if weight is None else np.asarray(weight)
    confidence, right = probs.max(1), probs.argmax(1) == targets
    bins = _equal_mass(confidence) if equal_mass else _equal_width(confidence)
    apart = np.abs(classification.bin_sums(confidence - right, bins, BINS, weight)).sum(-1)
    whole = weight.sum(-1, dtype=np.float64)
    return np.divide(apart, whole, out=np.full(apart.shape, np.nan), where=whole > 0)


def reliability_bins(probability: np.ndarray, happened: np.ndarray) -> list[dict[str, Any]]:
    """Bins of a reliability diagram: what was said against what came.

    Args:
      probability: `[n]`, of the chosen class or of the positive one.
      happened: `[n]` bool, whether it was that class.

    Returns:
      For each bin that has cases: `low` (not in it, but 0), `high`, `n`, and the means `said` and `came`.
    """
    bins = _equal_width(probability)
    return [{'low': k / BINS, 'high': (k + 1) / BINS, 'n': int((bins == k).sum()),
             'said': float(probability[bins == k].mean()), 'came': float(happened[bins == k].mean())}
            for k in np.unique(bins).tolist()]


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """A fitted map of probabilities to better ones.

    Attributes:
      parameters: what was fitted, as plain numbers.
      function: `[n, K] -> [n, K]`, both with rows that sum to 1.
    """

    parameters: dict[str, Any]
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, probs: np.ndarray) -> np.ndarray:
        """Applies it to `probs [n, K]`."""
        return self.function(probs)


def fit_temperature(targets: np.ndarray, probs: np.ndarray) -> Calibrator:
    """Divides all logits by one number, that of the least log loss (Guo et al. 2017); logits are log p.

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`.

    Returns:
      A calibrator with `temperature`: above 1 the network was too sure. It is held within 1/100 and 100, where the
      loss has no minimum (validation cases that are all right).
    """
    from scipy import optimize  # slow to import, and training imports this file
    logits = _log(probs)
    true = np.take_along_axis(logits, np.asarray(targets)[:, None], 1)[:, 0]

    # The loss is convex in 1 / temperature: this is its slope.
    def slope(sharpness: float) -> float:
        return float(((special.softmax(sharpness * logits, 1) * logits).sum(1) - true).mean())
    low, high = 1 / SHARPEST, SHARPEST
    found = low if slope(low) >= 0 else high if slope(high) <= 0 else optimize.brentq(slope, low, high, xtol=1e-12)
    return Calibrator({'temperature': 1 / found}, lambda p: special.softmax(found * _log(p), 1))


def fit_platt(targets: np.ndarray, probs: np.ndarray) -> Calibrator:
    """A sigmoid of a · logit + b for each class against all others (Platt 1999), with his smoothed targets.

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`; of more than two classes each has its own a and b, and rows are divided by their sum.

    Returns:
      A calibrator with `a` and `b`: of the positive class, or lists over the classes.
    """
    fits = [_sigmoid(_logit(probs, k), np.asarray(targets) == k) for k in _one_by_one(probs)]
    a, b = [fit[0] for fit in fits], [fit[1] for fit in fits]

    def apply(p: np.ndarray) -> np.ndarray:
        return _rows([special.expit(a[i] * _logit(p, k) + b[i]) for i, k in enumerate(_one_by_one(p))])
    return Calibrator({'a': a[0], 'b': b[0]} if len(a) == 1 else {'a': a, 'b': b}, apply)


def fit_isotonic(targets: np.ndarray, probs: np.ndarray) -> Calibrator:
    """A rising function of p, linear between knots, for each class against all others (Zadrozny & Elkan 2002, KDD).

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`; of more than two classes rows are divided by their sum.

    Returns:
      A calibrator with `knots`, how many each function has.
    """
    from sklearn.isotonic import IsotonicRegression  # slow to import too
    fits = [IsotonicRegression(y_min=0, y_max=1, out_of_bounds='clip').fit(probs[:, k], np.asarray(targets) == k)
            for k in _one_by_one(probs)]
    return Calibrator({'knots': [len(fit.X_thresholds_) for fit in fits]},
                      lambda p: _rows([fit.predict(p[:, k]) for fit, k in zip(fits, _one_by_one(p))]))


METHODS = {'temperature': fit_temperature, 'platt': fit_platt, 'isotonic': fit_isotonic}


def conformal_threshold(targets: np.ndarray, probs: np.ndarray, coverage: float) -> float:
    """The probability that a class must have to be in the set: split conformal, least ambiguous (Sadinle 2019, JASA).

    A set of the classes with at least this probability holds the truth of a new case with a chance of `coverage` or
    more, whatever the network, where new cases are like those that it was fitted on.

    Args:
      targets: `[n]` class numbers, of cases that the network was not trained on.
      probs: `[n, K]`.
      coverage: the chance, 1 - alpha.

    Returns:
      The ⌈(n + 1)(1 - alpha)⌉-th largest probability of the true class, which is the finite-sample quantile; 0, so that
      each set holds all classes, where n is too small for it.
    """
    true = np.sort(np.take_along_axis(probs, np.asarray(targets)[:, None], 1)[:, 0])[::-1]
    rank = math.ceil((len(true) + 1) * coverage - 1e-9)  # 10 × 0.9 is 9, however it is rounded
    return float(true[rank - 1]) if rank <= len(true) else 0.0


def _equal_width(probability: np.ndarray) -> np.ndarray:
    """Which bin (k / BINS, (k + 1) / BINS] a probability is in; 0 is in the first."""
    return np.clip(np.searchsorted(np.arange(BINS + 1) / BINS, probability, side='left') - 1, 0, BINS - 1)


def _equal_mass(confidence: np.ndarray) -> np.ndarray:
    return np.searchsorted(np.sort(confidence), confidence, side='left') * BINS // max(len(confidence), 1)


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, FLOOR))


def _logit(probs: np.ndarray, k: int) -> np.ndarray:
    # The others' sum, for 1 - p has lost its digits where p is nearly 1.
    return _log(probs[:, k]) - _log(np.delete(probs, k, 1).sum(1))


def _one_by_one(probs: np.ndarray) -> list[int]:
    """The classes that need a fit: of two the positive one alone."""
    return [1] if probs.shape[1] == 2 else list(range(probs.shape[1]))


def _rows(columns: list[np.ndarray]) -> np.ndarray:
    """Probabilities `[n, K]` of each class against all others; a row without any has all alike."""
    if len(columns) == 1:
        return np.stack([1 - columns[0], columns[0]], -1)
    table = np.stack(columns, -1)
    total = table.sum(1, keepdims=True)
    return np.where(total > 0, table / np.where(total > 0, total, 1), 1 / table.shape[1])


def _sigmoid(logit: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """a and b of the least log loss, to targets that are not quite 0 and 1 so that there always is one."""
    from scipy import optimize
    m, n = positive.sum(), (~positive).sum()
    aim = np.where(positive, (m + 1) / (m + 2), 1 / (n + 2))

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        z = ab[0] * logit + ab[1]
        off = special.expit(z) - aim
        return float((np.logaddexp(0, z) - aim * z).mean()), np.array([(off * logit).mean(), off.mean()])
    found = optimize.minimize(loss, [1.0, 0.0], jac=True, method='BFGS', options={'gtol': 1e-10})
    return float(found.x[0]), float(found.x[1])
