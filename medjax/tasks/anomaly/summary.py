"""A table of anomaly scores summed up: how well each parts the normal cases from the others."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import classification as scores
from medjax.metrics.classification import weighted_mean
from medjax.statistics import bootstrap, intervals

CONVENTIONS = (
    'A score is the higher the stranger an image is to the network, which has seen normal ones alone. AUROC is the '
    'chance that an anomaly scores higher than a normal case, equal scores counting half; AUPRC is the average '
    'precision with the anomalies as positives, whose share is its value by chance. The score that counts was named in '
    'the config before any anomaly was seen; those beside it are for comparison, and to choose among them by these '
    'figures would be to look at the test. Sensitivity and specificity are at the threshold that 5 % of the normal '
    'validation cases exceed. Voxel by voxel, where there are masks, figures are '
    'means over the cases that show an anomaly: the average precision over a case\'s voxels; Dice above the threshold '
    'that 5 in 1000 voxels of the validation cases exceed; and Dice at each case\'s best threshold, which nobody knows '
    'beforehand. Intervals are over patients (percentile bootstrap), the threshold held fixed.')
REMADE = (
    'No class is an anomaly here: the error is the mean squared error of an image made again, in the intensities that '
    'the network sees; of a masked autoencoder each patch is made from where it was not seen. Means over cases, '
    'intervals over patients (percentile bootstrap).')
PREFIX, VOXEL = 'score_', 'voxel_'
SHARE = 0.95  # of the normal validation cases lie below the threshold
WHY = {'sensitivity': 'no anomaly', 'specificity': 'no normal case'}


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: how well each score separates abnormal from normal cases.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    known = {'problem': 'anomaly', 'conventions': CONVENTIONS if evaluator.normal else REMADE}
    if not rows:
        return known
    found = summarise(rows, evaluator.normal, evaluator.score)
    return {**found.pop('metrics'), **known, 'analysis': found}


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the scores of a table."""
    return [name.removeprefix(PREFIX) for name in (rows[0] if rows else {}) if name.startswith(PREFIX)]


def values(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """A score of all cases, `[n]`.

    Raises:
      InputError: no such column, or one that is no number.
    """
    if rows and name not in columns(rows):
        raise InputError(f'predictions: no column {PREFIX}{name}; expected it among: '
                         + (', '.join(columns(rows)) or 'none'))
    found = np.array([bootstrap.parse_number(row.get(f'{PREFIX}{name}')) for row in rows], float)
    for place in np.flatnonzero(~np.isfinite(found))[:1]:
        raise InputError(f'predictions, case {rows[place]["id"]}: {PREFIX}{name}: {found[place]}; expected a number')
    return found


@dataclasses.dataclass(frozen=True)
class Table:
    """Cases of a split with their scores.

    Attributes:
      patients: `[n]` names.
      positive: `[n]` bool, which ones are anomalies; None where no class is one.
      scores: each `[n]`; the one that counts stands first, under ''.
      told: `[n]` bool, which ones lie above their run's threshold; None where there is none.
      voxels: figures of single cases, each `[n]`, NaN where a case says nothing.
    """

    patients: np.ndarray
    positive: np.ndarray | None
    scores: Mapping[str, np.ndarray]
    told: np.ndarray | None
    voxels: Mapping[str, np.ndarray]


def threshold_of(rows: Sequence[Mapping[str, Any]], normal: str, score: str) -> float | None:
    """What 5 % of the normal validation cases of a table exceed; None where there is no such case."""
    held = [row for row in rows if row['split'] == 'val' and row['target'] == normal]
    return float(np.quantile(values(held, score), SHARE)) if held else None


def read(rows: Sequence[Mapping[str, Any]], normal: str, score: str) -> Table:
    """Rows of one split as arrays; each may have its 'threshold'.

    Raises:
      InputError: a score that is missing or no number.
    """
    names = columns(rows)
    given = {name: values(rows, name) for name in (score, *names)}
    limits = np.array([bootstrap.parse_number(row.get('threshold')) for row in rows], float)
    return Table(
        np.array([row.get('patient') or row['id'] for row in rows]),
        np.array([row['target'] != normal for row in rows]) if normal else None,
        {'': given[score], **{name: given[name] for name in names}} if normal else given,
        None if np.isnan(limits).any() else given[score] > limits,
        {name: np.array([bootstrap.parse_number(row.get(name)) for row in rows], float)
         for name in (rows[0] if rows else {}) if name.startswith(VOXEL)})


def figures(table: Table, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All figures of a table, `[…]` for `draws […, n]`, how often each case counts; see `summarise`."""
    weight = np.ones(len(table.patients)) if draws is None else draws
    out = {}
    for name, given in table.scores.items():
        if table.positive is None:
            out[name] = weighted_mean(given, weight)
            continue
        end = f'_{name}' if name else ''
        out |= {f'{key}{end}': found for key, found in zip(('auroc', 'auprc'), scores.auroc_and_auprc(
            table.positive, given, draws))}
    if table.told is not None and table.positive is not None:
        out['sensitivity'] = weighted_mean(table.told, weight * table.positive)
        out['specificity'] = weighted_mean(~table.told, weight * ~table.positive)
    for name, given in table.voxels.items():
        known = np.isfinite(given)
        if known.any():
            out[name] = weighted_mean(np.where(known, given, 0.0), weight * known)
    return out


def entries(table: Table, found: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Figures with intervals; see `measure.entry`."""
    counted = {name: np.isfinite(given) for name, given in table.voxels.items()}
    return {name: intervals.entry(float(value), samples[name], table.patients[counted.get(name, slice(None))], WHY.get(
        name, 'no anomaly, or no normal case')) for name, value in found.items()}


def summarise(rows: Sequence[Mapping[str, Any]], normal: str, score: str, *, resamples: int = 2000,
              seed: int = 0) -> dict[str, Any]:
    """Sums a table of anomaly scores up.

    Args:
      rows: of a predictions table: `split`, `id`, `patient`, `target` and `score_NAME` for each score.
      normal: the class that is normal; or '', where none is an anomaly.
      score: the name of the one that counts.
      resamples: bootstrap draws.
      seed: of the draws.

    Returns:
      - `metrics`: {split: {name: entry}} as of `measure.entry`: `auroc`, `auprc`, `sensitivity` and `specificity` of
        the score that counts, and `auroc_NAME`, `auprc_NAME` of every one; where none is an anomaly the scores' means,
        by their names; `voxel_…`, means over the cases that have them;
      - `threshold`, of the score that counts, or None without normal validation cases;
      - `normal` and `score`, as they came.
    """
    threshold, metrics = threshold_of(rows, normal, score), {}
    for split, some in bootstrap.rows_by_split(rows).items():
        table = read([{**row, 'threshold': threshold} for row in some], normal, score)
        draws = intervals.multiplicities(table.patients, resamples, seed)
        metrics[split] = entries(table, figures(table), figures(table, draws))
    return {'metrics': metrics, 'threshold': threshold, 'normal': normal, 'score': score}
