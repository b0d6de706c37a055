"""Metrics of tumour growth from the predictions table: Dice and volume errors, gains over baselines, new tumours."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.classification import auroc_and_auprc, weighted_mean
from medjax.statistics import intervals, per_patient
from medjax.tasks.growth.family import FAMILY
from medjax.tasks.growth.table import METHOD_METRICS, Predictions, Row, method_column, read

CONVENTIONS = (
    'The mask at the next visit is predicted from the masks and scans of two or more earlier visits and their times. '
    'Dice is computed on the network\'s grid; a case whose true and predicted masks are both empty is left out. The '
    'network\'s volume is the expected one, the sum of the probabilities of the voxels. The volume error is the '
    'absolute difference of the volumes as a percentage of the true one; it is not defined where the tumour has '
    'disappeared. “No change” is the last mask. The growth laws are fitted to each patient\'s earlier volumes, by '
    'gradient descent on their logarithms; the capacity, which two volumes do not determine, is the one that fits the '
    'training patients best, including their next visits. A mask of that volume is grown from the last one by its '
    'distance transform, within the head; of equally distant voxels, those nearest to the centroid are added first. '
    'Where the tissue and the masks\' threshold are known, a reaction–diffusion model (Fisher–KPP) is fitted to the '
    'last two masks and continued from the last one. A gain is the difference between the network and a baseline in '
    'the same patients, positive where the network is better; its interval is that of the paired differences. New '
    'tumours are predicted by site, for sites without a tumour at the last visit; the AUROC is over the sites of all '
    'patients together, and the Brier score is their mean. The true probability of the simulation has the highest '
    'AUROC that a prediction can be expected to reach. Intervals are t intervals over patients with the '
    'standard error of the jackknife, all sites of a patient left out together; models are not trained again.')
UNDEFINED = {'auroc_sites': 'new tumours at no site, or at all', 'volume_error': 'the tumour has disappeared',
             'gain_volume': 'the tumour has disappeared', 'dice': 'true and predicted masks are empty'}


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """The results of a predictions table: Dice and volume error against baselines, and the risk of new tumours.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals; `analysis`, see `summarise`; and `conventions`.
    """
    header = {'problem': 'growth', 'unit': evaluator.data.source.unit, 'conventions': CONVENTIONS}
    if not rows:
        return header
    results = summarise(rows)
    return {**results.pop('metrics'), **header, 'analysis': results}


def compute_metrics(table: Predictions, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics by their names in `results.json`, `[...]` each for `weight [..., n]`.

    These are `dice` and `volume_error` (percent) of the network, and `NAME_METHOD` of each baseline; `gain_dice_METHOD`
    and `gain_volume_METHOD`, the improvement of the network over it; and where new tumours are predicted `auroc_sites`,
    `brier_sites`, `auroc_sites_simulation`, of the true probability, and `new`, the share of sites with a new tumour.
    """
    weight = np.ones(len(table.truth)) if weight is None else np.asarray(weight)
    out = {method_column(name, method): _mean(values, weight) for (name, method), values in table.values.items()}
    for name in METHOD_METRICS:
        sign = -1 if FAMILY.metrics.find(name).better == 'lower' else 1
        for method in table.methods:
            if method:
                gain = sign * (table.values[name, ''] - table.values[name, method])
                out[f'gain_{name.removesuffix("_error")}_{method}'] = _mean(gain, weight)
    known = table.new >= 0
    if known.any():
        case, _ = np.nonzero(known)
        new, risk, weight = table.new[known] == 1, table.risk[known], weight[..., case]
        out |= {'auroc_sites': auroc_and_auprc(new, risk, weight)[0],
                'brier_sites': weighted_mean((risk - new)**2, weight), 'new': weighted_mean(new.astype(float), weight)}
        if table.chance is not None:
            out['auroc_sites_simulation'] = auroc_and_auprc(new, table.chance[known], weight)[0]
    return out


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """The metrics of a predictions table.

    Args:
      rows: as for `table.read`, each with its `split`.

    Returns:
      `metrics`: {split: {name: entry}}, `compute_metrics` as of `intervals.entry`; and `warnings`, lines.

    Raises:
      InputError: as for `table.read`, or there is no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected at least one')
    out: dict[str, Any] = {'metrics': {}, 'warnings': []}
    for split, part in per_patient.rows_by_split(rows).items():
        table = read(part)
        values = compute_metrics(table)
        samples = compute_metrics(table, intervals.left_out(table.patients))
        out['metrics'][split] = entries(table, values, samples)
    out['warnings'] += per_patient.missing_test(out['metrics'])
    return out


def entries(table: Predictions, values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Metrics with confidence intervals as of `intervals.entry`.

    Args:
      table: the cases.
      values: `[]` by name.
      samples: by name, for each row of `intervals.left_out`.
    """
    return {name: intervals.entry(float(value), samples[name], table.patients[counted(table, name)], _reason(name),
                                  name) for name, value in values.items()}


def counted(table: Predictions, name: str) -> np.ndarray:
    """The cases that count for a metric, `[n]` bool."""
    if name == 'new' or name.endswith('_sites') or '_sites_' in name:
        return (table.new >= 0).any(1)
    values = table.values['volume_error' if 'volume' in name else 'dice', '']
    return ~np.isnan(values)


def _reason(name: str) -> str:
    """Why a metric may be undefined."""
    return next((words for stem, words in UNDEFINED.items() if name.startswith(stem)), 'no case')


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The weighted mean of the values that are not NaN."""
    known = ~np.isnan(values)
    return weighted_mean(np.where(known, values, 0), weight * known)
