"""Metrics of treatment effects from the predictions table: errors on simulated truth, policy value and uplift."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import treatment as metrics_treatment
from medjax.metrics.classification import weighted_mean
from medjax.statistics import intervals, per_patient
from medjax.tasks.treatment.table import Predictions, Row, read

CONVENTIONS = (
    'A higher outcome is better, and an effect is the outcome with treatment minus the outcome without. √PEHE is the '
    'root mean squared error of the predicted effects, and the ATE error is the absolute difference between their '
    'mean and the mean of the true effects. Both use the expected outcomes of the simulation, without noise, and '
    'exist only in simulations. Metrics without the truth: the factual RMSE is the root mean squared error of the '
    'observed outcomes, with equal weights of both groups; the matched √PEHE takes as true effect the difference from '
    'the nearest training patient of the other group, in standardised covariates, and contains the noise of both '
    'outcomes. The propensity is the probability of treatment by logistic regression on the training patients; '
    'weights are the inverse of the probability of the treatment that was given, which is taken as at least 0.05. The '
    'policy value is the weighted mean outcome of patients whose treatment agrees with the sign of the predicted '
    'effect. The uplift curve treats patients in the order of their predicted effects: its gain at a share of the '
    'patients is that share times the difference of the weighted mean outcomes of the treated and the untreated among '
    'them, and 0 while one group is missing; patients with equal effects are added together. Qini is the area between '
    'the curve and the straight line to its end. The doubly robust mean effect corrects the mean predicted effect by '
    'the weighted errors of the observed outcomes. OLS is ordinary least squares with the treatment as a covariate, '
    'or for each group by itself; trees are scikit-learn\'s histogram gradient boosting with default settings, for '
    'each group by itself. The baselines are fitted to the same training patients. Intervals are t intervals over '
    'patients with the standard error of the jackknife; models and propensity are not fitted again, so the variation '
    'between training sets is not included.')
UNDEFINED = {'factual_rmse': 'there is one group only', 'policy_value': 'no patient was treated by the policy',
             'qini': 'there is one group only', 'difference': 'there is one group only',
             'ate_weighted': 'there is one group only', 'value_if_none': 'no patient is untreated',
             'value_if_all': 'no patient is treated'}
UNBALANCED = 0.25  # standardised difference above which regression estimates depend on the model's form (Rubin 2001)
FEW_EFFECTIVE = 0.5  # of a group's patients: a smaller effective sample size gets a warning
WITHIN = ('train', 'val')  # splits whose outcomes were used in training or selection


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """The results of a predictions table: errors of predicted effects, policy values, and the balance of the groups.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `analysis`, see `summarise`; and `conventions`.
    """
    header = {'problem': 'treatment', 'conventions': CONVENTIONS}
    if not rows:
        return header
    results = summarise(rows, evaluator.groups)
    return {**results.pop('metrics'), **header, 'analysis': results}


def compute_metrics(table: Predictions, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics by their names in `results.json`, `[...]` each for `weight [..., n]`.

    Of the network `pehe` and `ate_error` where the truth is known, `factual_rmse`, `pehe_matched`, `policy_value`,
    `qini`, `ate` (the mean predicted effect) and `ate_doubly_robust`, and `NAME_METHOD` of each baseline. Of no model
    `difference` (of the groups' mean outcomes), `ate_weighted` (the same with weights), `value_if_none` and
    `value_if_all` (mean outcomes without and with treatment of all patients), and `ate_true`.
    """
    weight, out = np.ones(len(table.outcome)) if weight is None else np.asarray(weight), {}
    treatment, outcome, inverse = table.treatment, table.outcome, table.inverse
    for method, predicted in table.predicted.items():
        effect = table.effect(method)
        found = {}
        if table.truth is not None:
            found |= {'pehe': metrics_treatment.pehe(effect, table.truth, weight),
                      'ate_error': np.abs(weighted_mean(effect - table.truth, weight))}
        curve = metrics_treatment.uplift_curve(effect, outcome, treatment, inverse, weight)
        found |= {'factual_rmse': metrics_treatment.factual_rmse(predicted, outcome, treatment, weight),
                  'pehe_matched': metrics_treatment.pehe(effect, table.matched, weight),
                  'policy_value': metrics_treatment.policy_value(effect, outcome, treatment, inverse, weight),
                  'qini': metrics_treatment.qini(*curve), 'ate': weighted_mean(effect, weight),
                  'ate_doubly_robust': metrics_treatment.doubly_robust_effect(
                      predicted, outcome, treatment, inverse, weight)}
        out |= {metric_key(name, method): value for name, value in found.items()}
    unweighted, weighted = ([weighted_mean(outcome, weight * w * (treatment == given)) for given in (0, 1)]
                            for w in (np.ones(len(outcome)), inverse))
    out |= {'difference': unweighted[1] - unweighted[0], 'ate_weighted': weighted[1] - weighted[0],
            'value_if_none': weighted[0], 'value_if_all': weighted[1]}
    return out if table.truth is None else out | {'ate_true': weighted_mean(table.truth, weight)}


def metric_key(name: str, method: str = '') -> str:
    """The name of a method's metric in `results.json`."""
    return f'{name}_{method}' if method else name


def summarise(rows: Sequence[Row], training: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics and the analysis of a predictions table.

    Args:
      rows: as for `table.read`, each with its `split`.
      training: balance and overlap of the training groups: `balance`, `overlap`, `counts` and `effective` of the
        evaluator's `groups`.

    Returns:
      `metrics`: {split: {name: entry}}, `compute_metrics` as of `intervals.entry`; `training`; and `warnings`, lines.

    Raises:
      InputError: as for `table.read`, or there is no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected at least one')
    out: dict[str, Any] = {'metrics': {}, 'training': dict(training), 'warnings': _warnings(training)}
    for split, part in per_patient.rows_by_split(rows).items():
        table = read(part)
        out['metrics'][split] = entries(table)
    out['warnings'] += per_patient.missing_test(out['metrics'])
    return out


def entries(table: Predictions) -> dict[str, Any]:
    """`compute_metrics` with confidence intervals, as of `intervals.entry`.

    The interval of an ATE error is that of the difference with its sign, which is not cut off at 0.

    Args:
      table: the patients.
    """
    values, samples = compute_metrics(table), compute_metrics(table, intervals.left_out(table.patients))
    out = {name: intervals.entry(float(value), samples[name], table.patients, _reason(name), name)
           for name, value in values.items()}
    for name, entry in out.items():
        if name.startswith('ate_error') and entry['ci95']:
            of = name.replace('ate_error', 'ate')
            difference = intervals.entry(float(values[of] - values['ate_true']), samples[of] - samples['ate_true'],
                                         table.patients, '')
            entry['ci95'] = _magnitudes(*difference['ci95'])
    return out


def over_realisations(tables: Mapping[str, Sequence[Row]]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """Runs on several realisations of a simulation as one result: means, with intervals over the realisations.

    Args:
      tables: for each run the rows of its predictions table.

    Returns:
      {part: {name: entry}} as of `per_patient.summarise`, for the part 'test' and, where all runs predicted training
      and validation cases, 'within', which is both together; and a row with the metrics for each run and part.

    Raises:
      InputError: as for `table.read`, or a run has no test cases.
    """
    by_part: dict[str, list[dict[str, Any]]] = {}
    for name, rows in tables.items():
        splits = per_patient.rows_by_split(rows)
        parts = {'test': splits.get('test', ())}
        if all(split in splits for split in WITHIN):
            parts['within'] = [row for split in WITHIN for row in splits[split]]
        if not parts['test']:
            raise InputError(f'{name}: no test cases in predictions.csv; expected some')
        for part, cases in parts.items():
            metrics = {key: float(value) for key, value in compute_metrics(read(cases)).items()}
            by_part.setdefault(part, []).append({'split': part, 'id': name, 'realisation': name, **metrics})
    by_part = {part: rows for part, rows in by_part.items() if len(rows) == len(tables)}
    found = {}
    for part, rows in by_part.items():
        names = [name for name in rows[0] if name not in ('split', 'id', 'realisation')]
        found[part] = per_patient.summarise(rows, names, 'realisation')
    return found, [row for rows in by_part.values() for row in rows]


def _magnitudes(low: float, high: float) -> list[float]:
    """The interval of the absolute values of the numbers in an interval."""
    ends = sorted((abs(low), abs(high)))
    return [0.0, ends[1]] if low <= 0 <= high else ends


def _reason(name: str) -> str:
    """Why a metric may be undefined."""
    return next((words for stem, words in UNDEFINED.items() if name.startswith(stem)), 'no case')


def _warnings(training: Mapping[str, Any]) -> list[str]:
    unbalanced = [name for name, (_, weighted) in training['balance'].items() if not abs(weighted) < UNBALANCED]
    lines = []
    if unbalanced:
        names = ', '.join(unbalanced[:6]) + (', …' if len(unbalanced) > 6 else '')
        lines.append(f'covariate imbalance: after weighting by the inverse propensity the groups differ by more than '
                     f'{UNBALANCED} standard deviations in {names}; there predicted effects depend on the form of the '
                     'model')
    for name, count in training['counts'].items():
        effective = training['effective'][name]
        if effective < FEW_EFFECTIVE * count:
            lines.append(f'{name}: the effective sample size of the {count} training patients is {effective:.0f}: the '
                         'weights of few patients dominate')
    return lines
