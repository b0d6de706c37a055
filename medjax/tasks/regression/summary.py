"""A table of predicted numbers summed up: how near they come, in what order they are, beside simpler models'."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import regression
from medjax.statistics import bootstrap, intervals

CONVENTIONS = (
    'R² is 1 less the mean square error over the variance of what was measured in the same cases: 0 is no better than '
    'their mean, and it may be negative. RMSE, MAE and bias (the mean of predicted less measured) are in the target\'s '
    'unit. Pearson\'s correlation asks for a line of any slope, Spearman\'s for the order alone, equal values sharing '
    'their mean rank. What was not measured counts nowhere. The trees are scikit-learn\'s gradient boosting (500 trees '
    'of depth 5, learning rate 0.05, half of the molecules and a third of the features at a time, chosen in folds of '
    'the training molecules), on Morgan fingerprints (counts, radius 2, 2048 bits, by RDKit), alone or with the '
    'descriptors {descriptors}; they learn from the same training molecules. Intervals are over {of}s (percentile '
    'bootstrap); models are not fitted again.')
METHODS = {'': 'network', 'ensemble': 'mean of the runs', 'trees': 'trees on fingerprints',
           'trees_described': 'trees, with descriptors'}
FIGURES = ('r2', 'rmse', 'mae', 'pearson', 'spearman', 'bias')
WHY = {'r2': 'what was measured does not vary', 'pearson': 'measured or predicted values do not vary',
       'spearman': 'measured or predicted values do not vary'}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Cases in which a target was measured.

    Attributes:
      cases: `[n]`, their places among the rows.
      patients: `[n]` int, the same for rows of one patient.
      measured: `[n]`.
      predicted: `[n]` for each method of METHODS that is there.
      spread: `[n]`, the predicted standard deviation; None where none is told.
    """

    cases: np.ndarray
    patients: np.ndarray
    measured: np.ndarray
    predicted: Mapping[str, np.ndarray]
    spread: np.ndarray | None = None


def results(rows: Sequence[Mapping[str, Any]], evaluator: Any) -> dict[str, Any]:
    """Results of a predictions table: errors and correlations, of the network and of simpler models.

    Args:
      rows: the table, of all evaluated splits; may be empty.
      evaluator: the family's evaluator, with its data set and options.

    Returns:
      For each split its metrics with confidence intervals, `analysis`, and what a reader must know of them.
    """
    source = evaluator.data.source
    known = {'problem': 'regression', 'unit': source.unit, 'conventions': CONVENTIONS.format(
        of=evaluator.data.of, descriptors=', '.join(evaluator.data.described))}
    if not rows:
        return known
    found = summarise(rows, source.classes, of=evaluator.data.of)
    return {**found.pop('metrics'), **known, 'analysis': found}


def read(rows: Sequence[Row], name: str) -> Table:
    """Reads one target from rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping per case: NAME, empty where it was not measured, `predicted_NAME`, the same with the name of
        another method behind an underscore, and at will `spread_NAME`.
      name: of the target.

    Raises:
      InputError: names the case, the column, and what was expected there.
    """
    first = rows[0] if rows else {}
    if rows and name not in first:
        raise InputError(f'predictions: no column {name!r}; expected what was measured')
    cases = np.array([number for number, row in enumerate(rows) if row[name] not in ('', None)], int)
    groups = [row.get('patient') or f'case {row.get("id", number)}' for number, row in enumerate(rows)]
    place = {group: number for number, group in enumerate(dict.fromkeys(groups))}

    def column(key: str) -> np.ndarray:
        return np.array([_number(rows[number], number, key) for number in cases], np.float64)

    ends = {method: f'_{method}' if method else '' for method in METHODS}
    return Table(
        cases, np.array([place[groups[number]] for number in cases], int), column(name),
        {method: column(f'predicted_{name}{end}') for method, end in ends.items()
         if not method or f'predicted_{name}{end}' in first},
        column(f'spread_{name}') if f'spread_{name}' in first else None)


def key_of(figure: str, name: str, method: str, names: Sequence[str]) -> str:
    """A figure's key in `results.json`: 'r2', 'r2_trees'; of several targets 'r2_NAME', 'r2_NAME_trees'."""
    return '_'.join(filter(None, [figure, name if len(names) > 1 else '', method]))


def figures(tables: Mapping[str, Table], draws: Mapping[str, np.ndarray] | None = None) -> dict[str, np.ndarray]:
    """All figures, `[...]`, by their names in `results.json`.

    Args:
      tables: for each target.
      draws: for each target how often each case counts, `[..., n]`.
    """
    names = list(tables)
    return {key_of(figure, name, method, names): value for name, table in tables.items()
            for method, predicted in table.predicted.items() for figure, value in regression.compute_metrics(
                table.measured, predicted, None if draws is None else draws[name]).items()}


def entries(tables: Mapping[str, Table], values: Mapping[str, np.ndarray], samples: Mapping[str, np.ndarray],
            of: str = 'patient') -> dict[str, Any]:
    """Figures with intervals, of `values []` and `samples [resamples]` by name; see `measure.entry`."""
    names, out = list(tables), {}
    for name, table in tables.items():
        for method in table.predicted:
            for figure in FIGURES:
                key = key_of(figure, name, method, names)
                entry = intervals.entry(float(values[key]), samples[key], table.patients, WHY.get(figure, 'no case'))
                out[key] = entry | {'unit': of}
    return out


def summarise(rows: Sequence[Row], names: Sequence[str], *, of: str = 'patient', resamples: int = 2000,
              seed: int = 0) -> dict[str, Any]:
    """Sums a predictions table up.

    Args:
      rows: as for `read`, each with its `split`.
      names: of the targets.
      of: what a case is.
      resamples: bootstrap draws of patients.
      seed: of the draws, the same for all figures.

    Returns:
      `metrics`: {split: {name: entry}}, and `warnings`, lines.

    Raises:
      InputError: as `read`; no row.
    """
    if not rows:
        raise InputError('predictions: no case; expected one at least')
    out: dict[str, Any] = {'metrics': {}, 'warnings': []}
    for split, some in bootstrap.rows_by_split(rows).items():
        tables = {name: read(some, name) for name in names}
        draws = {name: intervals.multiplicities(table.patients, resamples, seed) for name, table in tables.items()}
        out['metrics'][split] = entries(tables, figures(tables), figures(tables, draws), of)
        out['warnings'] += [f'{split}: {name} was measured in {len(table.measured)} of {len(some)} cases'
                            for name, table in tables.items() if len(table.measured) < len(some)]
    if 'test' not in out['metrics']:
        out['warnings'].append('no test cases: no figures on them')
    return out


def _number(row: Row, number: int, column: str) -> float:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f'predictions, case {row.get("id", number)}: {column}: {row.get(column)}; expected a number')
    return value
