"""Classification metrics with confidence intervals: exact, DeLong's for the AUROC, or bootstrap over patients."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.metrics import classification
from medjax.statistics import calibration, delong, proportions
from medjax.statistics.intervals import entry
from medjax.tasks.classification import operating_point
from medjax.tasks.classification.table import Cases

PER_CLASS = ('auroc', 'sensitivity', 'specificity', 'precision')  # reported for each class of a multiclass problem
UNDEFINED = classification.UNDEFINED | {'ece': 'no case', 'ece_adaptive': 'no case'}

Metrics = dict[str, np.ndarray]


def compute_metrics(cases: Cases, weight: np.ndarray | None = None) -> Metrics:
    """All metrics of a set of cases, by their names in `results.json`.

    These are the metrics of `metrics.classification` and the expected calibration errors `ece` (bins of equal width)
    and `ece_adaptive` (bins of equal mass). `NAME_CLASS` is the metric of one class, or of one label.

    Args:
      cases: the cases.
      weight: `[..., n]`, the number of times that each case counts; 1 by default.

    Returns:
      `[...]` float64 for each name; NaN where the metric is not defined.
    """
    found = classification.compute_metrics(cases.targets, cases.probs, weight)
    for name, equal_mass in (('ece', False), ('ece_adaptive', True)):
        errors = []
        for _, part, mask in cases.parts():
            part_weight = None if weight is None else weight[..., mask]
            errors.append(calibration.expected_calibration_error(part.targets, part.probs, part_weight,
                                                                 equal_mass=equal_mass))
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
    return k is None or (cases.multilabel and name != 'f1_micro') or name in PER_CLASS


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
    """Metrics with confidence intervals: exact ones of proportions, else bootstrap intervals.

    The number of patients of a proportion is that of the patients with a case that counts, such as the positives of a
    sensitivity.

    Args:
      cases: the cases; the metric of one label counts the patients with a known label.
      values: `[]` by name, the metrics of the cases as they are.
      samples: `[resamples]` by name, the metrics of the resamples.
      thresholds: of `operating_point.choose_thresholds`, where `values` has metrics at them.
      exact: whether proportions have exact intervals; not for differences of metrics.

    Returns:
      For each name an entry, see `statistics.intervals.entry` and `statistics.proportions.entry`.
    """
    counted = _proportions(cases, thresholds or {}) if exact else {}
    of_label = {f'_{name}': part.patients for name, part, _ in cases.parts() if name}
    out = {}
    for name, value in values.items():
        label = max((suffix for suffix in of_label if name.endswith(suffix)), key=len, default=None)
        patients = of_label[label] if label else cases.patients[cases.known]
        if name in counted and len(counted[name][0]):
            out[name] = proportions.entry(*counted[name], undefined_reason(name), float(value))
        else:
            out[name] = entry(float(value), samples[name], patients, undefined_reason(name))
    return out


def metrics_with_intervals(cases: Cases, draws: np.ndarray) -> dict[str, dict[str, Any]]:
    """All metrics of a set of cases with confidence intervals.

    Proportions have exact intervals, other metrics those of the percentile bootstrap. Where each patient has one case,
    the AUROC of a class against all others has DeLong's interval.

    Args:
      cases: the cases.
      draws: `[resamples, n]`, see `statistics.intervals.multiplicities`.

    Returns:
      For each metric an entry, see `statistics.intervals.entry`.
    """
    out = metric_entries(cases, compute_metrics(cases), compute_metrics(cases, draws))
    for label, part, _ in cases.parts():
        if len(np.unique(part.patients)) < len(part):
            continue
        aurocs = [(1, 'auroc')] if part.binary else [(k, f'auroc_{name}') for k, name in enumerate(part.classes)]
        for k, name in aurocs:
            key = f'{name}_{label}' if label else name
            if out[key]['n'] > 1 and not np.isnan(out[key]['value']):
                known = {field: out[key][field] for field in ('value', 'n', 'cases', 'unit')}
                area, variance = delong.auroc_and_variance(part.targets == k, part.probs[:, k])
                out[key] = known | {'method': 'DeLong'} | delong.auroc_interval(area, variance)
    return out
