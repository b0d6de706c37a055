"""A classification's predictions table summed up: figures with intervals, operating point, calibration, groups."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import classification, uncertainty
from medjax.statistics import calibration, intervals
from medjax.tasks.classification import fairness, operating_point
from medjax.tasks.classification.intervals import metric_entries, metrics_with_intervals
from medjax.tasks.classification.table import Cases, Row, read

CONVENTIONS = (
    'Figures are over cases; intervals are over patients, all cases of a patient drawn together (percentile '
    'bootstrap), or DeLong\'s for the AUROC where each patient has one case. The most probable class is the predicted '
    'one; of two the second is the positive one. A figure that is not defined is left empty and says why: AUROC, AUPRC '
    'and MCC need two classes in the truth, sensitivity a positive case, specificity a negative one. A class that is '
    'in the truth but never predicted has precision and F1 0; one that is in neither has none. Means over classes are '
    'over those that have the figure: a class without a case is left out of mean sensitivity and AUROC, but its false '
    'alarms count in precision and F1. A label that is not known is not judged. An interval is given where at least '
    'nine of ten resamples define the figure, from those. Brier\'s score is the squared error summed over the classes, '
    'halved for two. Calibration errors have 15 bins. Thresholds, calibration and conformal sets are fitted on '
    'validation cases and held fixed; nothing is fitted on test cases.')
POINTS = 50  # of a drawn curve
MOST_GROUPS = 20  # values of a subgroup column: with more it is a measurement and no group


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: scores of probabilities, and what validation cases set.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    source = evaluator.data.source
    known = {'problem': source.problem, 'conventions': CONVENTIONS}
    if not rows:
        return known
    found = summarise(rows, source.problem, source.classes, subgroups=evaluator.subgroups,
                      sensitivity=evaluator.sensitivity, coverage=evaluator.coverage)
    return {**found.pop('metrics'), **known, 'analysis': found}


def summarise(rows: Sequence[Row], problem: str, classes: Sequence[str], *, subgroups: Sequence[str] = (),
              sensitivity: float | None = None, coverage: float = 0.9, resamples: int = 2000,
              seed: int = 0) -> dict[str, Any]:
    """Sums up a classification's predictions table.

    Args:
      rows: a mapping per case, as `cases.read` takes them, each with its `split`.
      problem: 'binary', 'multiclass', 'ordinal' (classes in their order) or 'multilabel'.
      classes: their names; of two the second is the positive one.
      subgroups: columns whose values part the test cases.
      sensitivity: that the operating point must have on validation cases; None takes Youden's.
      coverage: that conformal sets promise.
      resamples: bootstrap draws.
      seed: of the draws.

    Returns:
      Plain numbers, lists and dicts. Where a part says "each", a multilabel problem has one under each label's name,
      and any other problem has it directly.

      - `metrics`: {split: {name: entry}}, entries as of `measure.entry`: `auroc`, `auprc`, `accuracy`,
        `balanced_accuracy`, `sensitivity`, `specificity`, `precision`, `f1`, `f1_micro`, `kappa`, `kappa_weighted`
        (quadratic; ordinal), `mcc`, `brier`, `log_loss`, `ece`, `ece_adaptive`; of several classes they are means, and
        `auroc_CLASS`, `sensitivity_CLASS`, `specificity_CLASS`, `precision_CLASS` are there too; of labels all are.
        On test, `NAME_operating` (`NAME_operating_LABEL`) at the operating point.
      - `operating`, each: `threshold`, `rule`, `split`.
      - `reliability`: {split: {'chosen' or class: bins of `calibration.reliability`}}.
      - `calibration`, each: {method: {`ece`, `brier`, `log_loss`: {`before`, `after`} on test, `parameters`,
        `fitted_on`, `reliability`}}.
      - `conformal`, each: `promised`, `threshold`, `fitted_on`, `fitted_cases`; on test `coverage` and `set_size`
        (entries) and `sizes` {size: cases}.
      - `selective`, each: `points` of {`coverage`, `risk`, `confidence`} and `aurc` (entry) on test, by the chosen
        class's probability; `selective_uncertainty` the same by the column `uncertainty`, where that is there.
      - `subgroups`: {column: what `fairness.by_group` gives} on test.
      - `warnings`: lines.

    Raises:
      InputError: names the case or the argument that is not as it must be.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    for name, value in (('sensitivity', sensitivity), ('coverage', coverage)):
        if value is not None and not 0 < value < 1:
            raise InputError(f'{name}: {value}; expected a number between 0 and 1')
    by_split: dict[str, list[Row]] = {}
    for row in rows:
        by_split.setdefault(_split(row), []).append(row)
    cases = {split: read(of, problem, classes) for split, of in by_split.items()}
    draws = {split: intervals.multiplicities(of.patients, resamples, seed) for split, of in cases.items()}
    out: dict[str, Any] = {
        'metrics': {split: metrics_with_intervals(of, draws[split]) for split, of in cases.items()},
        'reliability': {split: _reliability(of, of.probs) for split, of in cases.items()},
        'subgroups': {}, 'warnings': _warnings(cases)}
    val, test = cases.get('val'), cases.get('test')
    at = operating_point.thresholds(val, sensitivity) if val else {}
    if at:
        rule = 'Youden' if sensitivity is None else f'sensitivity of at least {sensitivity:g}'
        chosen = {name: {'threshold': value, 'rule': rule, 'split': 'val'} for name, value in at.items()}
        out['operating'] = chosen.get('', chosen)
    if test is None:
        return out
    out['metrics']['test'] |= metric_entries(test, operating_point.figures(test, at),
                                              operating_point.figures(test, at, draws['test']))
    if val:
        found = _each(val, test, draws['test'], _calibrated)
        out |= {'calibration': found} if found else {}
        out['conformal'] = _each(val, test, draws['test'], lambda *of: _conformal(*of, coverage))
    out['selective'] = _each(test, test, draws['test'], lambda _, part, weight: _selective(
        part, part.probs.max(1), weight))
    if problem != 'multilabel' and all(row.get('uncertainty') not in (None, '') for row in by_split['test']):
        unsure = np.array([_uncertainty(row) for row in by_split['test']])
        out['selective_uncertainty'] = _selective(test, -unsure, draws['test'])
    for column in subgroups:
        found, lines = _groups(test, by_split['test'], column, draws['test'], at)
        out['subgroups'] |= {column: found} if found else {}
        out['warnings'] += lines
    return out


def _split(row: Row) -> str:
    if not row.get('split'):
        raise InputError(f'predictions, case {row.get("id")}: split: nothing; expected train, val or test')
    return row['split']


def _uncertainty(row: Row) -> float:
    try:
        value = float(row['uncertainty'])
    except (TypeError, ValueError):
        value = float('nan')
    if np.isnan(value):
        raise InputError(f'predictions, case {row.get("id")}: uncertainty: {row["uncertainty"]}; expected a number')
    return value


def _each(fitted: Cases, test: Cases, draws: np.ndarray,
          make: Callable[[Cases, Cases, np.ndarray], dict[str, Any]]) -> dict[str, Any]:
    """What `make` gives for validation cases, test cases and draws; of each label, where both have cases of it."""
    parts = zip(fitted.parts(), test.parts())
    made = {name: make(of, on, draws[:, mask]) for (name, of, _), (_, on, mask) in parts if len(of) and len(on)}
    return made.get('', {name: found for name, found in made.items() if found})


def _reliability(cases: Cases, probs: np.ndarray) -> dict[str, list[dict[str, Any]]]:
    """Bins for the chosen class and for a positive one, or for each label."""
    if cases.multilabel:
        return {name: calibration.reliability_bins(part.probs[:, 1], part.targets == 1) for name, part, _ in cases.parts()}
    out = {'chosen': calibration.reliability_bins(probs.max(1), probs.argmax(1) == cases.targets)}
    if cases.binary:
        out[cases.classes[1]] = calibration.reliability_bins(probs[:, 1], cases.targets == 1)
    return out


def _calibrated(val: Cases, test: Cases, _: np.ndarray) -> dict[str, Any]:
    if len(np.unique(val.targets)) < 2:
        return {}

    def errors(probs: np.ndarray) -> dict[str, float]:
        square, log = classification.case_losses(test.targets, probs)
        return {'ece': float(calibration.expected_calibration_error(test.targets, probs)), 'brier': float(square.mean()),
                'log_loss': float(log.mean())}
    before, out = errors(test.probs), {}
    for method, fit in calibration.METHODS.items():
        fitted = fit(val.targets, val.probs)
        probs = fitted(test.probs)
        after = errors(probs)
        out[method] = {name: {'before': before[name], 'after': after[name]} for name in before}
        out[method] |= {'parameters': fitted.parameters, 'fitted_on': 'val', 'reliability': _reliability(test, probs)}
    return out


def _conformal(val: Cases, test: Cases, draws: np.ndarray, coverage: float) -> dict[str, Any]:
    threshold = calibration.conformal_threshold(val.targets, val.probs, coverage)
    sets = test.probs >= threshold
    size, holds = sets.sum(1), sets[np.arange(len(test)), test.targets]
    entries = [intervals.entry(float(values.mean()), classification.weighted_mean(values, draws), test.patients, 'no case')
               for values in (holds, size)]
    return {'promised': coverage, 'threshold': threshold, 'fitted_on': 'val', 'fitted_cases': len(val),
            'coverage': entries[0], 'set_size': entries[1],
            'sizes': {str(k): int((size == k).sum()) for k in np.unique(size)}}


def _selective(cases: Cases, confidence: np.ndarray, draws: np.ndarray) -> dict[str, Any]:
    wrong = (cases.probs.argmax(1) != cases.targets).astype(np.float64)
    coverage, risk = uncertainty.risk_coverage(confidence, wrong)
    sure = np.sort(confidence)[::-1]
    shown = np.unique(np.linspace(0, len(cases) - 1, POINTS).round().astype(int)).tolist()
    return {'points': [{'coverage': float(coverage[i]), 'risk': float(risk[i]), 'confidence': float(sure[i])}
                       for i in shown],
            'aurc': intervals.entry(float(uncertainty.area_under_risk_coverage(confidence, wrong)),
                                  uncertainty.area_under_risk_coverage(confidence, wrong, draws), cases.patients, 'no case')}


def _groups(test: Cases, rows: Sequence[Row], column: str, draws: np.ndarray,
            at: Mapping[str, float]) -> tuple[dict[str, Any] | None, list[str]]:
    if not any(column in row for row in rows):
        raise InputError(f'subgroups: {column}; expected a column of the predictions table: '
                         f'{", ".join(str(name) for name in rows[0])}')
    group = fairness.groups(rows, column)
    if len(np.unique(group)) > MOST_GROUPS:
        return None, [f'{column}: {len(np.unique(group))} values; up to {MOST_GROUPS} are taken for groups: not parted']
    found = fairness.by_group(test, group, draws, at)
    return found, [f'{column}, {line}' for line in found['warnings']]


def _warnings(cases: Mapping[str, Cases]) -> list[str]:
    """What a reader must know of the table before its figures."""
    lines = []
    if 'test' not in cases:
        lines.append('no test cases: no figures on them')
    if 'val' not in cases:
        lines.append('no validation cases: no operating point, calibration or conformal sets')
    for split, of in cases.items():
        for label, part, _ in of.parts():
            there = [name for k, name in enumerate(part.classes) if (part.targets == k).any()]
            where = f'{split}, {label}' if label else split
            missing = [name for name in part.classes if name not in there]
            if not there:
                lines.append(f'{where}: not known in any case')
            elif len(there) == 1:
                lines.append(f'{where}: one class only, {there[0]}: what needs two, as AUROC does, is not defined')
                if split == 'val':
                    lines.append(f'{where}: no operating point and no calibration, for they need two classes')
            elif missing:
                lines.append(f'{where}: no case of {", ".join(missing)}: left out of means over classes')
    fitted = [of for split, of in cases.items() if split in ('train', 'val')]
    if 'test' in cases and fitted:
        known = ' or '.join(split for split in ('train', 'val') if split in cases)
        for number, (label, part, _) in enumerate(cases['test'].parts()):
            before = np.concatenate([of.parts()[number][1].targets for of in fitted])
            lines += [f'test{f", {label}" if label else ""}: {int((part.targets == k).sum())} cases of {name}, which '
                      f'no {known} row is of' for k, name in enumerate(part.classes)
                      if (part.targets == k).any() and not (before == k).any()]
    return lines
