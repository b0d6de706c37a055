"""Metrics of regression from the predictions table: errors and correlations, of the network and of baselines."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import regression
from medjax.statistics import intervals, per_patient
from medjax.tasks.regression.table import Predictions, Row, read

CONVENTIONS = (
    'R² is one minus the mean squared error divided by the variance of the measured values of the same cases: 0 is no '
    'better than their mean, and it may be negative. RMSE, MAE and bias (the mean of predicted minus measured) are in '
    'the unit of the target. Pearson\'s correlation measures linear association, Spearman\'s the association of '
    'ranks, with mean ranks for equal values. Missing values are left out. The trees are scikit-learn\'s gradient '
    'boosting (500 trees of depth 5, learning rate 0.05, half of the molecules and a third of the features at a time, '
    'chosen by cross-validation on the training molecules), on Morgan fingerprints (counts, radius 2, 2048 bits, by '
    'RDKit), alone or with the descriptors {descriptors}; they are fitted to the same training molecules. Intervals '
    'are t intervals over {unit}s with the standard error of the jackknife; models are not fitted again.')
METRICS = ('r2', 'rmse', 'mae', 'pearson', 'spearman', 'bias')
UNDEFINED = {'r2': 'the measured values do not vary', 'pearson': 'measured or predicted values do not vary',
             'spearman': 'measured or predicted values do not vary'}


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """The results of a predictions table: errors and correlations, of the network and of baselines.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `analysis`, see `summarise`; and `conventions`.
    """
    source = evaluator.data.source
    header = {'problem': 'regression', 'unit': source.unit, 'conventions': CONVENTIONS.format(
        unit=evaluator.data.case_name, descriptors=', '.join(evaluator.data.descriptor_names))}
    if not rows:
        return header
    results = summarise(rows, source.classes, unit=evaluator.data.case_name)
    return {**results.pop('metrics'), **header, 'analysis': results}


def metric_key(metric: str, target: str, method: str, targets: Sequence[str]) -> str:
    """A metric's key in `results.json`: 'r2', 'r2_trees'; with several targets 'r2_TARGET', 'r2_TARGET_trees'."""
    return '_'.join(filter(None, [metric, target if len(targets) > 1 else '', method]))


def compute_metrics(tables: Mapping[str, Predictions],
                    draws: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """All metrics by their names in `results.json`, `[...]` each.

    Args:
      tables: the cases of each target.
      draws: for each target the weight of each case, `[..., n]`.
    """
    targets, out = list(tables), {}
    for target, table in tables.items():
        weight = None if draws is None else draws[target]
        for method, predicted in table.predicted.items():
            for metric, value in regression.compute_metrics(table.measured, predicted, weight).items():
                out[metric_key(metric, target, method, targets)] = value
    return out


def entries(tables: Mapping[str, Predictions], values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray],
            unit: str = 'patient') -> dict[str, Any]:
    """Metrics with confidence intervals as of `intervals.entry`.

    Args:
      tables: the cases of each target.
      values: `[]` by name.
      samples: by name, for each row of `intervals.left_out`.
      unit: what a case is, such as 'molecule'.
    """
    targets, out = list(tables), {}
    for target, table in tables.items():
        for method in table.predicted:
            for metric in METRICS:
                key, reason = metric_key(metric, target, method, targets), UNDEFINED.get(metric, 'no case')
                entry = intervals.entry(float(values[key]), samples[key], table.patients, reason, metric)
                out[key] = entry | {'unit': unit}
    return out


def summarise(rows: Sequence[Row], targets: Sequence[str], *, unit: str = 'patient') -> dict[str, Any]:
    """The metrics of a predictions table.

    Args:
      rows: as for `table.read`, each with its `split`.
      targets: names.
      unit: what a case is, such as 'molecule'.

    Returns:
      `metrics`: {split: {name: entry}}, and `warnings`, lines.

    Raises:
      InputError: as for `table.read`, or there is no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected at least one')
    out: dict[str, Any] = {'metrics': {}, 'warnings': []}
    for split, part in per_patient.rows_by_split(rows).items():
        tables = {target: read(part, target) for target in targets}
        without = {target: intervals.left_out(table.patients) for target, table in tables.items()}
        out['metrics'][split] = entries(tables, compute_metrics(tables), compute_metrics(tables, without), unit)
        out['warnings'] += [f'{split}: {target} was measured in {len(table.measured)} of {len(part)} cases'
                            for target, table in tables.items() if len(table.measured) < len(part)]
    out['warnings'] += per_patient.missing_test(out['metrics'])
    return out
