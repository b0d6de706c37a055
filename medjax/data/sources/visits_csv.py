"""Longitudinal patients from a CSV table: a row for each visit, with measurements and the patient's outcome.

    id,year,bilirubin,albumin,sex,end,dead
    p01,0.0,1.4,3.6,f,5.2,1
    p01,0.5,1.9,,f,5.2,1

Numeric and categorical columns are read as in `survival_csv`. Rows may come in any order.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import Case, Outcome, Series, Source, data_dir, stratum_of
from medjax.data.sources.survival_csv import MISSING, categories, parse_covariates, parse_number, parse_outcome
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError

LAST, LANDMARK = 'last {}', 'landmark'  # covariates of a landmark case: each last measured value, and the time
READ = ('values', 'static', 'patient', 'time', 'end', 'event', 'event_values', 'log', 'per')  # keys of `read_patients`


def source(*, table: str, values: Sequence[str], static: Sequence[str] = (), dir: str = '', patient: str = 'id',
           time: str = 'time', end: str = 'end', event: str = 'event', events: Sequence[str] = ('event',),
           event_values: Sequence[str] = ('1',), log: Sequence[str] = (), landmarks: Sequence[float] = (),
           columns: Sequence[str] = (), unit: str = '', per: float = 1.0,
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A survival or forecasting source from a table of visits.

    With `landmarks` the problem is survival from a landmark on, of the patients under observation then, given all
    earlier measurements (dynamic prediction, van Houwelingen 2007). Training patients give a case at each visit,
    validation and test patients at the landmarks, and each landmark of the test patients is a split of its own, such as
    'test_at_3'. Without landmarks the problem is a forecast along each series, and outcomes count from the first visit.

    Args:
      table: a CSV file within dir.
      values: columns that change from visit to visit.
      static: columns that do not, taken from the first visit.
      dir: its folder; see `data_dir`.
      patient: the column of the patient's name.
      time: the column of the visit's time.
      end: the column of the end of observation, in the same unit and from the same start as `time`.
      event: the column of the event; see `survival_csv.source`.
      events: names; several are competing events.
      event_values: the value of the event column for each event.
      log: those of `values` that are log transformed, such as concentrations.
      landmarks: times.
      columns: that only go to the predictions table.
      unit: of the times, such as 'years'.
      per: time units of the file in one `unit`, such as 365.25 for days; landmarks are in `unit`.
      splitting: how patients are assigned to splits; stratified by event.
      notice: text on the data for the report.

    Raises:
      InputError: a file, column or cell that is not valid; two visits of a patient at one time; a visit after the end,
        as where units are mixed; a patient with two ends.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    if any(not landmark >= 0 for landmark in landmarks):
        raise InputError(f'{KEYS}.landmarks: {tuple(landmarks)}; expected times of at least 0')
    patients, measured = read_patients(path, rows, there, values=values, static=static, patient=patient, time=time,
                                       end=end, event=event, event_values=event_values, log=log, columns=columns,
                                       per=per)
    split = splitting.divide([{'patient': case.id} for case in patients], path, root,
                             strata=[stratum_of(case.target) for case in patients])
    cases = [dataclasses.replace(case, split=split[case.id]) for case in patients]
    if landmarks:
        cases = [landmark_case for case in cases for landmark_case in landmark_cases(case, landmarks, measured)]
    else:
        cases = [dataclasses.replace(case, target=Outcome(case.target.time - case.series.times[0], case.target.event))
                 for case in cases]
    return Source(cases=tuple(cases), classes=tuple(events), problem='survival' if landmarks else 'forecast',
                  least_classes=1, unit=unit, notice=notice, measured=measured)


def read_patients(path: pathlib.Path, rows: Sequence[Mapping[str, str]], there: Sequence[str], *, values: Sequence[str],
                  static: Sequence[str] = (), patient: str = 'id', time: str = 'time', end: str = 'end',
                  event: str = 'event', event_values: Sequence[str] = ('1',), log: Sequence[str] = (),
                  columns: Sequence[str] = (), per: float = 1.0,
                  known: Sequence[str] = ()) -> tuple[list[Case], tuple[str, ...]]:
    """The patients of a table, without a split, and the names of the measured values.

    Args:
      path: of the table, for messages.
      rows: its visits.
      there: its columns.
      values: see `source`, also for static, patient, time, end, event, event_values, log, columns and per.
      static: …
      patient: …
      time: …
      end: …
      event: …
      event_values: …
      log: …
      columns: …
      per: …
      known: names of the covariates and values of the training patients, COLUMN=CATEGORY for categories; by default
        those of this table.
    """
    if not rows or not values:
        raise InputError(f'{path}: {len(rows)} rows, {KEYS}.values: {tuple(values)}; expected visits, and columns')
    check_columns(path, there, (patient, time, end, event, *values, *static, *columns))
    if set(log) - set(values):
        raise InputError(f'{KEYS}.log: {sorted(set(log) - set(values))}; expected some of {tuple(values)}')
    if not 0 < per < math.inf:
        raise InputError(f'{KEYS}.per: {per}; expected above 0')
    if known:
        levels = {name: tuple(one.removeprefix(f'{name}=') for one in known if one.startswith(f'{name}='))
                  for name in (*values, *static)}
    else:
        levels = {name: categories(rows, name, path) for name in (*values, *static)}
    static_levels = {name: levels[name] for name in static}
    value_levels = {name: levels[name] for name in values}
    measured = tuple(f'log {name}' if name in log else name for name in parse_covariates(rows[0], value_levels))
    cases = []
    for name, visits in _visits(path, rows, there, patient, time).items():
        outcome = _outcome(path, name, visits, (end, event, time), tuple(event_values))
        measurements = np.array([_measurements(path, number, row, value_levels, log) for _, number, row in visits])
        first = visits[0][2]
        cases.append(Case(id=name, patient=name, split='', read=None, files=(str(path),),
                          target=Outcome(outcome.time / per, outcome.event),
                          record=parse_covariates(first, static_levels),
                          series=Series(np.array([visit[0] for visit in visits]) / per, measurements),
                          columns={column: first[column] for column in columns}))
    return cases, measured


def _visits(path: pathlib.Path, rows: Sequence[Mapping[str, str]], there: Sequence[str], patient: str,
            time: str) -> dict[str, list[tuple[float, int, Mapping[str, str]]]]:
    """The visits of each patient in order of time: time, number of the row, and the row."""
    out: dict[str, list[tuple[float, int, Mapping[str, str]]]] = {}
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        at, name = parse_number(row[time]), row[patient].strip()
        if not name or at is None or not 0 <= at < math.inf:
            raise InputError(f'{path}: row {number}: {patient} {name!r}, {time} {row[time]!r}; expected a name, and a '
                             'number of at least 0')
        out.setdefault(name, []).append((at, number, row))
    return {name: sorted(visits, key=lambda visit: visit[0]) for name, visits in out.items()}


def image_reader(**keys: Any) -> Callable[..., list[Case]]:
    """A function that reads new patients as `source` with the same keys does, one case each, at the last visit.

    Args:
      **keys: those of `source`.

    Returns:
      `(path, known) -> cases`, with the names of the training patients' covariates and values; the table needs no
      columns of the outcome.
    """
    def read(path: pathlib.Path, known: Sequence[str]) -> list[Case]:
        rows, there = read_table(path)
        ends = {keys.get('end', 'end'): '1e300', keys.get('event', 'event'): '0'}
        cases, measured = read_patients(path, [{**row, **ends} for row in rows], [*there, *ends], **{
            name: keys[name] for name in READ if name in keys}, known=known)
        return [landmark_case for case in cases for landmark_case in landmark_cases(
            dataclasses.replace(case, split='new'), case.series.times[-1:].tolist(), measured)]

    return read


def series_until(series: Series, time: float) -> Series:
    """The visits of a series up to a time; without a visit at that time, a row of NaN is added for it."""
    earlier = series.times <= time
    times, values = series.times[earlier], series.values[earlier]
    if times[-1] < time:
        times = np.append(times, time)
        values = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])
    return Series(times, values)


def last_values(series: Series) -> np.ndarray:
    """The last measurement of each value, `[F]`; NaN where there is none."""
    place = np.where(np.isnan(series.values), -1, np.arange(len(series.times))[:, None]).max(0)
    return np.where(place < 0, np.nan, series.values[place, np.arange(len(place))])


def landmark_cases(case: Case, landmarks: Sequence[float], measured: Sequence[str]) -> list[Case]:
    """The cases of a patient at each visit (training) or at each landmark after the first visit and before the end.

    Args:
      case: a patient with the whole series, and an outcome that counts from the start of the series.
      landmarks: times; ignored for training patients.
      measured: names of the series' values.

    Returns:
      Cases whose outcome counts from their time, with the measurements up to then. That time and the last measured
      values are covariates.
    """
    series, end = case.series, case.target.time
    times = series.times if case.split == 'train' else np.array(sorted(landmarks), float)
    out = []
    for time in times[(times >= series.times[0]) & (times < end)].tolist():
        earlier = series_until(series, time)
        latest = {LAST.format(name): value for name, value in zip(measured, last_values(earlier).tolist())}
        out.append(dataclasses.replace(
            case, id=f'{case.id}_at_{time:g}', split=f'test_at_{time:g}' if case.split == 'test' else case.split,
            series=earlier, target=Outcome(end - time, case.target.event),
            record={**case.record, LANDMARK: time, **latest}))
    return out


def _outcome(path: pathlib.Path, patient: str, visits: Sequence[tuple[float, int, Mapping[str, str]]],
             names: tuple[str, str, str], values: tuple[str, ...]) -> Outcome:
    """A patient's outcome, which must be the same in all rows; `names` are the columns of end, event and time."""
    end, event, time = names
    ends = [parse_outcome(row, end, event, values, f'{path}: row {number}') for _, number, row in visits]
    if len(set(ends)) > 1:
        raise InputError(f'{path}: {patient}: {end} and {event} differ from row to row; expected the same for all '
                         'visits')
    for (before, _, _), (at, number, _) in zip(visits, visits[1:]):
        if at == before:
            raise InputError(f'{path}: row {number}: {patient} has two visits at {time} {at:g}; expected one')
    if visits[-1][0] > ends[0].time:
        raise InputError(f'{path}: row {visits[-1][1]}: {patient}: {time} {visits[-1][0]:g} is after {end} '
                         f'{ends[0].time:g}; expected both in one unit from one start')
    return ends[0]


def _measurements(path: pathlib.Path, number: int, row: Mapping[str, str], levels: Mapping[str, tuple[str, ...]],
                  log: Sequence[str]) -> list[float]:
    """The measured values of a row; `levels` are the categories of each column of values."""
    out = []
    for name, column_levels in levels.items():
        for value in parse_covariates(row, {name: column_levels}).values():
            if name in log:
                if value <= 0:
                    raise InputError(f'{path}: row {number}: {name} is {row[name]}; expected more than 0, because '
                                     f'{KEYS}.log takes its logarithm')
                value = math.log(value) if row[name].strip() not in MISSING else math.nan
            out.append(value)
    return out
