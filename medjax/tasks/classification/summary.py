"""Results of classification from its predictions table: metrics with intervals, operating point and calibration."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.statistics import calibration, intervals
from medjax.tasks.classification import fairness, operating_point, probability_analysis, uncertainty_analysis
from medjax.tasks.classification.intervals import metric_entries, metrics_with_intervals
from medjax.tasks.classification.table import UNCERTAINTY, Cases, Row, read

CONVENTIONS = (
    'Metrics are over cases. Accuracy, sensitivity, specificity and precision have Clopper–Pearson intervals of the '
    'counts, with the effective sample size of Korn and Graubard (1998) if patients have several cases; n is the '
    'number of patients with a case that counts. The AUROC has DeLong\'s interval on the logit scale, with the '
    'variance of Obuchowski (1997) if patients have several cases, and that of Newcombe (2006) at 1; the AUPRC has '
    'that of a proportion of the positive cases (Boyd 2013). All other intervals are t intervals over patients with '
    'the standard error of the jackknife, all cases of a patient left out together. The predicted class is the most '
    'probable one; of two classes the second is the positive one. A metric that is not defined is left empty with the '
    'reason: AUROC, AUPRC and MCC need two classes in the truth, sensitivity a positive case, specificity a negative '
    'one. A class that is in the truth but never predicted has precision and F1 0; one that is in neither has none. '
    'Means over classes are over those for which the metric is defined: a class without a case is left out of mean '
    'sensitivity and AUROC, but its false positives count in precision and F1. Unknown labels are ignored. The Brier '
    'score is the squared error summed over the classes, halved for two. Calibration errors have 15 bins, and are '
    'those of the positive class or of a label (ece, ece_adaptive), with more than two classes of the predicted '
    'class; ece_predicted is that of the predicted class with two. They are biased upwards and have no interval, but '
    'the mean, the 95th percentile and the p value of predictions that are calibrated, whose outcomes are drawn from '
    'the probabilities (Bröcker & Smith 2007). Calibration slope and calibration-in-the-large are those of logistic '
    'recalibration of the positive class, of each class against all others or of each label: the first is 1 and the '
    'second 0 with perfect calibration, below 1 predictions are too extreme, above 0 the class is more frequent than '
    'predicted. A slope is not defined where one class only is in the truth, or where the probabilities separate the '
    'classes. The smooth calibration curve is a logistic regression on a natural cubic spline of the log odds with up '
    'to four knots, with its pointwise interval; ICI, E50 and E90 are mean, median and 90th percentile of its '
    'distance from the predictions. Net benefit is the share of true positives minus that of false positives times '
    'the odds of the threshold. Predictive values at a stated prevalence follow from sensitivity and specificity by '
    'Bayes\' rule, with intervals by MOVER from Wilson\'s. Thresholds, calibration and conformal sets are fitted on '
    'the split calibrate, or on validation cases where there is none, and held fixed; nothing is fitted on test '
    'cases.')
MAX_GROUPS = 20  # values of a subgroup column; a column with more is a measurement and not a group


def results(rows: Sequence[Row], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: metrics of the probabilities, and what is fitted on held-out cases.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `analysis`, the other parts of `summarise`; `problem` and
      `conventions`.
    """
    source = evaluator.data.source
    header = {'problem': source.problem, 'conventions': CONVENTIONS}
    if not rows:
        return header
    analysis = summarise(rows, source.problem, source.classes, subgroups=evaluator.subgroups,
                         sensitivity=evaluator.sensitivity, coverage=evaluator.coverage,
                         decision_thresholds=evaluator.decision_thresholds, prevalence=evaluator.prevalence)
    return {**analysis.pop('metrics'), **header, 'analysis': analysis}


def summarise(rows: Sequence[Row], problem: str, classes: Sequence[str], *, subgroups: Sequence[str] = (),
              sensitivity: float | None = None, coverage: float = 0.9,
              decision_thresholds: tuple[float, float] = probability_analysis.DECISION_THRESHOLDS,
              prevalence: Mapping[str, float] | None = None) -> dict[str, Any]:
    """Summarises a predictions table.

    Args:
      rows: as for `table.read`, each with its `split`.
      problem: 'binary', 'multiclass', 'ordinal' (classes in their order) or 'multilabel'.
      classes: their names; of two the second is the positive one.
      subgroups: columns by whose values test cases are grouped.
      sensitivity: minimum sensitivity of the operating point, on the cases that it is chosen on; None for Youden's
        index.
      coverage: nominal coverage of conformal sets.
      decision_thresholds: lowest and highest threshold of decision curves.
      prevalence: of the positive class, or of classes or labels by name, for predictive values in another population.

    Returns:
      Plain numbers, lists and dicts. "Each" means: for a multilabel problem one for each label, under its name, and for
      other problems directly.

      - `metrics`: {split: {name: entry}}, entries as in `statistics.intervals.entry`: the metrics of
        `intervals.compute_metrics`; on test also `NAME_operating` (`NAME_operating_LABEL`) at the operating point.
      - `operating`, each: `threshold`, `rule`, `split`.
      - `reliability`: {split: `uncertainty_analysis.reliability`}.
      - `calibration`, each: `uncertainty_analysis.calibration_results`.
      - `conformal`, each: `uncertainty_analysis.conformal_results`.
      - `selective`, each: `uncertainty_analysis.selective_results` on test, by the probability of the predicted class;
        `selective_uncertainty`: the same by the column `uncertainty`, where there is one.
      - `probability`: `probability_analysis.analyse` on test.
      - `subgroups`: {column: `fairness.subgroup_analysis`} on test.
      - `warnings`: lines.

    Raises:
      InputError: naming the case or the argument that is not valid.
    """
    if not rows:
        raise InputError('predictions: no case; expected at least one')
    for name, value in (('sensitivity', sensitivity), ('coverage', coverage)):
        if value is not None and not 0 < value < 1:
            raise InputError(f'{name}: {value}; expected a number between 0 and 1')
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        by_split.setdefault(_split(row), []).append(row)
    cases = {split: read(part, problem, classes) for split, part in by_split.items()}
    without = {split: intervals.left_out(part.patients) for split, part in cases.items()}
    out: dict[str, Any] = {
        'metrics': {split: metrics_with_intervals(part, without[split]) for split, part in cases.items()},
        'reliability': {split: uncertainty_analysis.reliability(part, part.probs) for split, part in cases.items()},
        'subgroups': {}, 'warnings': _warnings(cases)}
    fit = calibration.fitting_split(cases)
    thresholds = operating_point.choose_thresholds(cases[fit], sensitivity) if fit else {}
    if thresholds:
        rule = 'Youden' if sensitivity is None else f'sensitivity of at least {sensitivity:g}'
        chosen = {name: {'threshold': value, 'rule': rule, 'split': fit} for name, value in thresholds.items()}
        out['operating'] = chosen.get('', chosen)
    if 'test' not in cases:
        return out
    out['metrics']['test'] |= metric_entries(
        cases['test'], operating_point.metrics_at(cases['test'], thresholds),
        operating_point.metrics_at(cases['test'], thresholds, without['test']), thresholds)
    out['probability'] = probability_analysis.analyse(cases['test'], without['test'], thresholds, decision_thresholds,
                                                      prevalence or {})
    out |= _uncertainty_results(cases, by_split['test'], without['test'], coverage)
    for column in subgroups:
        found, lines = _subgroup_results(cases['test'], by_split['test'], column, without['test'], thresholds)
        if found:
            out['subgroups'][column] = found
        out['warnings'] += lines
    return out


def _uncertainty_results(cases: Mapping[str, Cases], rows: Sequence[Row], without: np.ndarray,
                         coverage: float) -> dict[str, Any]:
    """Calibration, conformal sets and selective prediction of the test cases; see `summarise`."""
    test, out, fit = cases['test'], {}, calibration.fitting_split(cases)
    if fit:
        calibrated = _each(cases[fit], test, without, lambda fitted, part, _: uncertainty_analysis.calibration_results(
            fitted, part, fit))
        if calibrated:
            out['calibration'] = calibrated
        out['conformal'] = _each(cases[fit], test, without, lambda fitted, part, weight: (
            uncertainty_analysis.conformal_results(fitted, part, weight, coverage, fit)))
    out['selective'] = _each(test, test, without, lambda _, part, weight: uncertainty_analysis.selective_results(
        part, part.probs.max(1), weight))
    if not test.multilabel and all(row.get(UNCERTAINTY) not in (None, '') for row in rows):
        unsure = np.array([_uncertainty(row) for row in rows])
        out['selective_uncertainty'] = uncertainty_analysis.selective_results(test, -unsure, without)
    return out


def _each(fitted: Cases, test: Cases, without: np.ndarray,
          analyse: Callable[[Cases, Cases, np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    """The analysis of a problem, or of each label for which both splits have cases, under its name."""
    pairs = zip(fitted.parts(), test.parts())
    out = {name: analyse(fit, part, without[:, mask]) for (name, fit, _), (_, part, mask) in pairs
           if len(fit) and len(part)}
    return out.get('', {name: found for name, found in out.items() if found})


def _split(row: Row) -> str:
    if not row.get('split'):
        raise InputError(f'predictions, case {row.get("id")}: split: nothing; expected train, val or test')
    return row['split']


def _uncertainty(row: Row) -> float:
    try:
        value = float(row[UNCERTAINTY])
    except (TypeError, ValueError):
        value = float('nan')
    if np.isnan(value):
        raise InputError(f'predictions, case {row.get("id")}: uncertainty: {row[UNCERTAINTY]}; expected a number')
    return value


def _subgroup_results(test: Cases, rows: Sequence[Row], column: str, without: np.ndarray,
                      thresholds: Mapping[str, float]) -> tuple[dict[str, Any] | None, list[str]]:
    """The analysis by a column's groups, or None where it has too many; and warnings."""
    if not any(column in row for row in rows):
        raise InputError(f'subgroups: {column}; expected a column of the predictions table: '
                         f'{", ".join(str(name) for name in rows[0])}')
    group = fairness.read_groups(rows, column)
    count = len(np.unique(group))
    if count > MAX_GROUPS:
        return None, [f'{column}: {count} values; a subgroup column may have up to {MAX_GROUPS}: no analysis']
    found = fairness.subgroup_analysis(test, group, without, thresholds)
    return found, [f'{column}, {line}' for line in found['warnings']]


def _warnings(cases: Mapping[str, Cases]) -> list[str]:
    """Limitations of the table."""
    lines = []
    if 'test' not in cases:
        lines.append('no test cases: no test metrics')
    fit = calibration.fitting_split(cases)
    if fit is None:
        lines.append('no validation cases: no operating point, calibration or conformal sets')
    for split, part in cases.items():
        for label, problem, _ in part.parts():
            lines += _missing_classes(split, label, problem, split == fit)
    fitted = [split for split in ('train', 'val', 'calibrate') if split in cases]
    if 'test' in cases and fitted:
        known = ' or '.join(fitted)
        for number, (label, part, _) in enumerate(cases['test'].parts()):
            before = np.concatenate([cases[split].parts()[number][1].targets for split in fitted])
            where = f'test, {label}' if label else 'test'
            lines += [f'{where}: {int((part.targets == k).sum())} cases of {name}, a class without a {known} row'
                      for k, name in enumerate(part.classes)
                      if (part.targets == k).any() and not (before == k).any()]
    return lines


def _missing_classes(split: str, label: str, part: Cases, fits: bool) -> list[str]:
    """Warnings about the classes without a case, of a problem or of one label; `fits`: thresholds are fitted on it."""
    present = [name for k, name in enumerate(part.classes) if (part.targets == k).any()]
    missing = [name for name in part.classes if name not in present]
    where = f'{split}, {label}' if label else split
    if not present:
        return [f'{where}: unknown for all cases']
    if len(present) == 1:
        lines = [f'{where}: one class only, {present[0]}: metrics that need two, such as AUROC, are not defined']
        if fits:
            lines.append(f'{where}: no operating point and no calibration, which need two classes')
        return lines
    return [f'{where}: no case of {", ".join(missing)}: left out of means over classes'] if missing else []
