"""Longitudinal patients from a CSV table: a row for each visit, with measurements and the patient's outcome.

    id,year,bilirubin,albumin,sex,end,dead
    p01,0.0,1.4,3.6,f,5.2,1
    p01,0.5,1.9,,f,5.2,1

Numeric and categorical columns are read as in `survival_csv`. Rows may come in any order. Times are numbers from a
start of each patient, or dates: then they count from the patient's first visit.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.data import covariates as encoding
from medjax.data.covariates import CovariateOptions, Encoding, Row
from medjax.data.io import dates as times_of
from medjax.data.io.tables import check_columns, check_near_names, filled, parse_number, read_table
from medjax.data.source import Case, LeftOut, Outcome, Series, Source, data_dir, stratum_of
from medjax.data.sources.survival_csv import blank_is_censored, event_codes, parse_event
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError
from medjax.options import NonNegative, Positive

LAST, LANDMARK = 'last {}', 'landmark'  # covariates of a landmark case: each last measured value, and the time


class Visit(NamedTuple):
    """A row of the table: its time from the patient's start in the unit of the source, its number, and its cells."""

    time: float
    number: int
    cells: Mapping[str, str]


@dataclasses.dataclass(frozen=True)
class Columns:
    """The meaning of the columns of a table of visits; see `source`."""

    measurements: Sequence[str]
    static: Sequence[str] = ()
    patient: str = 'id'
    time: str = 'time'
    log_transform: Sequence[str] = ()
    unit: str = ''
    time_divisor: float = 1.0
    dates: str = 'iso'


def source(*, table: str, measurements: Sequence[str], static: Sequence[str] = (), dir: str = '', patient: str = 'id',
           time: str = 'time', end: str = 'end', event: str = 'event', events: Sequence[str] = ('event',),
           event_values: Sequence[str | int] = ('1',), log_transform: Sequence[str] = (),
           landmarks: Sequence[NonNegative] = (),
           extra_columns: Sequence[str] = (), unit: str = '', time_divisor: Positive = 1.0, dates: str = 'iso',
           options: CovariateOptions = CovariateOptions(), splitting: Splitting = Splitting(val=0.2, test=0.2),
           notice: str = '') -> Source:
    """A survival or forecasting source from a table of visits.

    With `landmarks` the problem is survival from a landmark on, of the patients under observation then, given all
    earlier measurements (dynamic prediction, van Houwelingen 2007). Training patients give a case at each visit,
    validation and test patients at the landmarks, and each landmark of the test patients is a split of its own, such as
    'test_at_3'. Without landmarks the problem is a forecast along each series, and outcomes count from the first visit.

    Args:
      table: a CSV file within dir.
      measurements: columns that change from visit to visit.
      static: columns that do not, taken from the first visit.
      dir: its folder; see `data_dir`.
      patient: the column of the patient's name.
      time: the column of the visit's time.
      end: the column of the end of observation, in the same unit and from the same start as `time`.
      event: the column of the event; see `survival_csv.source`.
      events: names; several are competing events.
      event_values: the value of the event column for each event.
      log_transform: those of `measurements` that are log transformed, such as concentrations.
      landmarks: times.
      extra_columns: that only go to the predictions table.
      unit: of the times, such as 'years'.
      time_divisor: time units of the file in one `unit`, such as 365.25 for days; landmarks are in `unit`.
      dates: form of the dates where times are such: 'iso' (2024-01-29, or 20240129 as in DICOM), 'dmy' or 'mdy'.
      options: how cells become covariates.
      splitting: how patients are assigned to splits where the table has no column `split`; stratified by event.
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
    meaning = Columns(measurements, static, patient, time, log_transform, unit, time_divisor, dates)
    codes, required = event_codes(event_values, events), (end, event, *extra_columns)
    check_near_names(path, there, ('split', patient, time, end, event), (*required, *measurements, *static), patient='')
    _check(path, rows, there, meaning, required)
    blank = blank_is_censored(path, [row[event] for row in rows], event, codes)
    visits, starts = _visits(path, rows, meaning)
    ends = _ends(path, rows, visits, starts, meaning, end)
    outcomes = {name: _outcome(path, name, own, ends, (end, event, time), codes) for name, own in visits.items()}
    split = splitting.divide([{'patient': filled(row[patient]), 'split': filled(row.get('split'))} for row in rows],
                             path, root, strata=[stratum_of(outcomes[filled(row[patient])]) for row in rows])
    table_rows = [Row(number, row, split[filled(row[patient])] == 'train') for number, row in enumerate(rows, 2)]
    encoded = encoding.fit(table_rows, [*dict.fromkeys((*measurements, *static))], path, options)
    cases = [dataclasses.replace(case, split=split[case.id], target=outcomes[case.id],
                                 columns={name: visits[case.id][0].cells[name] for name in extra_columns})
             for case in _cases(path, visits, meaning, encoded.accepting())]
    measured = _measured(encoded, meaning)
    if landmarks:
        cases = [landmark_case for case in cases for landmark_case in landmark_cases(case, landmarks, measured)]
    else:
        cases = [dataclasses.replace(case, target=Outcome(case.target.time - case.series.times[0], case.target.event))
                 for case in cases]
    gone = len(visits) - len({case.patient for case in cases})
    left_out = (LeftOut('not under observation at any landmark', gone),) if gone else ()
    return Source(cases=tuple(cases), classes=tuple(events), problem='survival' if landmarks else 'forecast',
                  left_out=left_out, least_classes=1, unit=unit, notice=notice, measured=measured, warnings=blank,
                  encoding=encoded.to_json(), summary=f'{path.name}: {encoding.describe(table_rows, encoded, {})}')


def read_patients(path: pathlib.Path, meaning: Columns, encoded: Encoding) -> tuple[list[Case], tuple[str, ...]]:
    """The patients of a table without outcomes, and the names of the measured values.

    Args:
      path: of the table.
      meaning: of its columns.
      encoded: the training data's.
    """
    rows, there = read_table(path)
    _check(path, rows, there, meaning)
    visits, _ = _visits(path, rows, meaning)
    return _cases(path, visits, meaning, encoded), _measured(encoded, meaning)


def _check(path: pathlib.Path, rows: Sequence[Mapping[str, str]], there: Sequence[str], meaning: Columns,
           required: Sequence[str] = ()) -> None:
    """Checks the columns of a table of visits; `required` are those that `meaning` does not name."""
    if not rows or not meaning.measurements:
        raise InputError(f'{path}: {len(rows)} rows, {KEYS}.measurements: {tuple(meaning.measurements)}; expected '
                         'visits, and columns')
    check_columns(path, there, (meaning.patient, meaning.time, *required, *meaning.measurements, *meaning.static))
    unknown = sorted(set(meaning.log_transform) - set(meaning.measurements))
    if unknown:
        raise InputError(f'{KEYS}.log_transform: {unknown}; expected some of {tuple(meaning.measurements)}')
    if not 0 < meaning.time_divisor < math.inf:
        raise InputError(f'{KEYS}.time_divisor: {meaning.time_divisor}; expected above 0')


def _measured(encoded: Encoding, meaning: Columns) -> tuple[str, ...]:
    """The names of the measured values."""
    return tuple(f'log {name}' if name in meaning.log_transform else name
                 for name in encoded.names(meaning.measurements))


def _cases(path: pathlib.Path, visits: Mapping[str, Sequence[Visit]], meaning: Columns,
           encoded: Encoding) -> list[Case]:
    """The patients, without outcome and split."""
    coded = [name for name in meaning.log_transform if encoded.categories[name]]
    if coded:
        raise InputError(f'{path}: {KEYS}.log_transform: {coded[0]!r} has categories; expected a column of numbers')
    return [Case(id=name, patient=name, split='', read=None, files=(str(path),),
                 record=encoded.record(own[0].cells, f'{path}: row {own[0].number}', meaning.static),
                 series=Series(np.array([visit.time for visit in own]),
                               np.array([_measurements(path, visit, meaning, encoded) for visit in own])))
            for name, own in visits.items()]


def _visits(path: pathlib.Path, rows: Sequence[Mapping[str, str]],
            meaning: Columns) -> tuple[dict[str, list[Visit]], dict[str, float] | None]:
    """The visits of each patient in order of time, and the day of the first one; None where times are numbers."""
    unit, cells = meaning.unit, [row[meaning.time] for row in rows]
    names = [filled(row[meaning.patient]) for row in rows]
    if times_of.are_dates(cells[:1]):
        if unit not in times_of.DAYS or meaning.time_divisor != 1:
            raise InputError(f'{path}: {meaning.time} holds dates, {KEYS}.unit: {unit!r}, time_divisor: '
                             f'{meaning.time_divisor}; expected one of {", ".join(times_of.DAYS)}, and 1')
        days = _days(path, meaning.time, cells, meaning)
        starts: dict[str, float] | None = {}
        for name, day in zip(names, days):
            starts[name] = min(day, starts.get(name, day))
        times = [(day - starts[name]) / times_of.DAYS[unit] for name, day in zip(names, days)]
    else:
        times_of.check_durations(path, meaning.time, cells, unit, meaning.time_divisor)
        starts, times = None, [parse_number(cell) for cell in cells]
    out: dict[str, list[Visit]] = {}
    for number, (name, time, row) in enumerate(zip(names, times, rows), 2):
        if not name or time is None or time < 0:
            raise InputError(f'{path}: row {number}: {meaning.patient} {name!r}, {meaning.time} {row[meaning.time]!r}; '
                             'expected a name, and a number of at least 0, or a date')
        out.setdefault(name, []).append(Visit(time / meaning.time_divisor, number, row))
    for name, visits in out.items():
        visits.sort(key=lambda visit: visit.time)
        for before, visit in zip(visits, visits[1:]):
            if visit.time == before.time:
                raise InputError(f'{path}: row {visit.number}: {name} has two visits at {meaning.time} '
                                 f'{visit.cells[meaning.time]}; expected one')
    return out, starts


def image_reader(**keys: Any) -> Callable[..., list[Case]]:
    """A function that reads new patients as `source` with the same keys does, one case each, at the last visit.

    Args:
      **keys: those of `source`.

    Returns:
      `(path, known, stored) -> cases`, with the names of the training patients' covariates and values, and their
      encoding, if the run has it; the table needs no columns of the outcome.
    """
    meaning = Columns(**{field.name: keys[field.name] for field in dataclasses.fields(Columns) if field.name in keys})

    def read(path: pathlib.Path, known: Sequence[str], stored: Mapping[str, Any] | None = None) -> list[Case]:
        names = (*meaning.measurements, *meaning.static)
        encoded = Encoding(**stored) if stored else encoding.encoding_of_names(
            [name for name in known if name in names or name.rpartition('=')[0] in names], names)
        static = [name for name in meaning.static if name in encoded.categories]
        cases, measured = read_patients(path, dataclasses.replace(meaning, static=static), encoded)
        return [landmark_case for case in cases for landmark_case in landmark_cases(
            dataclasses.replace(case, split='new', target=Outcome(math.inf, 0)), case.series.times[-1:].tolist(),
            measured)]

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


def _ends(path: pathlib.Path, rows: Sequence[Mapping[str, str]], visits: Mapping[str, Sequence[Visit]],
          starts: Mapping[str, float] | None, meaning: Columns, end: str) -> dict[int, float]:
    """The end of observation in each row, by the row's number, as times are counted."""
    cells = [row[end] for row in rows]
    if starts is None:
        times_of.check_durations(path, end, cells, meaning.unit, meaning.time_divisor)
        times = [parse_number(cell) for cell in cells]
    else:
        names = {visit.number: name for name, own in visits.items() for visit in own}
        times = [(day - starts[names[number]]) / times_of.DAYS[meaning.unit]
                 for number, day in enumerate(_days(path, end, cells, meaning), 2)]
    out: dict[int, float] = {}
    for number, (value, cell) in enumerate(zip(times, cells), 2):
        if value is None or value < 0:
            raise InputError(f'{path}: row {number}: {end} is {cell!r}; expected a number of at least 0, or a date '
                             f'where {meaning.time} is one')
        out[number] = value / meaning.time_divisor
    return out


def _days(path: pathlib.Path, column: str, cells: Sequence[str], meaning: Columns) -> list[float]:
    """The days that the cells of a column of dates name."""
    where = [f'{path}: row {number}: {column}' for number in range(2, len(cells) + 2)]
    found = times_of.read_times(cells, where, unit=meaning.unit, dates=meaning.dates)
    if found.form == 'number':
        raise InputError(f'{where[0]} is {cells[0]!r}; expected a date, since {meaning.time} holds dates')
    return found.values


def _outcome(path: pathlib.Path, patient: str, visits: Sequence[Visit], ends: Mapping[int, float],
             names: tuple[str, str, str], values: tuple[str, ...]) -> Outcome:
    """A patient's outcome, which must be the same in all rows; `names` are the columns of end, event and time."""
    end, event, time = names
    found = [Outcome(ends[number], parse_event(cells[event], values, f'{path}: row {number}: {event}'))
             for _, number, cells in visits]
    if len(set(found)) > 1:
        raise InputError(f'{path}: {patient}: {end} and {event} differ from row to row; expected the same for all '
                         'visits')
    if visits[-1].time > found[0].time:
        raise InputError(f'{path}: row {visits[-1].number}: {patient}: {time} {visits[-1].cells[time]} is after {end} '
                         f'{visits[-1].cells[end]}; expected both in one unit from one start')
    return found[0]


def _measurements(path: pathlib.Path, visit: Visit, meaning: Columns, encoded: Encoding) -> list[float]:
    """The measured values of a visit."""
    values = encoded.record(visit.cells, f'{path}: row {visit.number}', meaning.measurements)
    for name in meaning.log_transform:
        if values[name] <= 0:
            raise InputError(f'{path}: row {visit.number}: {name} is {visit.cells[name]}; expected more than 0, '
                             f'because {KEYS}.log_transform takes its logarithm')
        values[name] = math.log(values[name])
    return list(values.values())
