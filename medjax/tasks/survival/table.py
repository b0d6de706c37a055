"""A survival model's predictions table as arrays: times, events, predicted risks and curves."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import survival
from medjax.metrics.survival import Curve

TOLERANCE = 1e-4  # by which rounded probabilities may fall over time, or exceed 1 in their sum

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Table:
    """Cases as a predictions table has them.

    Attributes:
      events: their names; of several, each case has the first that happens to it.
      ids: the cases' names.
      patients: `[n]` int, the same for cases of one patient.
      time: `[n]` of the event or of the last follow-up.
      event: `[n]` int: 0 where censored, k of the k-th event.
      risk: `[n, E]`, higher where the event is sooner.
      grid: `[T]` times above 0, rising.
      incidence: `[n, E, T]`, the predicted probability of each event by each time.
    """

    events: tuple[str, ...]
    ids: tuple[str, ...]
    patients: np.ndarray
    time: np.ndarray
    event: np.ndarray
    risk: np.ndarray
    grid: np.ndarray
    incidence: np.ndarray

    def has(self, k: int) -> np.ndarray:
        """`[n]` bool: who has the event of that place among `events`."""
        return self.event == k + 1

    def other(self, k: int) -> np.ndarray:
        """`[n]` bool: who has another event."""
        return (self.event > 0) & ~self.has(k)

    def incidence_at(self, k: int, times: np.ndarray) -> np.ndarray:
        """`[n, m]`: the predicted probability of an event by `times [m]`; linear between the grid's, level after."""
        nodes = np.append(0.0, self.grid)
        values = np.pad(self.incidence[:, k], ((0, 0), (1, 0)))
        place = np.clip(np.searchsorted(nodes, times, 'right') - 1, 0, len(nodes) - 2)
        share = np.clip((times - nodes[place]) / np.diff(nodes)[place], 0.0, 1.0)
        return values[:, place] * (1 - share) + values[:, place + 1] * share

    def observed(self, k: int, chosen: np.ndarray) -> Curve:
        """Of `chosen [n]` bool, the estimated share without an event over time.

        Kaplan–Meier's; with several events one less Aalen–Johansen's estimate.
        """
        if len(self.events) == 1:
            return survival.kaplan_meier(self.time[chosen], self.has(k)[chosen])
        return survival.aalen_johansen(self.time[chosen], self.event[chosen], k + 1).complement()


def read(rows: Sequence[Row], events: Sequence[str]) -> Table:
    """Reads rows of a predictions table; cells are text or numbers.

    Args:
      rows: a mapping per case: `id`, `patient` (a case without it stands for itself), `time`, `event` (a name, or empty
        where censored), and for each event E `risk_E` and `incidence_E_at_T` for each T of one grid.
      events: names.

    Raises:
      InputError: names the case, the column, and what was expected there.
    """
    ids = tuple(str(row.get('id', number)) for number, row in enumerate(rows))
    patients = [row.get('patient') or f'case {name}' for row, name in zip(rows, ids)]
    numbers = {name: number for number, name in enumerate(dict.fromkeys(patients))}
    stems = [f'incidence_{name}_at_' for name in events]
    grid = _grid(rows[0] if rows else {}, stems)
    columns = [(stem, [f'{stem}{text}' for text in grid]) for stem in stems]
    shape, times = (len(rows), len(events)), np.array([float(text) for text in grid])
    time = np.array([_number(row, case, 'time', 0.0, math.inf, 'a time of 0 or more')
                     for row, case in zip(rows, ids)], np.float64)
    risk = np.array([[_number(row, case, f'risk_{name}', -math.inf, math.inf, 'a number') for name in events]
                     for row, case in zip(rows, ids)], np.float64).reshape(shape)
    incidence = np.array([[[_number(row, case, column, 0.0, 1.0, 'a number from 0 to 1') for column in names]
                           for _, names in columns] for row, case in zip(rows, ids)], np.float64)
    incidence = incidence.reshape(*shape, len(grid))
    for i, k, t in np.argwhere(np.diff(incidence) < -TOLERANCE)[:1]:
        raise InputError(f'predictions, case {ids[i]}: {columns[k][1][t + 1]}: {incidence[i, k, t + 1]:g}; expected '
                         f'no less than the {incidence[i, k, t]:g} of {columns[k][1][t]}')
    for i in np.flatnonzero(incidence[..., -1].sum(1) > 1 + TOLERANCE)[:1]:
        raise InputError(f'predictions, case {ids[i]}: the incidences at {grid[-1]} sum to '
                         f'{incidence[i, :, -1].sum():g}; expected 1 at most')
    event = np.array([_event(row, case, events) for row, case in zip(rows, ids)], int)
    return Table(tuple(events), ids, np.array([numbers[name] for name in patients], int), time, event, risk, times,
                 np.maximum.accumulate(incidence, -1))


def _grid(row: Row, stems: Sequence[str]) -> list[str]:
    """The times of the grid, rising, as the first row's columns spell them."""
    texts = [key.removeprefix(stems[0]) for key in row if key.startswith(stems[0])]
    try:
        grid = sorted(texts, key=float)
        times = np.array([float(text) for text in grid])
    except ValueError:
        grid, times = [], np.zeros(0)
    if not len(times) or not (np.diff(times, prepend=0.0) > 0).all() or not np.isfinite(times).all():
        raise InputError(f'predictions: {stems[0]}…: {", ".join(texts) or "no column"}; expected a column for each '
                         'time of a grid above 0, each time once')
    return grid


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
                         'where it is censored')
    return events.index(name) + 1 if name else 0
