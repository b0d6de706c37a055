"""Results of registration: overlap, folding and errors, beside no, affine and B-spline registration."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics.classification import weighted_mean
from medjax.statistics import intervals, per_patient
from medjax.tasks.registration.table import METRICS, Row, Table, column, read

CONVENTIONS = (
    'Dice is a mean over the classes that either image of a pair has, of labels deformed with nearest-neighbour '
    'interpolation on the network\'s grid. It should not be gained by folding: the share of folded cells between '
    'voxels, in percent. A cell is folded where a Jacobian determinant, by differences along the edges of the cell at '
    'one of its corners, is not above 0; central differences miss some of these. The target registration error (TRE) '
    'is the distance of deformed landmarks from their true positions: the mean over the landmarks of a pair, and their '
    '90th percentile. The correlation is the mean squared correlation in windows in which the fixed image '
    'varies; it is 0 for an image without contrast. Inverse consistency is the distance of a voxel from its start '
    'after the deformation and its inverse, where it stays in the image; it is 0 without registration, and '
    'B-splines give no inverse. Seconds are per pair, one at a time on the machine of the evaluation, without '
    'compilation. “Affine” is an affine map found for each pair by the same optimisation. B-splines are those of '
    'SimpleITK after its own affine map, with the correlation in windows; n shows how many of the pairs they were '
    'applied to. A gain is the difference of the run to another method in the same pairs, above 0 where the run is '
    'better. Intervals are t intervals with the standard error of the jackknife over patients, or over pairs where '
    'patients are not known; they do not include '
    'the variability of training. Distances are in mm; of pictures without a pixel size they are in pixels (px).')
GAINS = {'dice': 1, 'tre': -1}  # metrics with gains, and the sign of an improvement
REASONS = {'dice': 'no labels', 'tre': 'no landmarks', 'tre90': 'no landmarks', 'consistency': 'no inverse'}


def results(rows: Sequence[Row], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: overlap, folding and errors of each deformation and of simpler methods.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, what a reader must know of them, and
      `length_unit`, of distances.
    """
    constant = {'problem': 'registration', 'conventions': CONVENTIONS,
                'length_unit': evaluator.data.source.length_unit}
    if not rows:
        return constant
    analysis = summarise(rows)
    return {**analysis.pop('metrics'), **constant, 'analysis': analysis}


def metric_values(table: Table, weight: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """All metrics of some pairs by their names in `results.json`, `[…]` for `weight […, n]`.

    These are METRICS of the run and, as `NAME_METHOD`, of the other methods, and the improvements
    `gain_dice_METHOD` and `gain_tre_METHOD` in the pairs that have both.
    """
    weight = np.ones(len(table.patients)) if weight is None else np.asarray(weight)
    return {name: weighted_mean(np.where(np.isnan(values), 0, values), weight * ~np.isnan(values))
            for name, values in _columns(table).items()}


def summarise(rows: Sequence[Row]) -> dict[str, Any]:
    """Metrics of all splits of a predictions table.

    Args:
      rows: of the table; see `tasks/registration/table.py`.

    Returns:
      `metrics`: {split: {name: entry}}, `metric_values` as of `intervals.entry`, without those of other methods that no
      pair has; and `warnings`, lines.

    Raises:
      InputError: an invalid cell; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    out: dict[str, Any] = {'metrics': {}, 'warnings': []}
    for split, split_rows in per_patient.rows_by_split(rows).items():
        table = read(split_rows)
        samples = metric_values(table, intervals.left_out(table.patients))
        out['metrics'][split] = entries(table, metric_values(table), samples)
        folded = table.values['folded', '']
        if (folded > 0).any():
            out['warnings'].append(f'{split}: {int((folded > 0).sum())} of {len(folded)} deformations fold, at most in '
                                   f'{folded.max():.2g} % of the cells.')
    return out


def entries(table: Table, values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Metrics with confidence intervals as of `intervals.entry`, without those of other methods that no pair has.

    Args:
      table: the pairs.
      values: `[]` by name.
      samples: by name, for each row of `intervals.left_out`.
    """
    columns = _columns(table)
    return {name: intervals.entry(float(value), samples[name], table.patients[~np.isnan(columns[name])],
                                  REASONS.get(name, 'no pair'), name)
            for name, value in values.items() if name in METRICS or not np.isnan(columns[name]).all()}


def _columns(table: Table) -> dict[str, np.ndarray]:
    """`[n]` by the names of `metric_values`."""
    out = {column(metric, method): values for (metric, method), values in table.values.items()}
    for metric, sign in GAINS.items():
        for method in table.methods:
            if method:
                difference = table.values[metric, ''] - table.values[metric, method]
                out[f'gain_{column(metric, method)}'] = sign * difference
    return out
