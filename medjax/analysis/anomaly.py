"""A table of anomaly scores summed up: how well each parts the normal cases from the others."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.analysis import bootstrap, measure
from medjax.errors import InputError
from medjax.ops import scores
from medjax.ops.scores import average

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


def columns(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Names of the scores of a table."""
    return [name.removeprefix(PREFIX) for name in (rows[0] if rows else {}) if name.startswith(PREFIX)]


def values(rows: Sequence[Mapping[str, Any]], name: str) -> np.ndarray:
    """A score of all cases, `[n]`.

    Raises:
      InputError: one that is no number.
    """
    found = np.array([bootstrap.number(row.get(f'{PREFIX}{name}')) for row in rows], float)
    for place in np.flatnonzero(~np.isfinite(found))[:1]:
        raise InputError(f'predictions, case {rows[place]["id"]}: {PREFIX}{name}: {found[place]}; expected a number')
    return found


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
        by their names;
      - `threshold`, of the score that counts, or None without normal validation cases;
      - `normal` and `score`, as they came.
    """
    names = columns(rows)
    if score not in names:
        raise InputError(f'predictions: no column {PREFIX}{score}; expected it among: {", ".join(names) or "none"}')
    splits = bootstrap.by_split(rows)
    held = [row for row in splits.get('val', ()) if row['target'] == normal]
    threshold = float(np.quantile(values(held, score), SHARE)) if held else None
    out: dict[str, Any] = {'metrics': {}, 'threshold': threshold, 'normal': normal, 'score': score}
    for split, some in splits.items():
        patients = np.array([row.get('patient') or row['id'] for row in some])
        positive = np.array([row['target'] != normal for row in some])
        draws, found = measure.multiplicities(patients, resamples, seed), {}
        if not normal:
            for name in names:
                given = values(some, name)
                found[name] = [average(given, np.ones(len(given))), average(given, draws.astype(float))]
        for name in (score, *names) if normal else ():
            given, end = values(some, name), f'_{name}' if found else ''
            found |= {f'{key}{end}': pair for key, *pair in zip(
                ('auroc', 'auprc'), scores.ranked(positive, given), scores.ranked(positive, given, draws))}
        if threshold is not None:
            told = values(some, score) > threshold
            for key, right, among in (('sensitivity', told, positive), ('specificity', ~told, ~positive)):
                found[key] = [average(right, among.astype(float)), average(right, draws * among)]
        for name in (name for name in some[0] if name.startswith(VOXEL)):
            given = np.array([bootstrap.number(row.get(name)) for row in some], float)
            known = np.isfinite(given)
            if known.any():
                given = np.where(known, given, 0.0)
                found[name] = [average(given, known.astype(float)), average(given, draws * known)]
        out['metrics'][split] = {name: measure.entry(float(value), samples, patients, WHY.get(
            name, 'no anomaly, or no normal case')) for name, (value, samples) in found.items()}
    return out
