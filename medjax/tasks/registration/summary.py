"""A table of registered pairs summed up: overlap, folds and errors, beside no, affine and B-spline registration."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.classification import weighted_mean
from medjax.statistics import bootstrap, intervals

CONVENTIONS = (
    'Dice is a mean over the classes that either image of a pair has, of labels moved by the nearest voxel, on the '
    'network\'s grid. Beside it stands what it must not be bought by: the share of cells between voxels that are '
    'folded, in percent. A cell counts where a Jacobian determinant by differences along its own edges is not above 0 '
    'at one of its corners, which finds folds that central differences miss. The target registration error (TRE) is '
    'how far from where it truly is each known point is taken, in mm: a mean over a pair\'s points, and their 90th '
    'percentile. The correlation is the mean squared one in windows, of those in which the fixed image varies; of an '
    'image without contrast it is 0. Consistency is how far from its start a voxel ends that goes there and by the '
    'inverse back, in mm, where it stays in the image; no registration has 0, and B-splines give no inverse. Seconds '
    'are of one pair at a time on the machine that evaluated, whatever else it did, compiled before. “Affine” is an '
    'affine map sought for each pair by the same optimisation. B-splines are SimpleITK\'s, behind an affine map of its '
    'own, by the correlation in windows; they may have been run on the first pairs of a split only, which n says. A '
    'gain is the run\'s figure against the other\'s in the same pairs, above 0 where the run is better. Intervals are '
    'over patients, or over pairs where each is its own (percentile bootstrap); networks are not trained again.')
METHODS = {'': 'this run', 'none': 'no registration', 'affine': 'affine', 'bspline': 'B-splines (SimpleITK)'}
FIGURES = ('dice', 'folded', 'tre', 'tre90', 'ncc', 'consistency', 'seconds')
GAINS = {'dice': 1, 'tre': -1}
WHY = {'dice': 'no labels', 'tre': 'no known points', 'tre90': 'no known points', 'consistency': 'no inverse'}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Pairs as a predictions table has them.

    Attributes:
      ids: names.
      patients: `[n]` int, the same for rows of one patient.
      values: for each of FIGURES and each method `[n]`, NaN where it is not defined.
    """

    ids: tuple[str, ...]
    patients: np.ndarray
    values: Mapping[tuple[str, str], np.ndarray]

    @property
    def methods(self) -> list[str]:
        """Those that are there."""
        return [method for method in METHODS if ('ncc', method) in self.values]


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: overlap, folding and errors of each deformation, beside no and affine registration.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    known = {'problem': 'registration', 'conventions': CONVENTIONS}
    if not rows:
        return known
    found = summarise(rows)
    return {**found.pop('metrics'), **known, 'analysis': found}


def read(rows: Sequence[Row]) -> Table:
    """Reads rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping per pair, as of `tasks.registration.evaluator`.

    Raises:
      InputError: a cell that is no number of its range, with the case and the column.
    """
    first, values = rows[0] if rows else {}, {}
    for method in METHODS:
        end = f'_{method}' if method else ''
        if f'ncc{end}' in first or not method:
            values |= {(name, method): np.array([_number(row, number, f'{name}{end}')
                                                 for number, row in enumerate(rows)]) for name in FIGURES}
    return Table(tuple(str(row.get('id', number)) for number, row in enumerate(rows)),
                 bootstrap.patient_numbers(rows), values)


def figures(table: Table, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All figures of some pairs, as `[...]` for `weight [..., n]`, by their names in `results.json`.

    FIGURES of the run itself and, as `NAME_METHOD`, of the other METHODS; `gain_dice_METHOD` and `gain_tre_METHOD`, by
    which the run is better in the pairs that have both.
    """
    weight = np.ones(len(table.patients)) if weight is None else np.asarray(weight)
    return {name: weighted_mean(np.where(np.isnan(of), 0, of), weight * ~np.isnan(of))
            for name, of in _columns(table).items()}


def summarise(rows: Sequence[Row], *, resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Sums a predictions table up.

    Args:
      rows: as for `read`, each with its `split`.
      resamples: bootstrap draws of patients.
      seed: of the draws, the same for all figures.

    Returns:
      `metrics`: {split: {name: entry}}, `figures` as of `measure.entry`, without those that no pair has; and
      `warnings`, lines.

    Raises:
      InputError: as `read`; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    out: dict[str, Any] = {'metrics': {}, 'warnings': []}
    for split, some in bootstrap.rows_by_split(rows).items():
        table = read(some)
        draws = intervals.multiplicities(table.patients, resamples, seed)
        values, samples, columns = figures(table), figures(table, draws), _columns(table)
        out['metrics'][split] = {
            name: intervals.entry(float(value), samples[name], table.patients[~np.isnan(columns[name])],
                                WHY.get(name, 'no pair')) for name, value in values.items()
            if name in FIGURES or not np.isnan(columns[name]).all()}
        folds = table.values['folded', '']
        if (folds > 0).any():
            out['warnings'].append(f'{split}: {int((folds > 0).sum())} of {len(folds)} maps fold somewhere, at most in '
                                   f'{folds.max():.2g} % of the cells.')
    return out


def _columns(table: Table) -> dict[str, np.ndarray]:
    """`[n]` by the figures' names."""
    out = {f'{name}_{method}' if method else name: of for (name, method), of in table.values.items()}
    return out | {f'gain_{name}_{method}': sign * (table.values[name, ''] - table.values[name, method])
                  for name, sign in GAINS.items() for method in table.methods if method}


def _number(row: Row, number: int, column: str) -> float:
    cell = row.get(column)
    if cell in ('', None) or cell != cell or cell == 'nan':
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    stem = column.split('_')[0]
    high = {'dice': 1, 'folded': 100, 'ncc': 1}.get(stem, math.inf)
    if not -1e-6 <= value <= high + 1e-6 or not math.isfinite(value):
        raise InputError(f'predictions, case {row.get("id", number)}: {column}: {cell}; expected a number of 0 '
                         + (f'to {high}' if math.isfinite(high) else 'or more'))
    return value
