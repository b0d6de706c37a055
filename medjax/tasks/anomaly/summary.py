"""Results of anomaly detection: how well each score separates anomalies from normal cases, with intervals."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.metrics import classification
from medjax.metrics.classification import weighted_mean
from medjax.statistics import calibration, intervals, per_patient, proportions, ranking
from medjax.tasks.anomaly.table import Table, read, score_values

CONVENTIONS = (
    'The network is trained on normal images alone; a higher score means a more abnormal image. AUROC is the '
    'probability that an anomaly scores higher than a normal case, with ties counted half; AUPRC is the average '
    'precision with the anomalies as positives, and equals their share for a random score. The primary score is fixed '
    'in the config before any anomaly is used; the other scores are shown for comparison, and choosing among them by '
    'these results would be a selection on the test set. Sensitivity and specificity are at the threshold that 5 % of '
    'the normal cases of the split calibrate, or of the validation cases where there is none, exceed. Voxel metrics '
    'need masks and are means over the cases with an anomaly: average precision over the voxels of a case; Dice at the '
    'threshold that 5 in 1000 voxels of these normal cases exceed; and Dice at the best threshold of each case, which '
    'is not known in practice. Sensitivity and specificity have Clopper–Pearson intervals (effective sample size where '
    'patients have several cases), AUROCs DeLong\'s (Obuchowski 1997 where patients have several cases), AUPRCs that '
    'of a proportion of the anomalies (Boyd 2013), others t intervals with the standard error of the jackknife over '
    'patients, with the threshold held fixed.')
RECONSTRUCTION_CONVENTIONS = (
    'No class is an anomaly here: the error is the mean squared error of reconstructed images in the intensities of '
    'the network\'s input; for masked autoencoders each patch is reconstructed while it is hidden. Values are means '
    'over cases, with t intervals by the jackknife over patients.')
QUANTILE = 0.95  # of the primary score of normal held-out cases: the threshold
REASONS = {'sensitivity': 'no anomaly', 'specificity': 'no normal case'}


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: how well each score separates abnormal from normal cases.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    constant = {'problem': 'anomaly', 'conventions': CONVENTIONS if evaluator.normal else RECONSTRUCTION_CONVENTIONS}
    if not rows:
        return constant
    analysis = summarise(rows, evaluator.normal, evaluator.score)
    return {**analysis.pop('metrics'), **constant, 'analysis': analysis}


def summarise(rows: Sequence[Mapping[str, Any]], normal: str, score: str) -> dict[str, Any]:
    """Metrics of all splits of a predictions table.

    Args:
      rows: of the table; see `tasks/anomaly/table.py`.
      normal: name of the normal class; '' where no class is an anomaly.
      score: name of the primary score.

    Returns:
      - `metrics`: {split: {name: entry}} as of `intervals.entry`: `auroc`, `auprc`, `sensitivity` and `specificity` of
        the primary score, and `auroc_NAME`, `auprc_NAME` of every score; without anomalies the means of the scores by
        their names; `voxel_…`, means over the cases that have them;
      - `threshold` of the primary score, or None without normal cases that set it; `threshold_split`, their split;
      - `normal` and `score` as given.
    """
    threshold, metrics = normal_threshold(rows, normal, score), {}
    for split, split_rows in per_patient.rows_by_split(rows).items():
        table = read([{**row, 'threshold': threshold} for row in split_rows], normal, score)
        samples = metric_values(table, intervals.left_out(table.patients))
        metrics[split] = entries(table, metric_values(table), samples)
    return {'metrics': metrics, 'threshold': threshold, 'threshold_split': threshold_split(rows), 'normal': normal,
            'score': score}


def normal_threshold(rows: Sequence[Mapping[str, Any]], normal: str, score: str) -> float | None:
    """The score that 5 % of the normal held-out cases of a table exceed; None where there is no such case."""
    split = threshold_split(rows)
    held_out = [row for row in rows if row['split'] == split and row['target'] == normal]
    return float(np.quantile(score_values(held_out, score), QUANTILE)) if held_out else None


def threshold_split(rows: Sequence[Mapping[str, Any]]) -> str | None:
    """The split of a table whose normal cases set the threshold; None where there is none."""
    return calibration.fitting_split({row['split'] for row in rows})


def metric_values(table: Table, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics of a table; see `summarise`.

    Args:
      table: the cases.
      draws: `[…, n]`, how often each case counts; once by default.

    Returns:
      `[…]` by name.
    """
    return ranking_metrics(table, draws) | other_metrics(table, draws)


def ranking_metrics(table: Table, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Those of `metric_values` that use the order of the scores alone: AUROC and AUPRC; none where none is positive."""
    out: dict[str, np.ndarray] = {}
    for name, values in table.scores.items() if table.positive is not None else ():
        suffix = f'_{name}' if name else ''
        auroc, auprc = classification.auroc_and_auprc(table.positive, values, draws)
        out |= {f'auroc{suffix}': auroc, f'auprc{suffix}': auprc}
    return out


def other_metrics(table: Table, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """Those of `metric_values` that are means over cases."""
    weight = np.ones(len(table.patients)) if draws is None else draws
    out = {}
    if table.positive is None:
        out = {name: weighted_mean(values, weight) for name, values in table.scores.items()}
    elif table.above_threshold is not None:
        out['sensitivity'] = weighted_mean(table.above_threshold, weight * table.positive)
        out['specificity'] = weighted_mean(~table.above_threshold, weight * ~table.positive)
    for name, values in table.voxels.items():
        defined = np.isfinite(values)
        if defined.any():
            out[name] = weighted_mean(np.where(defined, values, 0.0), weight * defined)
    return out


def entries(table: Table, values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Metrics with confidence intervals; see `intervals.entry`.

    Args:
      table: the cases.
      values: of each metric, `[]`.
      samples: of each metric, for each row of `intervals.left_out`.
    """
    out = {}
    for name, value in values.items():
        if name in ('sensitivity', 'specificity'):
            chosen = table.positive == (name == 'sensitivity')
            hits = table.above_threshold[chosen] == (name == 'sensitivity')
            out[name] = proportions.entry(hits, table.patients[chosen], REASONS.get(name, ''), float(value))
            continue
        stem, _, score = name.partition('_')
        if stem in ('auroc', 'auprc') and table.positive is not None:
            area = ranking.area_entries(table.positive, table.scores[score], table.patients)[stem]
            if np.isclose(value, area['value']):  # and not a mean over rounds or folds
                out[name] = area
                continue
        counted = np.isfinite(table.voxels[name]) if name in table.voxels else slice(None)
        reason = REASONS.get(name, 'no anomaly, or no normal case')
        out[name] = intervals.entry(float(value), samples[name], table.patients[counted], reason, name)
    return out
