"""The predictions table of forecasting: its columns, written and read.

A row for each patient and visit: `split`, `id`, `patient`, the case's columns, `visit` (from 0), `time` since the first
visit, and `ahead`, the time until the next visit, empty after the last one. For each value V:

    V            as measured at this visit; empty where it was not
    carried_V    the last observation carried forward
    next_V       as measured at the next visit
    forecast_V   the network's forecast of it
    ridge_V      the forecast of ridge regression

Where there is a horizon also `gap`, the time until `ended`, an event, or '' where observation ends; and for each event
E `chance_E`, the network's probability of it within the horizon, and `logistic_E`, that of logistic regression.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.source import Case
from medjax.errors import InputError
from medjax.metrics import survival
from medjax.ops import time_series
from medjax.statistics import per_patient

METHODS = {'': 'network', 'carried': 'carried forward', 'ridge': 'ridge regression'}  # of forecasts
RISK_METHODS = {'': 'network', 'logistic': 'logistic regression'}  # of the probabilities of events
FORECASTS = {'': 'forecast', 'carried': 'carried', 'ridge': 'ridge'}  # beginnings of a method's columns
RISKS = {'': 'chance', 'logistic': 'logistic'}
NEXT = 'next'

Row = Mapping[str, Any]


@dataclasses.dataclass(frozen=True)
class Predictions:
    """Visits of a predictions table as arrays.

    Attributes:
      patients: `[n]` int, equal for visits of one patient.
      time: `[n]`, since the first visit.
      ahead: `[n]`, time until the next visit; NaN where there is none.
      names: of V values.
      current: `[n, V]`, values at this visit; NaN where not measured.
      next: `[n, V]`, values at the next visit; NaN where not measured.
      forecasts: for each of METHODS in the table `[n, V]`.
      events: names of E events; none where there is no horizon.
      occurs: `[n, E]` bool, whether each occurs within the horizon.
      known: `[n, E]` bool, whether that is known.
      gap: `[n]`, time until the event or the end of observation.
      ended: `[n]` int, number of the event from 1, 0 for none.
      risks: for each of RISK_METHODS in the table `[n, E]`, the predicted probability within the horizon.
      horizon: the horizon; 0 for no events.
    """

    patients: np.ndarray
    time: np.ndarray
    ahead: np.ndarray
    names: tuple[str, ...]
    current: np.ndarray
    next: np.ndarray
    forecasts: Mapping[str, np.ndarray]
    events: tuple[str, ...]
    occurs: np.ndarray
    known: np.ndarray
    gap: np.ndarray
    ended: np.ndarray
    risks: Mapping[str, np.ndarray]
    horizon: float = 0.0

    def event_weight(self, weight: np.ndarray | None = None) -> np.ndarray:
        """`[..., n]`, the weight of each visit in metrics of events; see `metrics.survival.horizon_weights`."""
        return survival.horizon_weights(self.gap, self.ended > 0, self.horizon, weight)


def column(stem: str, name: str) -> str:
    """The name of a column: of a value or an event, after its stem."""
    return f'{stem}_{name}' if stem else name


def visit_row(case: Case, split: str, visit: int) -> dict[str, Any]:
    """The columns of a visit that are not measured or predicted."""
    times = case.series.times - case.series.times[0]
    later = visit + 1 < len(times)
    return {'split': split, 'id': f'{case.id}_{visit}', 'patient': case.patient, **case.columns, 'visit': visit,
            'time': float(times[visit]), 'ahead': float(times[visit + 1] - times[visit]) if later else ''}


def value_columns(names: Sequence[str], stem: str, values: np.ndarray) -> dict[str, Any]:
    """The columns of `values [V]`; empty for NaN."""
    return {column(stem, name): '' if np.isnan(value) else float(value) for name, value in zip(names, values)}


def event_columns(events: Sequence[str], gap: float, ended: int,
                  risks: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """The columns of events.

    Args:
      events: names.
      gap: time until the event or the end of observation.
      ended: number of the event from 1, 0 for none.
      risks: for each of RISK_METHODS `[E]`, the probability of each event within the horizon.
    """
    out: dict[str, Any] = {'gap': gap, 'ended': events[ended - 1] if ended else ''}
    for k, name in enumerate(events):
        out |= {column(RISKS[method], name): float(values[k]) for method, values in risks.items()}
    return out


def is_averaged(name: str) -> bool:
    """Whether a column is a prediction of the network, which is averaged over runs."""
    return name.startswith((f'{FORECASTS[""]}_', f'{RISKS[""]}_'))


def event_numbers(rows: Sequence[Row], events: Sequence[str]) -> np.ndarray:
    """The number of the event that ended each row's observation, from 1, 0 for none, `[n]` int."""
    return np.array([events.index(row['ended']) + 1 if row['ended'] else 0 for row in rows], int)


def read(rows: Sequence[Row], names: Sequence[str], events: Sequence[str], horizon: float) -> Predictions:
    """The rows of a predictions table as arrays; cells are text or numbers.

    Args:
      rows: a mapping for each visit.
      names: of the values.
      events: names of the events.
      horizon: the horizon, in the source's unit of time; 0 for no events.

    Raises:
      InputError: a cell is missing or invalid; the message has the case, the column, and what was expected.
    """
    first, events = rows[0] if rows else {}, tuple(events) if horizon else ()

    def cells(name: str, *, empty: bool = False, low: float = -math.inf, high: float = math.inf) -> np.ndarray:
        return np.array([_number(row, number, name, empty, low, high) for number, row in enumerate(rows)], np.float64)

    def columns(stem: str, names: Sequence[str], **options: Any) -> np.ndarray:
        if not names:
            return np.zeros((len(rows), 0))
        return np.stack([cells(column(stem, name), **options) for name in names], 1)

    gap, ended = np.zeros(len(rows)), np.zeros(len(rows), int)
    if events:
        gap = cells('gap', low=0)
        for number, row in enumerate(rows):
            if row.get('ended') not in ('', *events):
                raise InputError(f'predictions, case {row.get("id", number)}: ended: {row.get("ended")!r}; expected '
                                 f'nothing or one of: {", ".join(events)}')
        ended = event_numbers(rows, events)
    occurs, known = time_series.events_within(gap, ended, horizon, len(events))
    table = Predictions(
        per_patient.patient_numbers(rows), cells('time'), cells('ahead', empty=True), tuple(names),
        columns('', names, empty=True), columns(NEXT, names, empty=True),
        {method: columns(stem, names, empty=True) for method, stem in FORECASTS.items()
         if not method or column(stem, names[0]) in first},
        events, occurs, known, gap, ended,
        {method: columns(stem, events, low=0, high=1) for method, stem in RISKS.items()
         if events and (not method or column(stem, events[0]) in first)}, horizon)
    for method, forecast in table.forecasts.items():
        for number, k in np.argwhere(~np.isnan(table.next) & np.isnan(forecast))[:1]:
            name = column(FORECASTS[method], names[k])
            raise InputError(f'predictions, case {rows[number].get("id", number)}: {name}: nothing; expected a number, '
                             'because the next value was measured')
    return table


def _number(row: Row, number: int, name: str, empty: bool, low: float, high: float) -> float:
    cell = row.get(name)
    if cell == '' and empty:
        return math.nan
    try:
        value = float(cell)
    except (TypeError, ValueError):
        value = math.nan
    if not (low <= value <= high and math.isfinite(value)):
        expected = f'a number from {low:g} to {high:g}' if math.isfinite(high) else 'a number'
        if empty:
            expected += ', or nothing'
        raise InputError(f'predictions, case {row.get("id", number)}: {name}: {cell}; expected {expected}')
    return value
