"""Calibration, conformal prediction sets and selective prediction of a classification."""

from typing import Any

import numpy as np

from medjax.metrics import classification, uncertainty
from medjax.statistics import calibration, intervals, proportions
from medjax.tasks.classification.table import Cases

CURVE_POINTS = 50


def reliability(cases: Cases, probs: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """Bins of the reliability diagrams; see `statistics.calibration.reliability_bins`.

    Args:
      cases: the cases.
      probs: `[n, K]`, their probabilities, or calibrated ones.

    Returns:
      Bins of the most probable class under 'predicted_class', and of the positive class under its name; for a
      multilabel problem of each label under its name.
    """
    if cases.multilabel:
        return {name: calibration.reliability_bins(part.probs[:, 1], part.targets == 1)
                for name, part, _ in cases.parts()}
    out = {'predicted_class': calibration.reliability_bins(probs.max(1), probs.argmax(1) == cases.targets)}
    if cases.binary:
        out[cases.classes[1]] = calibration.reliability_bins(probs[:, 1], cases.targets == 1)
    return out


def calibration_results(fitted: Cases, test: Cases, split: str) -> dict[str, Any]:
    """Calibration errors on test cases before and after each calibration method.

    Args:
      fitted: cases that the methods are fitted on.
      test: cases that they are applied to.
      split: name of the split of `fitted`.

    Returns:
      For each method `ece`, `brier` and `log_loss`, each with `before` and `after`; `parameters`; `fitted_on`; and
      `reliability`. Empty where `fitted` has only one class.
    """
    if len(np.unique(fitted.targets)) < 2:
        return {}

    def errors(probs: np.ndarray) -> dict[str, float]:
        square, log = classification.case_losses(test.targets, probs)
        return {'ece': float(calibration.expected_calibration_error(test.targets, probs)),
                'brier': float(square.mean()), 'log_loss': float(log.mean())}

    before, out = errors(test.probs), {}
    for method, fit in calibration.METHODS.items():
        calibrator = fit(fitted.targets, fitted.probs)
        probs = calibrator(test.probs)
        after = errors(probs)
        out[method] = {**{name: {'before': before[name], 'after': after[name]} for name in before},
                       'parameters': calibrator.parameters, 'fitted_on': split, 'reliability': reliability(test, probs)}
    return out


def conformal_results(fitted: Cases, test: Cases, without: np.ndarray, coverage: float, split: str) -> dict[str, Any]:
    """Coverage and size of conformal prediction sets on test cases, with a threshold from other cases.

    Args:
      fitted: cases that set the threshold.
      test: cases whose sets are counted.
      without: `[rows, n]`, of `statistics.intervals.left_out`, of the test cases.
      coverage: the nominal coverage.
      split: name of the split of `fitted`.

    Returns:
      `nominal_coverage`, for a random case of a new patient; `threshold`; `fitted_on`; `fitted_cases` and
      `fitted_patients`; the entries `coverage` and `set_size`; and `sizes`, {size: number of cases}.
    """
    threshold = calibration.conformal_threshold(fitted.targets, fitted.probs, coverage, fitted.patients)
    sets = test.probs >= threshold
    size, covered = sets.sum(1), sets[np.arange(len(test)), test.targets]
    mean_size = intervals.entry(float(size.mean()), classification.weighted_mean(size, without), test.patients,
                                'no case', 'set_size')
    return {'nominal_coverage': coverage, 'threshold': threshold, 'fitted_on': split, 'fitted_cases': len(fitted),
            'fitted_patients': len(np.unique(fitted.patients)),
            'coverage': proportions.entry(covered, test.patients, 'no case'), 'set_size': mean_size,
            'sizes': {str(k): int((size == k).sum()) for k in np.unique(size)}}


def selective_results(cases: Cases, confidence: np.ndarray, without: np.ndarray) -> dict[str, Any]:
    """The risk–coverage curve: the error rate of the most confident cases by their share of all cases.

    Args:
      cases: the cases.
      confidence: `[n]`.
      without: `[rows, n]`, of `statistics.intervals.left_out`.

    Returns:
      `points`, at most CURVE_POINTS of {`coverage`, `risk`, `confidence`}; and the entry `aurc`, the area under the
      curve.
    """
    wrong = (cases.probs.argmax(1) != cases.targets).astype(np.float64)
    coverage, risk = uncertainty.risk_coverage(confidence, wrong)
    ordered = np.sort(confidence)[::-1]
    places = np.unique(np.linspace(0, len(cases) - 1, CURVE_POINTS).round().astype(int)).tolist()
    area = uncertainty.area_under_risk_coverage(confidence, wrong)
    samples = uncertainty.area_under_risk_coverage(confidence, wrong, without)
    return {'points': [{'coverage': float(coverage[i]), 'risk': float(risk[i]), 'confidence': float(ordered[i])}
                       for i in places],
            'aurc': intervals.entry(float(area), samples, cases.patients, 'no case', 'aurc')}
