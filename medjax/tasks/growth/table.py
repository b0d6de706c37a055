"""The predictions table of tumour growth: its columns, written and read.

A row for each case: `split`, `id`, `patient`, the case's columns, `visits`, the number of earlier visits, `horizon` in
days, `volume_last` and `volume_true` in ml, and for each method `dice`, `volume` in ml and `volume_error` in percent of
the true volume: without an ending for the network, and as `dice_BASELINE` for a baseline: 'same' (the last mask), the
laws of `ops.growth_laws`, and 'fisher' (reaction–diffusion).

For each site S where new tumours are predicted `new_S`, whether one arose, `risk_S`, its probability, and in a
simulation `chance_S`, the true probability; empty where it is not known whether one arose.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import UNKNOWN, Case
from medjax.errors import InputError
from medjax.statistics import per_patient

METHODS = {'': 'network', 'same': 'no change', 'exponential': 'exponential', 'logistic': 'logistic',
           'gompertz': 'Gompertz', 'fisher': 'Fisher–KPP'}
METHOD_METRICS = ('dice', 'volume_error')
NEW, RISK, CHANCE = 'new_', 'risk_', 'chance_'  # beginnings of the columns of sites

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Cases of a predictions table as arrays.

    Attributes:
      ids: names of the cases.
      patients: `[n]` int, equal for rows of one patient.
      values: for each of METHOD_METRICS and each method `[n]`, NaN where not defined.
      volume: for each method `[n]`, ml.
      truth: `[n]`, true volume, ml.
      last: `[n]`, volume at the last visit, ml.
      horizon: `[n]`, days.
      new: `[n, K]` int: 1, 0, or -1 where not known.
      risk: `[n, K]`, predicted probability; NaN where not known.
      chance: `[n, K]`, true probability in a simulation; None elsewhere.
      sites: names of the K sites.
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
        """The methods in the table."""
        return list(self.volume)


def method_column(name: str, method: str = '') -> str:
    """The name of a method's column or metric."""
    return f'{name}_{method}' if method else name


def case_row(case: Case, split: str, visits: int, horizon: float, last: float, truth: float) -> dict[str, Any]:
    """The columns of a case that are not predicted: see the module; volumes are in ml."""
    return {'split': split, 'id': case.id, 'patient': case.patient, **case.columns, 'visits': visits,
            'horizon': horizon, 'volume_last': last, 'volume_true': truth}


def method_columns(method: str, dice: float, volume: float, truth: float) -> dict[str, float]:
    """The columns of a method for a case; volumes are in ml."""
    error = float(100 * abs(volume - truth) / truth) if truth else math.nan
    return {method_column('dice', method): float(dice), method_column('volume', method): float(volume),
            method_column('volume_error', method): error}


def site_columns(sites: Sequence[str], new: np.ndarray, risk: np.ndarray,
                 chance: Sequence[float]) -> dict[str, Any]:
    """The columns of sites for a case.

    Args:
      sites: names.
      new: `[K]`, 1, 0 or UNKNOWN.
      risk: `[K]`.
      chance: of the simulation, K or none.
    """
    row = {}
    for k, name in enumerate(sites):
        known, key = new[k] != UNKNOWN, name.replace(' ', '_')
        row |= {NEW + key: int(new[k]) if known else '', RISK + key: float(risk[k]) if known else ''}
        if chance:
            row[CHANCE + key] = float(chance[k]) if known else ''
    return row


def is_averaged(name: str) -> bool:
    """Whether a column is predicted, or a metric of a method, and averaged over runs."""
    return name.startswith(RISK) or name in {method_column(stem, method) for stem in ('volume', *METHOD_METRICS)
                                             for method in METHODS}


def known_sites(rows: Sequence[Row]) -> tuple[np.ndarray, np.ndarray]:
    """Whether a tumour arose, and its predicted probability, at all sites where that is known, `[m]` each."""
    sites = [key.removeprefix(NEW) for key in rows[0] if key.startswith(NEW)]
    pairs = [(row[NEW + site], row[RISK + site]) for row in rows for site in sites if row[NEW + site] != '']
    new, risk = np.array(pairs, np.float64).reshape(-1, 2).T
    return new > 0, risk


def read(rows: Sequence[Row]) -> Predictions:
    """The rows of a predictions table as arrays; cells are text or numbers.

    Args:
      rows: a mapping for each case.

    Raises:
      InputError: a cell is missing or invalid; the message has the case, the column, and what was expected.
    """
    first = rows[0] if rows else {}

    def column(name: str, low: float = -math.inf, high: float = math.inf, empty: bool = False) -> np.ndarray:
        return np.array([_number(row, number, name, low, high, empty) for number, row in enumerate(rows)], np.float64)

    methods = [method for method in METHODS if not method or method_column('dice', method) in first]
    values = {('dice', method): column(method_column('dice', method), 0, 1, True) for method in methods}
    values |= {('volume_error', method): column(method_column('volume_error', method), 0, empty=True)
               for method in methods}
    sites = [key.removeprefix(NEW) for key in first if key.startswith(NEW)]

    def of_sites(stem: str) -> np.ndarray:
        columns = [column(stem + name, 0, 1, True) for name in sites]
        return np.stack(columns, 1) if columns else np.zeros((len(rows), 0))

    new = of_sites(NEW)
    return Predictions(
        tuple(str(row.get('id', number)) for number, row in enumerate(rows)), per_patient.patient_numbers(rows), values,
        {method: column(method_column('volume', method), 0) for method in methods}, column('volume_true', 0),
        column('volume_last', 0), column('horizon', 0), np.where(np.isnan(new), -1, new).astype(int), of_sites(RISK),
        of_sites(CHANCE) if sites and CHANCE + sites[0] in first else None, tuple(sites))


def _number(row: Row, number: int, name: str, low: float, high: float, empty: bool) -> float:
    cell = row.get(name)
    if empty and (cell in ('', None) or cell != cell or cell == 'nan'):
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        expected = 'a number'
        if math.isfinite(low):
            expected += f' from {low:g} to {high:g}' if math.isfinite(high) else f' of {low:g} or more'
        raise InputError(f'predictions, case {row.get("id", number)}: {name}: {cell}; expected {expected}')
    return value
