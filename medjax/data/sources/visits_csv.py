"""Patients over time as a CSV table: a row a visit, with what was measured then and how it ended.

    id,year,bilirubin,albumin,sex,end,dead
    p01,0.0,1.4,3.6,f,5.2,1
    p01,0.5,1.9,,f,5.2,1

Numbers and words are read as `cohort` reads them. Rows need not be in order.
"""

import dataclasses
import math
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import Case, Outcome, Series, Source, data_dir
from medjax.data.sources.survival_csv import MISSING, number_of, outcome_of, record_of, words_of
from medjax.data.splits import KEYS, divide
from medjax.errors import InputError

LAST, LANDMARK = 'last {}', 'landmark'  # covariates of a patient who is looked at then: what was measured last, when


def source(*, table: str, values: Sequence[str], static: Sequence[str] = (), dir: str = '', patient: str = 'id',
           time: str = 'time', end: str = 'end', event: str = 'event', events: Sequence[str] = ('event',),
           event_values: Sequence[str] = ('1',), log: Sequence[str] = (), landmarks: Sequence[float] = (),
           columns: Sequence[str] = (), unit: str = '', per: float = 1.0, val: float = 0.2, test: float = 0.2,
           fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '') -> Source:
    """Reads patients over time.

    With `landmarks` it is survival from then on, of those who are still under observation, by all that was known by
    then (dynamic prediction, van Houwelingen 2007): who trains is looked at once at each visit, who validates or tests
    at the landmarks, and each landmark of those who test is a split of its own: 'test_at_3'. Without landmarks it is a
    forecast along each series, whose outcome counts from its first visit.

    Args:
      table: a CSV file within dir.
      values: columns that change from visit to visit.
      static: columns that do not, taken from the first visit.
      dir: its folder; see `data_dir`.
      patient: the column that says whose visit it is.
      time: the column of the visit's time.
      end: the column of when a patient was last seen, in the same unit from the same start.
      event: the column of what ended it; see `cohort.source`.
      events: names; with several they compete.
      event_values: what the column holds for each of them.
      log: those of `values` of which the logarithm is taken, such as concentrations.
      landmarks: times.
      columns: that go to the predictions table alone.
      unit: of the times, such as 'years'.
      per: how many of the file's units that is, such as 365.25 of days; landmarks are in `unit`.
      val: see `splits.split_by_patient`, as for test, fold, folds and split_seed; patients are dealt by what happened.
      test: …
      fold: …
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within dir or absolute.
      notice: what the report must say of the data.

    Raises:
      InputError: a file, column or cell that is not such; two visits of a patient at a time; a visit after the end,
        as where units are mixed; a patient with two ends.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    if any(not at >= 0 for at in landmarks):
        raise InputError(f'{KEYS}.landmarks: {tuple(landmarks)}; expected times of at least 0')
    found, measured = patients(path, rows, there, values=values, static=static, patient=patient, time=time, end=end,
                               event=event, event_values=event_values, log=log, columns=columns, per=per)
    split = divide([{'patient': case.id} for case in found], path, dict(splits or {}),
                   root / split_file if split_file else None, classes=[str(case.target) for case in found], val=val,
                   test=test, fold=fold, folds=folds, seed=split_seed)
    cases = [dataclasses.replace(case, split=split[case.id]) for case in found]
    if landmarks:
        cases = [one for case in cases for one in looked_at(case, landmarks, measured)]
    else:
        cases = [dataclasses.replace(case, target=Outcome(case.target.time - case.series.times[0], case.target.event))
                 for case in cases]
    return Source(cases=tuple(cases), classes=tuple(events), problem='survival' if landmarks else 'forecast',
                  unit=unit, notice=notice, measured=measured)


READ = ('values', 'static', 'patient', 'time', 'end', 'event', 'event_values', 'log', 'per')  # what `patients` asks


def patients(path: pathlib.Path, rows: Sequence[Mapping[str, str]], there: Sequence[str], *, values: Sequence[str],
             static: Sequence[str] = (), patient: str = 'id', time: str = 'time', end: str = 'end',
             event: str = 'event', event_values: Sequence[str] = ('1',), log: Sequence[str] = (),
             columns: Sequence[str] = (), per: float = 1.0,
             known: Sequence[str] = ()) -> tuple[list[Case], tuple[str, ...]]:
    """Patients of a table's rows, of no split yet, and the names of what is measured; see `source`.

    Args:
      path: of the table, for messages.
      rows: its visits.
      there: its columns.
      values: see `source`, as for all others but the last.
      static: …
      patient: …
      time: …
      end: …
      event: …
      event_values: …
      log: …
      columns: …
      per: …
      known: names of what training patients have, COLUMN=WORD for words; by default those of this table.
    """
    if not rows or not values:
        raise InputError(f'{path}: {len(rows)} rows, {KEYS}.values: {tuple(values)}; expected visits, and columns')
    check_columns(path, there, (patient, time, end, event, *values, *static, *columns))
    if set(log) - set(values):
        raise InputError(f'{KEYS}.log: {sorted(set(log) - set(values))}; expected some of {tuple(values)}')
    if not 0 < per < math.inf:
        raise InputError(f'{KEYS}.per: {per}; expected above 0')
    words = {name: tuple(one.removeprefix(f'{name}=') for one in known if one.startswith(f'{name}=')) if known
             else words_of(rows, name, path) for name in (*values, *static)}
    visits: dict[str, list[tuple[float, int, Mapping[str, str]]]] = {}
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        at, who = number_of(row[time]), row[patient].strip()
        if not who or at is None or not 0 <= at < math.inf:
            raise InputError(f'{path}: row {number}: {patient} {who!r}, {time} {row[time]!r}; expected a name, and a '
                             'number of at least 0')
        visits.setdefault(who, []).append((at, number, row))
    cases, measured = [], tuple(f'log {name}' if name in log else name
                                for name in record_of(rows[0], {name: words[name] for name in values}))
    for who, some in visits.items():
        some.sort(key=lambda visit: visit[0])
        outcome = _end(path, who, some, (end, event, time), tuple(event_values))
        outcome = Outcome(outcome.time / per, outcome.event)
        found = np.array([list(_measured(path, number, row, values, words, log)) for _, number, row in some])
        first = some[0][2]
        cases.append(Case(id=who, patient=who, split='', read=None, files=(str(path),), target=outcome,
                          record=record_of(first, {name: words[name] for name in static}),
                          series=Series(np.array([visit[0] for visit in some]) / per, found),
                          columns={name: first[name] for name in columns}))
    return cases, measured


def image_reader(**keys: Any) -> Callable[..., list[Case]]:
    """What reads new patients as `source` with the same keys reads its own: each looked at once, at the last visit.

    Returns:
      `(path, known) -> cases`, with the names of what training patients have; the table needs no columns that say how
      it ended.
    """
    def read(path: pathlib.Path, known: Sequence[str]) -> list[Case]:
        rows, there = read_table(path)
        ends = {keys.get('end', 'end'): '1e300', keys.get('event', 'event'): '0'}
        cases, measured = patients(path, [{**row, **ends} for row in rows], [*there, *ends], **{
            name: keys[name] for name in READ if name in keys}, known=known)
        return [one for case in cases for one in looked_at(
            dataclasses.replace(case, split='new'), case.series.times[-1:].tolist(), measured)]

    return read


def seen_by(series: Series, time: float) -> Series:
    """What was measured by a time, and that nothing was then, where it is no visit's."""
    by = series.times <= time
    times, values = series.times[by], series.values[by]
    if times[-1] < time:
        times = np.append(times, time)
        values = np.concatenate([values, np.full((1, values.shape[1]), np.nan)])
    return Series(times, values)


def last(series: Series) -> np.ndarray:
    """Each value as it was last measured, `[F]`; NaN where it never was."""
    place = np.where(np.isnan(series.values), -1, np.arange(len(series.times))[:, None]).max(0)
    return np.where(place < 0, np.nan, series.values[place, np.arange(len(place))])


def looked_at(case: Case, landmarks: Sequence[float], measured: Sequence[str]) -> list[Case]:
    """A patient at each visit, or at each landmark that finds someone who had a visit and is not at the end.

    Args:
      case: all that is known of the patient, with an outcome that counts from the series' start.
      landmarks: times; who trains is looked at when there was a visit.
      measured: names of the series' values.

    Returns:
      Cases whose outcome counts from that time, each with what was measured by then; that time, and what was measured
      last, are part of the record.
    """
    series, end = case.series, case.target.time
    times = series.times if case.split == 'train' else np.array(sorted(landmarks), float)
    out = []
    for time in times[(times >= series.times[0]) & (times < end)].tolist():
        part = seen_by(series, time)
        latest = {LAST.format(name): value for name, value in zip(measured, last(part).tolist())}
        out.append(dataclasses.replace(
            case, id=f'{case.id}_at_{time:g}', split=f'test_at_{time:g}' if case.split == 'test' else case.split,
            series=part, target=Outcome(end - time, case.target.event),
            record={**case.record, LANDMARK: time, **latest}))
    return out


def _end(path: pathlib.Path, who: str, some: Sequence[tuple[float, int, Mapping[str, str]]],
         names: tuple[str, str, str], values: tuple[str, ...]) -> Outcome:
    end, event, time = names
    ends = [outcome_of(row, end, event, values, f'{path}: row {number}') for _, number, row in some]
    if len(set(ends)) > 1:
        raise InputError(f'{path}: {who}: {end} and {event} differ from row to row; expected the same for all visits')
    for (before, _, _), (at, number, _) in zip(some, some[1:]):
        if at == before:
            raise InputError(f'{path}: row {number}: {who} has two visits at {time} {at:g}; expected one')
    if some[-1][0] > ends[0].time:
        raise InputError(f'{path}: row {some[-1][1]}: {who}: {time} {some[-1][0]:g} is after {end} {ends[0].time:g}; '
                         'expected both in one unit from one start')
    return ends[0]


def _measured(path: pathlib.Path, number: int, row: Mapping[str, str], values: Sequence[str],
              words: Mapping[str, tuple[str, ...]], log: Sequence[str]) -> list[float]:
    out = []
    for name in values:
        for value in record_of(row, {name: words[name]}).values():
            if name in log:
                if value <= 0:
                    raise InputError(f'{path}: row {number}: {name} is {row[name]}; expected more than 0, for '
                                     f'{KEYS}.log takes its logarithm')
                value = math.log(value) if row[name].strip() not in MISSING else math.nan
            out.append(value)
    return out
