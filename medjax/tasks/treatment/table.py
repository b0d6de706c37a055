"""The predictions table of treatment effects: its columns, written and read.

A row for each patient: `split`, `id`, `patient`, the case's columns, `treatment` (0 or 1), `outcome`, the predicted
outcomes without and with treatment, `outcome_if_0` and `outcome_if_1`, and of each baseline `outcome_if_0_BASELINE`
and `outcome_if_1_BASELINE`; `propensity`, the estimated probability of treatment; `matched`, the effect by the nearest
training patient of the other group; and `effect`, the true one, where it is simulated.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import Case
from medjax.errors import InputError
from medjax.metrics import treatment as metrics_treatment
from medjax.metrics.covariate_balance import inverse_propensity
from medjax.statistics import per_patient

METHODS = {'': 'network', 'ols': 'OLS', 'ols_by_group': 'OLS by group', 'trees': 'trees by group'}

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Patients of a predictions table as arrays.

    Attributes:
      patients: `[n]` int, equal for rows of one patient.
      treatment: `[n]` int, 0 or 1.
      outcome: `[n]`, observed.
      predicted: for each of METHODS in the table `[n, 2]`, the outcomes without and with treatment.
      inverse: `[n]`, weights by the inverse propensity.
      matched: `[n]`, the effect by the nearest patient of the other group.
      truth: `[n]`, the true effect; None where it is not known.
    """

    patients: np.ndarray
    treatment: np.ndarray
    outcome: np.ndarray
    predicted: Mapping[str, np.ndarray]
    inverse: np.ndarray
    matched: np.ndarray
    truth: np.ndarray | None

    def effect(self, method: str) -> np.ndarray:
        """Predicted effects of a method, `[n]`, rounded so that effects that are equal but for rounding errors tie."""
        scale = max(float(np.abs(self.outcome).max(initial=0)), 1e-12)
        pair = self.predicted[method]
        return np.round((pair[:, 1] - pair[:, 0]) / scale, 9) * scale

    def uplift_curve(self, method: str) -> tuple[np.ndarray, np.ndarray]:
        """Shares of treated patients and the gains of a method; see `metrics.treatment.uplift_curve`."""
        return metrics_treatment.uplift_curve(self.effect(method), self.outcome, self.treatment, self.inverse,
                                              np.ones(len(self.outcome)))


def outcome_column(treatment: int, method: str = '') -> str:
    """The name of the column of a method's predicted outcome without (0) or with (1) treatment."""
    return f'outcome_if_{treatment}_{method}' if method else f'outcome_if_{treatment}'


def case_row(case: Case, split: str, predicted: Mapping[str, np.ndarray], propensity: float,
             matched: float) -> dict[str, Any]:
    """The row of a patient.

    Args:
      case: its target is a `TreatmentOutcome`.
      split: name of the split.
      predicted: for each method `[2]`, the outcomes without and with treatment.
      propensity: the estimated probability of treatment.
      matched: the effect by the nearest patient of the other group.
    """
    row = {'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
           'treatment': case.target.treatment, 'outcome': case.target.outcome}
    for method, pair in predicted.items():
        row |= {outcome_column(given, method): float(pair[given]) for given in (0, 1)}
    row |= {'propensity': float(propensity), 'matched': float(matched)}
    if case.target.effect is not None:
        row['effect'] = case.target.effect
    return row


def read(rows: Sequence[Row]) -> Predictions:
    """The rows of a predictions table as arrays; cells are text or numbers.

    Args:
      rows: a mapping for each patient.

    Raises:
      InputError: a cell is missing or invalid; the message has the case, the column, and what was expected.
    """
    def column(name: str, low: float = -math.inf, high: float = math.inf, expected: str = 'a number') -> np.ndarray:
        return np.array([_number(row, number, name, low, high, expected) for number, row in enumerate(rows)],
                        np.float64)

    first = rows[0] if rows else {}
    predicted = {method: np.stack([column(outcome_column(group, method)) for group in (0, 1)], 1)
                 for method in METHODS if not method or outcome_column(0, method) in first}
    treatment = column('treatment', 0, 1, '0 or 1')
    for number in np.flatnonzero((treatment != 0) & (treatment != 1))[:1]:
        raise InputError(f'predictions, case {rows[number].get("id", number)}: treatment: {treatment[number]:g}; '
                         'expected 0 or 1')
    known = bool(rows) and all(row.get('effect') not in ('', None) for row in rows)
    return Predictions(per_patient.patient_numbers(rows), treatment.astype(int), column('outcome'), predicted,
                       inverse_propensity(treatment, column('propensity', 0, 1, 'a number from 0 to 1')),
                       column('matched'), column('effect') if known else None)


def _number(row: Row, number: int, name: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(row[name])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        raise InputError(f'predictions, case {row.get("id", number)}: {name}: {row.get(name)}; expected {expected}')
    return value
