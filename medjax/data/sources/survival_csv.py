"""A survival cohort from a CSV table: a row for each patient, with a time, an event and covariates.

    id,time,event,age,stage,sex,split
    p01,14.2,1,63,II,f,train

Numeric columns are covariates as they are. A categorical column becomes a column of 0 and 1 for each category. '' and
'NA' are missing values.
"""

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence

from medjax.data.io import data_paths, image_files
from medjax.data.io.geometry import Image
from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import Case, Outcome, Source, data_dir
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError

RESERVED = ('id', 'patient', 'split')
MOST = 20  # categories of a covariate
MISSING = ('', 'NA')
CENSORED = ('', '0', '0.0', 'false', 'censored')


def source(*, table: str, dir: str = '', time: str = 'time', event: str = 'event', events: Sequence[str] = ('event',),
           values: Sequence[str] = ('1',), covariates: Sequence[str] = (), columns: Sequence[str] = (), image: str = '',
           unit: str = '', splitting: Splitting = Splitting(val=0.2, test=0.2), notice: str = '') -> Source:
    """A survival source from a table of patients.

    Args:
      table: a CSV file within dir; the columns id, patient and split are optional.
      dir: its folder; see `data_dir`.
      time: the column of the observed time.
      event: the column of the event: one of `values`, or empty, 0 or 'censored' for a censored patient.
      events: names; several are competing events.
      values: the value of the event column for each event.
      covariates: columns; by default all others except `columns`.
      columns: that only go to the predictions table, such as those of subgroups.
      image: the column with the path of a patient's image within dir; '' for none.
      unit: of the times, such as 'months'.
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
    if len(values) != len(events) or len(set(values)) != len(values):
        raise InputError(f'{KEYS}.values: {tuple(values)}; expected a different one for each of {tuple(events)}')
    names = tuple(covariates) or tuple(name for name in there if name not in (*RESERVED, time, event, image, *columns))
    required = [time, event, *names, *columns]
    if image:
        required.append(image)
    check_columns(path, there, required)
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        row['id'] = (row.get('id') or '').strip() or f'row{number}'
        row['patient'] = (row.get('patient') or '').strip() or row['id']
    split = splitting.divide(rows, path, root, strata=[row[event].strip() for row in rows])
    paths = [data_paths.inside(root, row[image].strip(), f'{path}: row {number}: {image}') if image else path
             for number, row in enumerate(rows, 2)]
    levels = {name: categories(rows, name, path) for name in names}
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']],
        read=functools.partial(_read, file) if image else None,
        files=image_files.files(file) if image else (str(path),),
        target=parse_outcome(row, time, event, tuple(values), f'{path}: row {number}'),
        record=parse_covariates(row, levels), columns={name: row[name] for name in columns})
        for number, (row, file) in enumerate(zip(rows, paths), 2))
    return Source(cases=cases, classes=tuple(events), problem='survival', least_classes=1, unit=unit, notice=notice)


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


def read_covariates(path: pathlib.Path, names: Sequence[str]) -> tuple[list[str], list[dict[str, float]]]:
    """Names and covariates of new patients, for a trained network.

    Args:
      path: a CSV table; the column id is optional.
      names: of covariates as in `source`: a column, or COLUMN=CATEGORY.

    Returns:
      Names of the patients, and their covariates.

    Raises:
      InputError: a missing column, or a cell that is no number.
    """
    rows, there = read_table(path)
    if not rows:
        raise InputError(f'{path}: no rows; expected patients')
    ids, records = [], []
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        ids.append((row.get('id') or '').strip() or f'row{number}')
        records.append({})
        for name in names:
            column, category = (name, '') if name in there else name.rpartition('=')[::2]
            if column not in there:
                raise InputError(f'{path}: no column {column or name!r}; expected the covariates '
                                 f'{", ".join(names)}')
            cell = row[column].strip()
            if cell in MISSING:
                value = math.nan
            else:
                value = float(cell == category) if category else parse_number(cell)
            if value is None:
                raise InputError(f'{path}: row {number}: {column} is {cell!r}; expected a number, or nothing')
            records[-1][name] = value
    return ids, records


def parse_outcome(row: Mapping[str, str], time: str, event: str, values: tuple[str, ...], where: str) -> Outcome:
    """The observed time and event of a row.

    Args:
      row: of the table.
      time: the column of the time.
      event: the column of the event.
      values: the value of the event column for each event.
      where: the row, for messages.

    Raises:
      InputError: a time that is no number of at least 0, or an unknown event.
    """
    observed, value = parse_number(row[time]), row[event].strip()
    if observed is None or not 0 <= observed < math.inf:
        raise InputError(f'{where}: {time} is {row[time]!r}; expected a number of at least 0')
    if value not in values and value.lower() not in CENSORED:
        raise InputError(f'{where}: {event} is {value!r}; expected one of: {", ".join(values)}, or 0 for a censored '
                         'patient')
    return Outcome(observed, values.index(value) + 1 if value in values else 0)


def categories(rows: Sequence[Mapping[str, str]], name: str, path: object) -> tuple[str, ...]:
    """The categories of a column that become covariates: all of them, of two the second; none of a numeric column.

    Raises:
      InputError: more than `MOST` categories.
    """
    cells = sorted({row[name].strip() for row in rows} - {*MISSING})
    if all(parse_number(cell) is not None for cell in cells):
        return ()
    if len(cells) > MOST:
        raise InputError(f'{path}: column {name!r} has {len(cells)} categories; expected numbers, or at most {MOST} '
                         f'categories, or another choice of {KEYS}.covariates')
    return tuple(cells[1:] if len(cells) == 2 else cells)


def parse_covariates(row: Mapping[str, str], levels: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """The covariates of a row; NaN where they are missing.

    Args:
      row: of the table.
      levels: the `categories` of each column.
    """
    out = {}
    for name, column_levels in levels.items():
        cell = row[name].strip()
        if column_levels:
            out |= {f'{name}={level}': math.nan if cell in MISSING else float(cell == level)
                    for level in column_levels}
        else:
            out[name] = math.nan if cell in MISSING else parse_number(cell)
    return out


def parse_number(cell: str) -> float | None:
    """The number in a cell; None where it holds none."""
    try:
        return float(cell)
    except ValueError:
        return None
