"""The predictions table of regression: its columns, written and read.

A row for each case: `split`, `id`, `patient`, the case's columns, and for each target T `T` as measured, empty where it
was not, `predicted_T`, `spread_T`, the predicted standard deviation, where the task has one, and `predicted_T_BASELINE`
for each baseline. A table of several runs also has `predicted_T_ensemble`, the mean prediction of the runs.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import Case
from medjax.errors import InputError
from medjax.statistics import per_patient

ENSEMBLE = 'ensemble'
METHODS = {'': 'network', ENSEMBLE: 'mean of the runs', 'trees': 'trees on fingerprints',
           'trees_described': 'trees, with descriptors'}
OUTPUTS = {'values': 'predicted', 'spread': 'spread'}  # of the task: beginnings of their columns

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Cases of a predictions table in which one target was measured, as arrays.

    Attributes:
      cases: `[n]`, the numbers of their rows.
      patients: `[n]` int, equal for rows of one patient.
      measured: `[n]`.
      predicted: `[n]` for each of METHODS in the table.
      spread: `[n]`, the predicted standard deviation; None where there is none.
    """

    cases: np.ndarray
    patients: np.ndarray
    measured: np.ndarray
    predicted: Mapping[str, np.ndarray]
    spread: np.ndarray | None = None


def predicted_column(target: str, method: str = '') -> str:
    """The name of the column of a method's predictions."""
    return f'predicted_{target}_{method}' if method else f'predicted_{target}'


def case_row(case: Case, split: str, targets: Sequence[str]) -> dict[str, Any]:
    """The observed columns of a case, whose target is `Measurements`."""
    row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns}
    for name, value in zip(targets, case.target.values):
        row[name] = '' if math.isnan(value) else value
    return row


def prediction_columns(targets: Sequence[str], outputs: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The network's columns of a case; `outputs` are the task's, `[K]` each."""
    return {f'{word}_{name}': float(outputs[key][k]) for key, word in OUTPUTS.items() if key in outputs
            for k, name in enumerate(targets)}


def baseline_columns(targets: Sequence[str], predictions: Mapping[str, np.ndarray]) -> dict[str, float]:
    """The baselines' columns of a case; `predictions` are `[K]` by method."""
    return {predicted_column(name, method): float(values[k]) for method, values in predictions.items()
            for k, name in enumerate(targets)}


def averaged_columns(targets: Sequence[str]) -> set[str]:
    """The columns of the network, which are averaged over runs."""
    return {f'{word}_{name}' for name in targets for word in OUTPUTS.values()}


def read(rows: Sequence[Row], target: str) -> Predictions:
    """The rows of a predictions table in which a target was measured, as arrays; cells are text or numbers.

    Args:
      rows: a mapping for each case.
      target: its name.

    Raises:
      InputError: a cell is missing or invalid; the message has the case, the column, and what was expected.
    """
    first = rows[0] if rows else {}
    if rows and target not in first:
        raise InputError(f'predictions: no column {target!r}; expected what was measured there')
    patients = per_patient.patient_numbers(rows)
    cases = np.array([number for number, row in enumerate(rows) if row[target] not in ('', None)], int)
    methods = [method for method in METHODS if not method or predicted_column(target, method) in first]

    def column(name: str) -> np.ndarray:
        return np.array([_number(rows[number], number, name) for number in cases], np.float64)

    spread = f'{OUTPUTS["spread"]}_{target}'
    return Predictions(cases, patients[cases], column(target),
                       {method: column(predicted_column(target, method)) for method in methods},
                       column(spread) if spread in first else None)


def _number(row: Row, number: int, name: str) -> float:
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise InputError(f'predictions, case {row.get("id", number)}: {name}: {row.get(name)}; expected a number')
    return value
