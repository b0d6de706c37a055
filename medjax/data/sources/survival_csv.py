"""A survival cohort from a CSV table: a row for each patient, with a time, an event and covariates.

    id,time,event,age,stage,sex,split
    p01,14.2,1,63,II,f,train

Numeric columns are covariates as they are. A categorical column becomes a column of 0 and 1 for each category; see
`data.covariates`.
"""

import functools
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from medjax.data import covariates as encoding
from medjax.data.covariates import CovariateOptions, Encoding, Row
from medjax.data.io import data_paths, image_files
from medjax.data.io.dates import check_durations
from medjax.data.io.geometry import Image
from medjax.data.io.tables import (
    check_columns,
    check_near_names,
    check_unique,
    code,
    filled,
    parse_number,
    read_table,
)
from medjax.data.source import Case, Outcome, Source, data_dir
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError

RESERVED = ('id', 'patient', 'split')
CENSORED = ('0', 'false', 'censored')


def source(*, table: str, dir: str = '', time: str = 'time', event: str = 'event', events: Sequence[str] = ('event',),
           event_values: Sequence[str | int] = ('1',), covariates: Sequence[str] = (),
           extra_columns: Sequence[str] = (), image: str = '', unit: str = '',
           options: CovariateOptions = CovariateOptions(),
           splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A survival source from a table of patients.

    Args:
      table: a CSV file within dir; the columns id, patient and split are optional.
      dir: its folder; see `data_dir`.
      time: the column of the observed time.
      event: the column of the event: one of `event_values`, or 0 or 'censored' for a censored patient. Where no patient
        has such a value, empty cells are censored patients.
      events: names; several are competing events.
      event_values: the value of the event column for each event.
      covariates: columns; by default all others except `extra_columns`, columns without a name and numbers of the rows.
      extra_columns: that only go to the predictions table, such as those of subgroups.
      image: the column with the path of a patient's image within dir; '' for none.
      unit: of the times, such as 'months'.
      options: how cells become covariates.
      splitting: how patients are assigned to splits; stratified by event.
      notice: text on the data for the report.

    Raises:
      InputError: a file, column or cell that is not valid.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    if not rows:
        raise InputError(f'{path}: no rows; expected patients')
    codes = event_codes(event_values, events)
    required = [time, event, *extra_columns, *([image] if image else [])]
    check_near_names(path, there, (*RESERVED, *required), covariates)
    check_columns(path, there, [*required, *covariates])
    check_durations(path, time, [row[time] for row in rows], unit)
    for number, row in enumerate(rows, 2):
        row['id'] = filled(row.get('id')) or f'row{number}'
        row['patient'] = filled(row.get('patient')) or row['id']
        if image and not filled(row[image]):
            raise InputError(f'{path}: row {number}: {image} is {row[image]!r}; expected the path of an image')
    check_unique(path, [row['id'] for row in rows])
    blank = blank_is_censored(path, [row[event] for row in rows], event, codes)
    targets = [parse_outcome(row, time, event, codes, f'{path}: row {number}')
               for number, row in enumerate(rows, 2)]
    split = splitting.divide(rows, path, root, strata=[row[event].strip() for row in rows])
    paths = [data_paths.inside(root, row[image].strip(), f'{path}: row {number}: {image}') if image else path
             for number, row in enumerate(rows, 2)]
    table_rows = [Row(number, row, split[row['patient']] == 'train') for number, row in enumerate(rows, 2)]
    names, dropped = list(covariates), {}
    if not names:
        others = [name for name in there if name not in (*RESERVED, *required)]
        names, dropped = encoding.automatic(table_rows, others)
    encoded = encoding.fit(table_rows, names, path, options)
    accepting = encoded.accepting()
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']],
        read=functools.partial(_read, file) if image else None,
        files=image_files.files(file) if image else (str(path),), target=target,
        record=accepting.record(row, f'{path}: row {number}'),
        columns={name: row[name] for name in extra_columns})
        for (number, row, _), target, file in zip(table_rows, targets, paths))
    return Source(cases=cases, classes=tuple(events), problem='survival', least_classes=1, unit=unit, notice=notice,
                  warnings=blank, encoding=encoded.to_json(),
                  summary=f'{path.name}: {encoding.describe(table_rows, encoded, dropped)}')


def _read(path: pathlib.Path) -> tuple[Image, None]:
    return image_files.read(path), None


def read_image_paths(path: pathlib.Path) -> list[pathlib.Path]:
    """The image of each patient in a table, from the column `image`: paths within the table's folder.

    Raises:
      InputError: the column is missing, a cell is empty, or a path is outside of the folder.
    """
    rows, there = read_table(path)
    names = [(row.get('image') or '').strip() for row in rows]
    if '' in names:
        problem = f"row {names.index('') + 2}" if 'image' in there else 'no column image'
        raise InputError(f"{path}: {problem}; expected the path of each patient's image in the column image")
    return [data_paths.inside(path.parent, name, f'{path}: row {number}: image')
            for number, name in enumerate(names, 2)]


def read_covariates(path: pathlib.Path, names: Sequence[str],
                    stored: Mapping[str, Any] | None = None) -> tuple[list[str], list[dict[str, float]]]:
    """Names and covariates of new patients, for a trained network.

    Args:
      path: a CSV table; the column id is optional.
      names: of covariates as in `source`: a column, or COLUMN=CATEGORY.
      stored: the training data's encoding; empty in runs that did not store it.

    Returns:
      Names of the patients, and their covariates.

    Raises:
      InputError: a missing column, a cell that is no number, or a category that no training patient has.
    """
    rows, there = read_table(path)
    if not rows:
        raise InputError(f'{path}: no rows; expected patients')
    encoded = Encoding(**stored).restricted(names) if stored else encoding.encoding_of_names(names, there)
    check_near_names(path, there, ('id',), encoded.categories, patient='')
    check_columns(path, there, list(encoded.categories))
    ids = [filled(row.get('id')) or f'row{number}' for number, row in enumerate(rows, 2)]
    check_unique(path, ids)
    return ids, [encoded.record(row, f'{path}: row {number}') for number, row in enumerate(rows, 2)]


def event_codes(values: Sequence[str | int], events: Sequence[str]) -> tuple[str, ...]:
    """The values of the event column, as `tables.code` gives them.

    Args:
      values: of the config.
      events: names.

    Raises:
      InputError: they are not one for each event.
    """
    codes = tuple(code(str(value)) for value in values)
    if len(codes) != len(events) or len(set(codes)) != len(codes):
        raise InputError(f'{KEYS}.event_values: {tuple(values)}; expected a different one for each of {tuple(events)}')
    return codes


def blank_is_censored(path: object, cells: Sequence[str], event: str, values: Sequence[str]) -> tuple[str, ...]:
    """A line on empty cells of the event column, which stand for censored patients where nothing else does.

    Args:
      path: of the table, for messages.
      cells: of the column.
      event: its name.
      values: of `event_codes`.

    Returns:
      The line, in a tuple; an empty one without empty cells.

    Raises:
      InputError: cells are empty, and others say that a patient is censored.
    """
    blank = [number for number, cell in enumerate(cells, 2) if not cell.strip()]
    censored = [number for number, cell in enumerate(cells, 2)
                if code(cell) not in values and code(cell).lower() in CENSORED]
    if blank and censored:
        raise InputError(f'{path}: row {blank[0]}: {event} is empty, as in {len(blank)} rows, and '
                         f'{cells[censored[0] - 2]!r} in row {censored[0]}; expected a value in each row, or nothing '
                         'for all censored patients')
    return (f'Rows without {event}, which count as censored: {len(blank)}.',) if blank else ()


def parse_outcome(row: Mapping[str, str], time: str, event: str, values: Sequence[str], where: str) -> Outcome:
    """The observed time and event of a row.

    Args:
      row: of the table.
      time: the column of the time.
      event: the column of the event.
      values: of `event_codes`.
      where: the row, for messages.

    Raises:
      InputError: a time that is no number of at least 0, or an unknown event.
    """
    observed = parse_number(row[time])
    if observed is None or observed < 0:
        raise InputError(f'{where}: {time} is {row[time]!r}; expected a number of at least 0')
    return Outcome(observed, parse_event(row[event], values, f'{where}: {event}'))


def parse_event(cell: str, values: Sequence[str], where: str) -> int:
    """The number of the event in a cell, from 1; 0 for a censored patient.

    Args:
      cell: of the event column.
      values: of `event_codes`.
      where: row and column, for messages.

    Raises:
      InputError: an unknown event.
    """
    value = code(cell)
    if value in values:
        return values.index(value) + 1
    if value.lower() not in ('', *CENSORED):
        raise InputError(f'{where} is {cell.strip()!r}; expected one of: {", ".join(values)}, or 0 for a censored '
                         'patient')
    return 0
