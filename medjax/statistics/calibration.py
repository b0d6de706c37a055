"""Calibration of predicted probabilities: errors, recalibration methods, and conformal prediction sets.

Methods are fitted on cases of the split `calibrate`, or on validation cases where there is none, from probabilities
alone, and applied to test cases.
"""

import dataclasses
import math
from collections.abc import Callable, Container, Mapping, Sequence
from typing import Any

import numpy as np
from scipy import special

from medjax.metrics import classification

BINS = 15
LEAST = 1e-12  # probabilities are clipped to it before a logarithm
SHARPEST = 100.0  # temperatures are searched from 1/100 to 100


def fitting_split(splits: Container[str]) -> str | None:
    """The split on which thresholds, calibration and conformal sets are fitted.

    Args:
      splits: names of the splits of a table.

    Returns:
      'calibrate', else 'val'; None where there is neither.
    """
    return next((split for split in ('calibrate', 'val') if split in splits), None)


def expected_calibration_error(targets: np.ndarray, probs: np.ndarray, weight: np.ndarray | None = None, *,
                               equal_mass: bool = False, predicted_class: bool = False) -> np.ndarray:
    """Expected calibration error: of the positive class with two classes, else of the predicted class.

    It is the mean over bins, weighted by their number of cases, of the absolute difference between the mean probability
    and the frequency: of the positive class, from 0 to 1 (Naeini et al. 2015, AAAI), or of the predicted class, whose
    probability is the confidence and whose frequency the accuracy (Guo et al. 2017, ICML). With two classes the latter
    cannot distinguish a positive class that is predicted too often from one that is predicted too rarely.

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`.
      weight: `[..., n]`, as in `metrics.classification`.
      equal_mass: use bins with about the same number of cases instead of the same width (adaptive ECE). The bins are
        those of the unweighted cases, and equal probabilities are always in the same bin.
      predicted_class: take the predicted class with two classes as well.

    Returns:
      `[...]`; NaN where no case has weight.
    """
    weight = np.ones(len(probs)) if weight is None else np.asarray(weight)
    if probs.shape[1] == 2 and not predicted_class:
        probability, occurred = probs[:, 1], np.asarray(targets) == 1
    else:
        probability, occurred = probs.max(1), probs.argmax(1) == targets
    bins = _equal_mass(probability) if equal_mass else _equal_width(probability)
    gap = np.abs(classification.bin_sums(probability - occurred, bins, BINS, weight)).sum(-1)
    total = weight.sum(-1, dtype=np.float64)
    return np.divide(gap, total, out=np.full(gap.shape, np.nan), where=total > 0)


def errors_by_chance(probs: np.ndarray, draws: int, seed: int, *, equal_mass: bool = False,
                     predicted_class: bool = False) -> np.ndarray:
    """Expected calibration errors of predictions that are calibrated (consistency resampling, Bröcker & Smith 2007).

    The error is biased upwards: it is above 0 even for the true probabilities, and the more so the fewer cases there
    are. A bootstrap adds the same bias once more, so that its interval does not contain the true error. What chance
    alone gives are the errors for outcomes that are drawn from the predicted probabilities.

    Args:
      probs: `[n, K]`.
      draws: number of sets of outcomes.
      seed: of the draws.
      equal_mass: as in `expected_calibration_error`.
      predicted_class: likewise.

    Returns:
      `[draws]`; NaN without a case.
    """
    probability = probs[:, 1] if probs.shape[1] == 2 and not predicted_class else probs.max(1)
    occurred = np.random.default_rng(seed).random((draws, len(probs))) < probability
    bins = _equal_mass(probability) if equal_mass else _equal_width(probability)
    expected = np.bincount(bins, probability, BINS)
    gap = np.abs(classification.bin_sums(np.ones(len(probs)), bins, BINS, occurred) - expected).sum(-1)
    return gap / len(probs) if len(probs) else np.full(draws, np.nan)


def reliability_bins(probability: np.ndarray, occurred: np.ndarray,
                     weight: np.ndarray | None = None) -> list[dict[str, Any]]:
    """The bins of a reliability diagram: predicted probability against observed frequency.

    Args:
      probability: `[n]`, of the predicted class or of the positive one.
      occurred: `[n]` bool, whether the case is of that class.
      weight: `[n]`, such as the inverse probability of censoring; 1 by default.

    Returns:
      For each bin with cases: `low` (excluded, except for 0), `high`, `n`, the mean probability `predicted`
      and the frequency `observed`.
    """
    bins, out = _equal_width(probability), []
    weight = np.ones(len(probability)) if weight is None else weight
    for k in np.unique(bins).tolist():
        inside = bins == k
        out.append({'low': k / BINS, 'high': (k + 1) / BINS, 'n': int(inside.sum()),
                    'predicted': float(np.average(probability[inside], weights=weight[inside])),
                    'observed': float(np.average(occurred[inside], weights=weight[inside]))})
    return out


def mean_calibration_error(bins: Sequence[Mapping[str, Any]]) -> float:
    """The mean absolute difference of `predicted` and `observed`, weighted by the bins' number of cases `n`.

    Bins whose observed frequency is NaN are left out; the mean of no bin is NaN.
    """
    observed_bins = [one for one in bins if not math.isnan(one['observed'])]
    if not observed_bins:
        return math.nan
    return float(np.average([abs(one['predicted'] - one['observed']) for one in observed_bins],
                            weights=[one['n'] for one in observed_bins]))


@dataclasses.dataclass(frozen=True)
class Calibrator:
    """A fitted map from predicted to calibrated probabilities.

    Attributes:
      parameters: the fitted parameters, as plain numbers.
      function: `[n, K] -> [n, K]`, both with rows that sum to 1.
    """

    parameters: dict[str, Any]
    function: Callable[[np.ndarray], np.ndarray]

    def __call__(self, probs: np.ndarray) -> np.ndarray:
        """The calibrated probabilities `[n, K]` of `probs [n, K]`."""
        return self.function(probs)


def fit_temperature(targets: np.ndarray, probs: np.ndarray) -> Calibrator:
    """Temperature scaling: divides all logits by the number that minimises the log loss (Guo et al. 2017).

    Logits are log p.

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`.

    Returns:
      A calibrator with the parameter `temperature`; above 1 the network was overconfident. It is limited to the range
      from 1/100 to 100, because the loss may have no minimum (if all validation cases are predicted correctly).
    """
    from scipy import optimize  # slow to import, and training imports this module
    logits = _log(probs)
    true = np.take_along_axis(logits, np.asarray(targets)[:, None], 1)[:, 0]

    # The loss is convex in the inverse temperature; this is its derivative.
    def slope(inverse: float) -> float:
        return float(((special.softmax(inverse * logits, 1) * logits).sum(1) - true).mean())
    low, high = 1 / SHARPEST, SHARPEST
    if slope(low) >= 0:
        inverse = low
    elif slope(high) <= 0:
        inverse = high
    else:
        inverse = optimize.brentq(slope, low, high, xtol=1e-12)
    return Calibrator({'temperature': 1 / inverse}, lambda p: special.softmax(inverse * _log(p), 1))


def fit_platt(targets: np.ndarray, probs: np.ndarray) -> Calibrator:
    """Platt scaling: a sigmoid of a · logit + b for each class against all others, with smoothed targets (Platt 1999).

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`; with more than two classes each has its own a and b, and rows are normalised.

    Returns:
      A calibrator with the parameters `a` and `b`: of the positive class, or lists over the classes.
    """
    fits = [_fit_sigmoid(_logit(probs, k), np.asarray(targets) == k) for k in _fitted_classes(probs)]
    a, b = [fit[0] for fit in fits], [fit[1] for fit in fits]

    def apply(p: np.ndarray) -> np.ndarray:
        columns = [special.expit(a[i] * _logit(p, k) + b[i]) for i, k in enumerate(_fitted_classes(p))]
        return _normalised_rows(columns)
    return Calibrator({'a': a[0], 'b': b[0]} if len(a) == 1 else {'a': a, 'b': b}, apply)


def fit_isotonic(targets: np.ndarray, probs: np.ndarray) -> Calibrator:
    """Isotonic regression: an increasing, piecewise linear function of p for each class against all others.

    Zadrozny & Elkan 2002, KDD.

    Args:
      targets: `[n]` class numbers.
      probs: `[n, K]`; with more than two classes rows are normalised.

    Returns:
      A calibrator with the parameter `knots`, the number of knots of each function.
    """
    from sklearn.isotonic import IsotonicRegression  # slow to import
    fits = [IsotonicRegression(y_min=0, y_max=1, out_of_bounds='clip').fit(probs[:, k], np.asarray(targets) == k)
            for k in _fitted_classes(probs)]

    def apply(p: np.ndarray) -> np.ndarray:
        return _normalised_rows([fit.predict(p[:, k]) for fit, k in zip(fits, _fitted_classes(p))])
    return Calibrator({'knots': [len(fit.X_thresholds_) for fit in fits]}, apply)


METHODS = {'temperature': fit_temperature, 'platt': fit_platt, 'isotonic': fit_isotonic}


def conformal_threshold(targets: np.ndarray, probs: np.ndarray, coverage: float,
                        patients: np.ndarray | None = None) -> float:
    """The least probability of a class in a prediction set: split conformal, least ambiguous sets (Sadinle 2019, JASA).

    The set of all classes with at least this probability contains the true class of a new case with a probability of
    `coverage` or more, for any network, if new patients are exchangeable with those of the fit. Patients with several
    cases count once, with equal weights of their cases, and the new case is a random one of a new patient
    (hierarchical conformal prediction: Dunn et al. 2023, JASA; Lee, Barber & Willett 2023).

    Args:
      targets: `[n]` class numbers, of cases that were not used for training.
      probs: `[n, K]`.
      coverage: the probability, 1 - alpha.
      patients: `[n]`, the patient of each case; by default each case is a patient of its own.

    Returns:
      The finite-sample quantile: the largest probability for which the shares of the patients' true classes at or
      above it, summed over the patients, reach (patients + 1) (1 - alpha); with one case of each patient it is the
      ⌈(n + 1)(1 - alpha)⌉-th largest probability of the true class. 0, so that each set contains all classes, where
      there are too few patients.
    """
    true = np.take_along_axis(probs, np.asarray(targets)[:, None], 1)[:, 0]
    names = np.arange(len(true)) if patients is None else patients
    _, where, cases = np.unique(names, return_inverse=True, return_counts=True)
    order = np.argsort(-true, kind='stable')
    covered = np.cumsum(1 / cases[where[order]])
    # The tolerance is for rounding, as in 10 × 0.9 = 9.
    reached = np.flatnonzero(covered >= (len(cases) + 1) * coverage - 1e-9)
    return float(true[order[reached[0]]]) if reached.size else 0.0


def _equal_width(probability: np.ndarray) -> np.ndarray:
    """The number k of the bin (k / BINS, (k + 1) / BINS] of each probability; 0 is in the first bin."""
    return np.clip(np.searchsorted(np.arange(BINS + 1) / BINS, probability, side='left') - 1, 0, BINS - 1)


def _equal_mass(probability: np.ndarray) -> np.ndarray:
    """The number of each probability's bin, of bins with about the same number of cases."""
    return np.searchsorted(np.sort(probability), probability, side='left') * BINS // max(len(probability), 1)


def _log(probs: np.ndarray) -> np.ndarray:
    return np.log(np.maximum(probs, LEAST))


def _logit(probs: np.ndarray, k: int) -> np.ndarray:
    # The sum of the other classes is more precise than 1 - p where p is near 1.
    return _log(probs[:, k]) - _log(np.delete(probs, k, 1).sum(1))


def _fitted_classes(probs: np.ndarray) -> list[int]:
    """The classes that are fitted: all, or only the positive one of two."""
    return [1] if probs.shape[1] == 2 else list(range(probs.shape[1]))


def _normalised_rows(columns: list[np.ndarray]) -> np.ndarray:
    """Probabilities `[n, K]` from those of each fitted class against all others; a row of zeros becomes uniform."""
    if len(columns) == 1:
        return np.stack([1 - columns[0], columns[0]], -1)
    table = np.stack(columns, -1)
    total = table.sum(1, keepdims=True)
    return np.where(total > 0, table / np.where(total > 0, total, 1), 1 / table.shape[1])


def _fit_sigmoid(logit: np.ndarray, positive: np.ndarray) -> tuple[float, float]:
    """The a and b that minimise the log loss to smoothed targets, for which there always is a minimum."""
    from scipy import optimize
    m, n = positive.sum(), (~positive).sum()
    target = np.where(positive, (m + 1) / (m + 2), 1 / (n + 2))

    def loss(ab: np.ndarray) -> tuple[float, np.ndarray]:
        z = ab[0] * logit + ab[1]
        error = special.expit(z) - target
        return float((np.logaddexp(0, z) - target * z).mean()), np.array([(error * logit).mean(), error.mean()])
    found = optimize.minimize(loss, [1.0, 0.0], jac=True, method='BFGS', options={'gtol': 1e-10})
    return float(found.x[0]), float(found.x[1])
