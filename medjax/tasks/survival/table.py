"""The predictions table of survival analysis: its columns, written and read.

A row for each case: `split`, `id`, `patient`, the case's columns, `time`, `event` (a name; empty where censored), and
for each event E `risk_E` and `incidence_E_at_T` for each time T of one grid. With a treatment recommendation also
`given` (1 where the case was treated) and `benefit` (the risk without treatment less the risk with it).
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import Case
from medjax.errors import InputError
from medjax.metrics import survival
from medjax.metrics.survival import Curve
from medjax.statistics import intervals, per_patient, scales

RISK, INCIDENCE = 'risk_', 'incidence_'  # beginnings of column names
GIVEN, BENEFIT = 'given', 'benefit'
DIGITS = 6  # decimals of a probability
TOLERANCE = 1e-4  # rounded probabilities may decrease over time, or exceed 1 in their sum, by this much

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Cases of a predictions table as arrays.

    Attributes:
      events: names of the events; with several, each case has the first that occurs.
      ids: names of the cases.
      patients: `[n]` int, equal for cases of one patient.
      time: `[n]`, time of the event or of the last follow-up.
      event: `[n]` int: 0 where censored, else the number of the event, from 1.
      risk: `[n, E]`, higher where the event is expected sooner.
      grid: `[T]`, times above 0, rising.
      incidence: `[n, E, T]`, predicted probability of each event by each time.
    """

    events: tuple[str, ...]
    ids: tuple[str, ...]
    patients: np.ndarray
    time: np.ndarray
    event: np.ndarray
    risk: np.ndarray
    grid: np.ndarray
    incidence: np.ndarray

    def has_event(self, k: int) -> np.ndarray:
        """Whether each case has event `k`, a place in `events`, `[n]` bool."""
        return self.event == k + 1

    def has_other_event(self, k: int) -> np.ndarray:
        """Whether each case has an event other than `k`, `[n]` bool."""
        return (self.event > 0) & ~self.has_event(k)

    def incidence_at(self, k: int, times: np.ndarray) -> np.ndarray:
        """The predicted probability of event `k` by `times [m]`, `[n, m]`.

        Curves are linear between the times of the grid, 0 at time 0, and constant after the last time.
        """
        nodes = np.append(0.0, self.grid)
        values = np.pad(self.incidence[:, k], ((0, 0), (1, 0)))
        place = np.clip(np.searchsorted(nodes, times, 'right') - 1, 0, len(nodes) - 2)
        share = np.clip((times - nodes[place]) / np.diff(nodes)[place], 0.0, 1.0)
        return values[:, place] * (1 - share) + values[:, place + 1] * share

    def event_free(self, k: int, members: np.ndarray) -> Curve:
        """The observed probability of being without event `k` over time, among `members [n]` bool.

        The Kaplan–Meier estimate; with several events one minus the Aalen–Johansen estimate. Its interval is the
        estimate's own, or where patients have several cases that of the jackknife over patients, on the same
        log-log scale.
        """
        def estimate(weight: np.ndarray | None = None) -> Curve:
            if len(self.events) == 1:
                return survival.kaplan_meier(self.time[members], self.has_event(k)[members], weight)
            return survival.aalen_johansen(self.time[members], self.event[members], k + 1, weight).complement()

        curve, patients = estimate(), self.patients[members]
        if len(np.unique(patients)) == len(patients):
            return curve
        count = len(np.unique(patients))
        if count == 1:
            return curve._replace(low=curve.values, high=curve.values)
        error, freedom = intervals.jackknife(estimate(intervals.left_out(patients)).values, count)
        low, high = intervals.limits(curve.values, error, freedom, scales.LOG_LOG)
        return curve._replace(low=low, high=high)


def case_row(case: Case, split: str, events: Sequence[str]) -> dict[str, Any]:
    """The observed columns of a case, whose target is an `Outcome`."""
    event = events[case.target.event - 1] if case.target.event else ''
    return {'split': split, 'id': case.id, 'patient': case.patient, **case.columns, 'time': case.target.time,
            'event': event}


def prediction_columns(events: Sequence[str], times: Sequence[float], risk: np.ndarray,
                       incidence: np.ndarray) -> dict[str, float]:
    """The predicted columns of a case.

    Args:
      events: names.
      times: `[T]`.
      risk: `[E]`.
      incidence: `[E, T]`.
    """
    out = {RISK + name: float(value) for name, value in zip(events, risk)}
    for name, curve in zip(events, incidence):
        out |= {f'{_stem(name)}{time:g}': round(float(value), DIGITS) for time, value in zip(times, curve)}
    return out


def is_averaged(column: str) -> bool:
    """Whether a column is a prediction, which is averaged over runs."""
    return column.startswith((RISK, INCIDENCE, BENEFIT))


def read(rows: Sequence[Row], events: Sequence[str]) -> Predictions:
    """The rows of a predictions table as arrays; cells are text or numbers.

    Args:
      rows: a mapping for each case; a case without `patient` is a patient of its own.
      events: names.

    Raises:
      InputError: a cell is missing or invalid; the message has the case, the column, and what was expected.
    """
    ids = tuple(str(row.get('id', number)) for number, row in enumerate(rows))
    first = rows[0] if rows else {}
    grid = _grid(first, _stem(events[0]))
    columns = [f'{_stem(name)}{text}' for name in events for text in grid]
    shape = len(rows), len(events)
    time = _numbers(rows, ids, ['time'], 0.0, math.inf, 'a time of 0 or more')[:, 0]
    risk = _numbers(rows, ids, [RISK + name for name in events], -math.inf, math.inf, 'a number').reshape(shape)
    incidence = _numbers(rows, ids, columns, 0.0, 1.0, 'a number from 0 to 1').reshape(*shape, len(grid))
    for i, k, t in np.argwhere(np.diff(incidence) < -TOLERANCE)[:1]:
        stem = _stem(events[k])
        raise InputError(f'predictions, case {ids[i]}: {stem}{grid[t + 1]}: {incidence[i, k, t + 1]:g}; expected '
                         f'no less than the {incidence[i, k, t]:g} of {stem}{grid[t]}')
    for i in np.flatnonzero(incidence[..., -1].sum(1) > 1 + TOLERANCE)[:1]:
        raise InputError(f'predictions, case {ids[i]}: the incidences at {grid[-1]} sum to '
                         f'{incidence[i, :, -1].sum():g}; expected at most 1')
    event = np.array([_event(row, case, events) for row, case in zip(rows, ids)], int)
    return Predictions(tuple(events), ids, per_patient.patient_numbers(rows), time, event, risk,
                       np.array([float(text) for text in grid]), np.maximum.accumulate(incidence, -1))


def on_common_grid(tables: Mapping[str, Sequence[Row]], events: Sequence[str]) -> dict[str, list[dict[str, Any]]]:
    """The tables of several runs with the predicted curves at the same times.

    The times are those of all runs, up to the earliest last one; between its own times a curve is linear, so that no
    value changes. Tables that have the same times are returned as they are.

    Args:
      tables: for each run its rows, which may be empty.
      events: names.
    """
    grids = {name: _grid(rows[0], _stem(events[0])) for name, rows in tables.items() if rows}
    if len(set(map(tuple, grids.values()))) < 2:
        return {name: [dict(row) for row in rows] for name, rows in tables.items()}
    last = min(float(grid[-1]) for grid in grids.values())
    times = np.array(sorted({float(text) for grid in grids.values() for text in grid if float(text) <= last}))
    out = {}
    for name, rows in tables.items():
        found = read(rows, events) if rows else None
        out[name] = [{key: cell for key, cell in row.items() if not key.startswith(INCIDENCE)} for row in rows]
        for k, event in enumerate(events if found else ()):
            for row, curve in zip(out[name], found.incidence_at(k, times)):
                row |= {f'{_stem(event)}{time:g}': float(value) for time, value in zip(times, curve)}
    return out


def read_recommendation(rows: Sequence[Row]) -> np.ndarray | None:
    """Whether each case was treated, and its predicted benefit, `[n, 2]`; None where a case has no benefit."""
    pairs = [(per_patient.parse_number(row.get(GIVEN)), per_patient.parse_number(row.get(BENEFIT))) for row in rows]
    return np.array(pairs) if all(benefit == benefit for _, benefit in pairs) else None


def _stem(event: str) -> str:
    return f'{INCIDENCE}{event}_at_'


def _grid(row: Row, stem: str) -> list[str]:
    """The times of the grid, rising, as spelled in the columns of the first row."""
    texts = [key.removeprefix(stem) for key in row if key.startswith(stem)]
    try:
        grid = sorted(texts, key=float)
        times = np.array([float(text) for text in grid])
    except ValueError:
        grid, times = [], np.zeros(0)
    if not len(times) or not (np.diff(times, prepend=0.0) > 0).all() or not np.isfinite(times).all():
        raise InputError(f'predictions: {stem}…: {", ".join(texts) or "no column"}; expected a column for each time of '
                         'a grid of different times above 0')
    return grid


def _numbers(rows: Sequence[Row], ids: Sequence[str], columns: Sequence[str], low: float, high: float,
             expected: str) -> np.ndarray:
    """The cells of some columns, `[n, columns]` float64."""
    cells = [_number(row, case, column, low, high, expected) for row, case in zip(rows, ids) for column in columns]
    return np.array(cells, np.float64).reshape(len(rows), len(columns))


def _number(row: Row, case: str, column: str, low: float, high: float, expected: str) -> float:
    try:
        value = float(row[column])
    except (KeyError, TypeError, ValueError):
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        raise InputError(f'predictions, case {case}: {column}: {row.get(column)}; expected {expected}')
    return value


def _event(row: Row, case: str, events: Sequence[str]) -> int:
    name = row.get('event', '?')
    if name not in (*events, '', None):
        raise InputError(f'predictions, case {case}: event: {name}; expected one of {", ".join(events)}, or nothing '
                         'where censored')
    return events.index(name) + 1 if name else 0
