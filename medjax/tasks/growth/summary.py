"""A table of predicted growth summed up: how well the next mask and volume are told, against simpler ways."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.classification import auroc_and_auprc, weighted_mean
from medjax.statistics import bootstrap, intervals

CONVENTIONS = (
    'The mask at the next visit is told from two visits or more before it, and when they were. Dice is that of the '
    'mask, on the network\'s grid; one that is empty in truth and prediction says nothing and is left out. The '
    'network\'s volume is the one to be expected, the sum of its voxels\' probabilities. The volume error is the '
    'difference of the volumes as a share of the true one, without its sign; where nothing is left it is '
    'not defined. “No change” takes the last mask that was seen. The laws of growth are fitted to each patient\'s '
    'seen volumes, by gradient and in logarithms; the capacity, which two volumes say nothing of, is the one that fits '
    'the training patients best, their next visits included. Of their volume a mask is made from the last one by its '
    'distance transform, within the head: of equally far voxels those nearest to its middle. Where the tissue and the '
    'masks\' threshold are known, a reaction–diffusion (Fisher–KPP) is fitted to the last two masks and goes on from '
    'the last. A gain is the network\'s figure against the other\'s in the same patients, above 0 where the network is '
    'better: intervals are of these pairs. New tumours are told site by site, of sites that had none when last seen; '
    'the AUROC is over all patients\' sites together, and the Brier score their mean. The chance that the simulation '
    'itself gave has the AUROC that nobody can surpass but by luck. Intervals are over patients (percentile '
    'bootstrap), with all sites of a patient; models are not trained again.')
METHODS = {'': 'network', 'same': 'no change', 'exponential': 'exponential', 'logistic': 'logistic',
           'gompertz': 'Gompertz', 'fisher': 'Fisher–KPP'}
OF_METHOD = ('dice', 'volume_error')
LOWER = ('volume_error',)
WHY = {'auroc_sites': 'new tumours nowhere, or everywhere', 'volume_error': 'nothing is left',
       'gain_volume': 'nothing is left', 'dice': 'truth and prediction are empty'}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Cases as a predictions table has them.

    Attributes:
      ids: names.
      patients: `[n]` int, the same for rows of one patient.
      values: for each figure of OF_METHOD and each method `[n]`, NaN where it is not defined.
      volume: for each method `[n]`, ml.
      truth: `[n]`, ml.
      last: `[n]`, ml, when last seen.
      horizon: `[n]`, days.
      new: `[n, K]`: 1, 0, or -1 where it is not judged.
      risk: `[n, K]`, NaN there.
      chance: the same in a simulation; None where nobody knows.
      sites: names of the K.
    """

    ids: tuple[str, ...]
    patients: np.ndarray
    values: Mapping[tuple[str, str], np.ndarray]
    volume: Mapping[str, np.ndarray]
    truth: np.ndarray
    last: np.ndarray
    horizon: np.ndarray
    new: np.ndarray
    risk: np.ndarray
    chance: np.ndarray | None
    sites: tuple[str, ...]

    @property
    def methods(self) -> list[str]:
        """Those that are there."""
        return list(self.volume)


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: Dice and volume error against baselines, and the risk of new tumours.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    known = {'problem': 'growth', 'unit': evaluator.data.source.unit, 'conventions': CONVENTIONS}
    if not rows:
        return known
    found = summarise(rows)
    return {**found.pop('metrics'), **known, 'analysis': found}


def read(rows: Sequence[Row]) -> Table:
    """Reads rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping per case, as of `tasks.growth.evaluator`.

    Raises:
      InputError: names the case, the column, and what was expected there.
    """
    first = rows[0] if rows else {}

    def column(name: str, low: float = -math.inf, high: float = math.inf, empty: bool = False) -> np.ndarray:
        return np.array([_number(row, number, name, low, high, empty) for number, row in enumerate(rows)], np.float64)

    ends = {method: f'_{method}' if method else '' for method in METHODS if not method or f'dice_{method}' in first}
    values = {('dice', method): column(f'dice{end}', 0, 1, True) for method, end in ends.items()}
    values |= {('volume_error', method): column(f'volume_error{end}', 0, empty=True) for method, end in ends.items()}
    sites = [key[4:] for key in first if key.startswith('new_')]

    def of_sites(stem: str) -> np.ndarray:
        parts = [column(f'{stem}_{name}', 0, 1, True) for name in sites]
        return np.stack(parts, 1) if parts else np.zeros((len(rows), 0))

    new = of_sites('new')
    return Table(tuple(str(row.get('id', number)) for number, row in enumerate(rows)),
                 bootstrap.patient_numbers(rows), values,
                 {method: column(f'volume{end}', 0) for method, end in ends.items()}, column('volume_true', 0),
                 column('volume_last', 0), column('horizon', 0), np.where(np.isnan(new), -1, new).astype(int),
                 of_sites('risk'), of_sites('chance') if sites and f'chance_{sites[0]}' in first else None,
                 tuple(sites))


def figures(table: Table, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All figures of some cases, as `[...]` for `weight [..., n]`, by their names in `results.json`.

    `dice` and `volume_error` (percent) of the network, and `NAME_METHOD` of the other METHODS; `gain_dice_METHOD` and
    `gain_volume_METHOD`, by which the network is better; and where new tumours are told `auroc_sites`, `brier_sites`,
    `auroc_sites_simulation`, of the chance itself, and `new`, the share of sites with one.
    """
    weight = np.ones(len(table.truth)) if weight is None else np.asarray(weight)
    out = {f'{name}_{method}' if method else name: _mean(values, weight)
           for (name, method), values in table.values.items()}
    for name in OF_METHOD:
        own, sign = table.values[name, ''], -1 if name in LOWER else 1
        out |= {f'gain_{name.removesuffix("_error")}_{method}': _mean(sign * (own - table.values[name, method]), weight)
                for method in table.methods if method}
    known = table.new >= 0
    if known.any():
        who, _ = np.nonzero(known)
        new, each = table.new[known] == 1, weight[..., who]
        out |= {'auroc_sites': auroc_and_auprc(new, table.risk[known], each)[0],
                'brier_sites': weighted_mean((table.risk[known] - new)**2, each), 'new': weighted_mean(new.astype(float), each)}
        if table.chance is not None:
            out['auroc_sites_simulation'] = auroc_and_auprc(new, table.chance[known], each)[0]
    return out


def summarise(rows: Sequence[Row], *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Sums a predictions table up.

    Args:
      rows: as for `read`, each with its `split`.
      resamples: bootstrap draws of patients.
      seed: of the draws, the same for all figures.

    Returns:
      `metrics`: {split: {name: entry}}, `figures` as of `measure.entry`; and `warnings`, lines.

    Raises:
      InputError: as `read`; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    out: dict[str, Any] = {'metrics': {}, 'warnings': []}
    for split, some in bootstrap.rows_by_split(rows).items():
        table = read(some)
        draws = intervals.multiplicities(table.patients, resamples, seed)
        values, samples = figures(table), figures(table, draws)
        out['metrics'][split] = {name: intervals.entry(float(value), samples[name], table.patients[_counted(table, name)],
                                                     _why(name)) for name, value in values.items()}
    if 'test' not in out['metrics']:
        out['warnings'].append('no test cases: no figures on them')
    return out


def _counted(table: Table, name: str) -> np.ndarray:
    """The cases that a figure is of, `[n]` bool."""
    if name == 'new' or name.endswith('_sites') or '_sites_' in name:
        return (table.new >= 0).any(1)
    values = table.values['volume_error' if 'volume' in name else 'dice', '']
    return ~np.isnan(values)


def _why(name: str) -> str:
    return next((words for stem, words in WHY.items() if name.startswith(stem)), 'no case')


def _mean(values: np.ndarray, weight: np.ndarray) -> np.ndarray:
    """The mean of the values that are defined."""
    known = ~np.isnan(values)
    return weighted_mean(np.where(known, values, 0), weight * known)


def _number(row: Row, number: int, column: str, low: float, high: float, empty: bool) -> float:
    cell = row.get(column)
    if empty and (cell in ('', None) or cell != cell or cell == 'nan'):
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        most = f' to {high:g}' if math.isfinite(high) else ' or more' if math.isfinite(low) else ''
        raise InputError(f'predictions, case {row.get("id", number)}: {column}: {cell}; expected a number'
                         + f' of {low:g}{most}' * math.isfinite(low))
    return value
