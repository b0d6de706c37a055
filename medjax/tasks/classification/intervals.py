"""Classification metrics with confidence intervals: exact, DeLong's of the AUROC, or the jackknife's over patients."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.metrics import classification
from medjax.statistics import calibration, permutation, proportions, ranking, recalibration
from medjax.statistics.intervals import entry
from medjax.tasks.classification import operating_point
from medjax.tasks.classification.table import Cases

PER_CLASS = ('auroc', 'sensitivity', 'specificity', 'precision')  # reported for each class of a multiclass problem
# For each calibration error whether its bins have equal mass, and whether it is the predicted class's with two classes.
CALIBRATION_ERRORS = {'ece': (False, False), 'ece_adaptive': (True, False), 'ece_predicted': (False, True)}
CHANCE_DRAWS = 1000
UNDEFINED = classification.UNDEFINED | dict.fromkeys(CALIBRATION_ERRORS, 'no case') | {
    'calibration_slope': 'one class only, or probabilities that separate the classes',
    'calibration_intercept': 'one class only in the truth'}

Metrics = dict[str, np.ndarray]


def compute_metrics(cases: Cases, weight: np.ndarray | None = None) -> Metrics:
    """All metrics of a set of cases, by their names in `results.json`.

    These are the metrics of `metrics.classification` and the expected calibration errors `ece` (bins of equal width)
    and `ece_adaptive` (bins of equal mass): of the positive class or of each label, with more classes of the predicted
    one. `ece_predicted` is that of the predicted class with two classes, or of the decision on a label. `NAME_CLASS` is
    the metric of one class, or of one label.

    Args:
      cases: the cases.
      weight: `[..., n]`, the number of times that each case counts; 1 by default.

    Returns:
      `[...]` float64 for each name; NaN where the metric is not defined.
    """
    found = classification.compute_metrics(cases.targets, cases.probs, weight)
    for name, (equal_mass, predicted_class) in CALIBRATION_ERRORS.items():
        errors = []
        for _, part, mask in cases.parts():
            part_weight = None if weight is None else weight[..., mask]
            errors.append(calibration.expected_calibration_error(
                part.targets, part.probs, part_weight, equal_mass=equal_mass, predicted_class=predicted_class))
        found[name] = classification.mean_over_defined(errors)
        if cases.multilabel:
            found |= {(name, k): values for k, values in enumerate(errors)}
    out = {}
    for key, values in found.items():
        name, k = (key, None) if isinstance(key, str) else key
        if _is_reported(cases, name, k):
            out[name if k is None else f'{name}_{cases.classes[k]}'] = values
    return out


def _is_reported(cases: Cases, name: str, k: int | None) -> bool:
    """Whether a metric is reported for this problem, over all classes (k None) or for class or label k."""
    if name == 'kappa_weighted' and cases.problem != 'ordinal':
        return False
    if name == 'ece_predicted' and not (cases.binary or cases.multilabel):
        return False  # it is `ece`
    return k is None or (cases.multilabel and name != 'f1_micro') or name in PER_CLASS


def calibration_metrics(cases: Cases, weight: np.ndarray | None = None) -> Metrics:
    """Calibration slope and calibration-in-the-large; see `statistics.recalibration`.

    Args:
      cases: the cases.
      weight: as for `compute_metrics`.

    Returns:
      `[...]` float64: `calibration_slope` and `calibration_intercept` of the positive class, or `NAME_CLASS` of each
      class against all others or of each label; NaN where one is not defined.
    """
    out = {}
    for name, part, k, mask in cases.problems():
        suffix = '' if cases.binary else f'_{name}'
        positive, log_odds = part.targets == k, recalibration.logit(part.probs[:, k])
        part_weight = None if weight is None else weight[..., mask]
        out[f'calibration_slope{suffix}'] = recalibration.slope(positive, log_odds, part_weight)
        out[f'calibration_intercept{suffix}'] = recalibration.intercept(positive, log_odds, part_weight)
    return out


def all_metrics(cases: Cases, weight: np.ndarray | None = None) -> Metrics:
    """`compute_metrics` and `calibration_metrics`."""
    return compute_metrics(cases, weight) | calibration_metrics(cases, weight)


def undefined_reason(name: str) -> str:
    """Reason why a metric is not defined.

    Args:
      name: the metric's name, with or without the name of a class.
    """
    base = max((word for word in UNDEFINED if name == word or name.startswith(f'{word}_')), key=len, default='')
    return UNDEFINED.get(base, 'not defined')


def counted_cases(part: Cases, predicted: np.ndarray) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The cases that proportions count: for each metric `[n]` bool, which cases count and which of them are hits.

    Args:
      part: of `Cases.parts`.
      predicted: `[n]` class numbers.

    Returns:
      Those of `accuracy`, `sensitivity`, `specificity` and `precision`; with more than two classes of `accuracy` and
      `NAME_CLASS`.
    """
    out = {'accuracy': (np.ones(len(part), bool), predicted == part.targets)}
    for k, name in [(1, '')] if part.binary else enumerate(part.classes):
        suffix, true, chosen = f'_{name}' if name else '', part.targets == k, predicted == k
        out |= {f'sensitivity{suffix}': (true, chosen), f'specificity{suffix}': (~true, ~chosen),
                f'precision{suffix}': (chosen, true)}
    return out


def _proportions(cases: Cases, thresholds: Mapping[str, float]) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The hits `[m]` and the patients `[m]` of each metric that is a proportion, by its name in `results.json`."""
    out = {}
    for label, part, _ in cases.parts():
        decisions = {'': part.probs.argmax(1)}
        if label in thresholds:
            decisions[operating_point.SUFFIX] = (part.probs[:, 1] >= thresholds[label]).astype(int)
        for suffix, predicted in decisions.items():
            for name, (counts, hit) in counted_cases(part, predicted).items():
                key = '_'.join(filter(None, (name + suffix, label)))
                out[key] = hit[counts], part.patients[counts]
    return out


def metric_entries(cases: Cases, values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray],
                   thresholds: Mapping[str, float] | None = None, exact: bool = True) -> dict[str, dict[str, Any]]:
    """Metrics with confidence intervals: exact ones of proportions, DeLong's of AUROCs, else those of the jackknife.

    The number of patients of a proportion is that of the patients with a case that counts, such as the positives of a
    sensitivity. Calibration errors have no interval but the errors of calibrated predictions, see
    `calibration.errors_by_chance`.

    Args:
      cases: the cases; the metric of one label counts the patients with a known label.
      values: `[]` by name, the metrics of the cases as they are, or their means over several rounds.
      samples: by name, the metrics for each row of `intervals.left_out`.
      thresholds: of `operating_point.choose_thresholds`, where `values` has metrics at them.
      exact: whether some have other intervals than the jackknife's; not for differences of metrics.

    Returns:
      For each name an entry, see `statistics.intervals.entry`, `statistics.proportions.entry` and
      `statistics.permutation.entry`.
    """
    counted = _proportions(cases, thresholds or {}) if exact else {}
    areas, by_chance = (_areas(cases), _calibration_by_chance(cases)) if exact else ({}, {})
    of_label = {f'_{name}': part.patients for name, part, _ in cases.parts() if name}
    out = {}
    for name, value in values.items():
        label = max((suffix for suffix in of_label if name.endswith(suffix)), key=len, default=None)
        patients, reason = of_label[label] if label else cases.patients[cases.known], undefined_reason(name)
        if name in counted and len(counted[name][0]):
            out[name] = proportions.entry(*counted[name], reason, float(value))
        elif name in by_chance:
            out[name] = permutation.entry(float(value), by_chance[name], patients, reason) | {'ci95': None}
        elif name in areas and np.isclose(value, areas[name]['value']):  # and not a mean over rounds
            out[name] = areas[name] | {'value': float(value)}
        else:
            out[name] = entry(float(value), samples[name], patients, reason, name if exact else '')
    return out


def _areas(cases: Cases) -> dict[str, dict[str, Any]]:
    """The AUROC and the average precision of each class or label with their intervals, by name."""
    out = {}
    for label, part, _ in cases.parts():
        for k, name in [(1, '')] if part.binary else enumerate(part.classes):
            suffix = ''.join(f'_{one}' for one in (name, label) if one)
            out |= {f'{stem}{suffix}': entry for stem, entry in ranking.area_entries(
                part.targets == k, part.probs[:, k], part.patients).items()}
    return out


def _calibration_by_chance(cases: Cases) -> dict[str, np.ndarray]:
    """The calibration errors of calibrated predictions, `[draws]`, by their names in `results.json`."""
    out = {}
    for name, (equal_mass, predicted_class) in CALIBRATION_ERRORS.items():
        errors = {label: calibration.errors_by_chance(part.probs, CHANCE_DRAWS, seed=0, equal_mass=equal_mass,
                                                      predicted_class=predicted_class)
                  for label, part, _ in cases.parts()}
        out[name] = classification.mean_over_defined(list(errors.values()))
        out |= {f'{name}_{label}': values for label, values in errors.items() if label}
    return out


def metrics_with_intervals(cases: Cases, without: np.ndarray) -> dict[str, dict[str, Any]]:
    """All metrics of a set of cases with confidence intervals.

    Args:
      cases: the cases.
      without: of `statistics.intervals.left_out`.

    Returns:
      For each metric an entry, see `metric_entries`.
    """
    out = metric_entries(cases, all_metrics(cases), all_metrics(cases, without))
    for name, part, k, _ in cases.problems():
        for kind in ('slope', 'intercept'):
            found = out[f'calibration_{kind}' if cases.binary else f'calibration_{kind}_{name}']
            if np.isnan(found['value']):
                found['why'] = recalibration.undefined_reason(part.targets == k, recalibration.logit(part.probs[:, k]),
                                                              kind)
    return out
