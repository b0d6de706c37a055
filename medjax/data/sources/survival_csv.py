"""A cohort as a CSV table: a row a patient, with a time, what happened then, and covariates.

    id,time,event,age,stage,sex,split
    p01,14.2,1,63,II,f,train

Numbers are covariates as they are; a column of words becomes one of 0 and 1 for each word; '' and 'NA' are missing.
"""

import functools
import math
import pathlib
from collections.abc import Mapping, Sequence

from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import Case, Outcome, Source, data_dir
from medjax.data.splits import KEYS, divide
from medjax.errors import InputError

RESERVED = ('id', 'patient', 'split')
MOST = 20  # words that a column may have as a covariate
MISSING = ('', 'NA')
CENSORED = ('', '0', '0.0', 'false', 'censored')


def source(*, table: str, dir: str = '', time: str = 'time', event: str = 'event', events: Sequence[str] = ('event',),
           values: Sequence[str] = ('1',), covariates: Sequence[str] = (), columns: Sequence[str] = (), image: str = '',
           unit: str = '', val: float = 0.2, test: float = 0.2, fold: int | Sequence[int] = 0,
           folds: int | Sequence[int] = 0, split_seed: int = 0, splits: Mapping[str, str] | None = None,
           split_file: str = '', notice: str = '') -> Source:
    """Reads a cohort.

    Args:
      table: a CSV file within dir; as far as known with the columns id, patient and split.
      dir: its folder; see `data_dir`.
      time: the column of how long a patient was seen.
      event: the column of what ended it: nothing, 0 or 'censored' where no event did, else one of `values`.
      events: names; with several they compete.
      values: what the column holds for each of them.
      covariates: columns; by default all others but `columns`.
      columns: that go to the predictions table alone, such as those of subgroups.
      image: the column with the path of a patient's image, within dir, where there is one.
      unit: of the times, such as 'months'.
      val: see `splits.split_by_patient`, as for test, fold, folds and split_seed; patients are dealt by what happened.
      test: …
      fold: …
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within dir or absolute.
      notice: what the report must say of the data.

    Raises:
      InputError: a file, column or cell that is not such.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    if not rows:
        raise InputError(f'{path}: no rows; expected patients')
    if len(values) != len(events) or len(set(values)) != len(values):
        raise InputError(f'{KEYS}.values: {tuple(values)}; expected a different one for each of {tuple(events)}')
    names = tuple(covariates) or tuple(name for name in there if name not in (*RESERVED, time, event, image, *columns))
    check_columns(path, there, (time, event, *names, *columns, *[image] * bool(image)))
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        row['id'] = (row.get('id') or '').strip() or f'row{number}'
        row['patient'] = (row.get('patient') or '').strip() or row['id']
    split = divide(rows, path, dict(splits or {}), root / split_file if split_file else None,
                   classes=[row[event].strip() for row in rows], val=val, test=test, fold=fold, folds=folds,
                   seed=split_seed)
    words = {name: words_of(rows, name, path) for name in names}
    cases = tuple(Case(
        id=row['id'], patient=row['patient'], split=split[row['patient']],
        read=functools.partial(_image, root / row[image].strip()) if image else None,
        files=image_files.files(str(root / row[image].strip())) if image else (str(path),),
        target=outcome_of(row, time, event, tuple(values), f'{path}: row {number}'), record=record_of(row, words),
        columns={name: row[name] for name in columns}) for number, row in enumerate(rows, 2))
    return Source(cases=cases, classes=tuple(events), problem='survival', unit=unit, notice=notice)


def images_of(path: pathlib.Path) -> list[str]:
    """The column `image` of a table of patients.

    Raises:
      InputError: there is none, or it is empty somewhere.
    """
    rows, there = read_table(path)
    names = [(row.get('image') or '').strip() for row in rows]
    if '' in names:
        raise InputError(f"{path}: {'row ' + str(names.index('') + 2) if 'image' in there else 'no column image'}; "
                         "expected the path of each patient's image in the column image")
    return names


def _image(path: pathlib.Path) -> tuple[Image, None]:
    return image_files.read(path), None


def records_of(path: pathlib.Path, names: Sequence[str]) -> tuple[list[str], list[dict[str, float]]]:
    """Reads covariates alone, of patients that a trained network is asked about.

    Args:
      path: a CSV table; the column id is at will.
      names: of covariates as `source` makes them: a column's, or COLUMN=WORD.

    Returns:
      Names of the patients, and their records.

    Raises:
      InputError: a column that is not there, or a cell that is no number.
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
            column, word = (name, '') if name in there else name.rpartition('=')[::2]
            if column not in there:
                raise InputError(f'{path}: no column {column or name!r}; expected the covariates '
                                 f'{", ".join(names)}')
            cell = row[column].strip()
            value = math.nan if cell in MISSING else float(cell == word) if word else number_of(cell)
            if value is None:
                raise InputError(f'{path}: row {number}: {column} is {cell!r}; expected a number, or nothing')
            records[-1][name] = value
    return ids, records


def outcome_of(row: Mapping[str, str], time: str, event: str, values: tuple[str, ...], where: str) -> Outcome:
    """What a row says of the end: how long a patient was seen, and which of the values the event's column holds."""
    seen, what = number_of(row[time]), row[event].strip()
    if seen is None or not 0 <= seen < math.inf:
        raise InputError(f'{where}: {time} is {row[time]!r}; expected a number of at least 0')
    if what not in values and what.lower() not in CENSORED:
        raise InputError(f'{where}: {event} is {what!r}; expected one of: {", ".join(values)}, or 0 where no event was')
    return Outcome(seen, values.index(what) + 1 if what in values else 0)


def words_of(rows: Sequence[Mapping[str, str]], name: str, path: object) -> tuple[str, ...]:
    """The words of a column that does not hold numbers, but for the first of two; of one with numbers none."""
    cells = sorted({row[name].strip() for row in rows} - {*MISSING})
    if all(number_of(cell) is not None for cell in cells):
        return ()
    if len(cells) > MOST:
        raise InputError(f'{path}: column {name!r} has {len(cells)} different words; expected numbers, or at most '
                         f'{MOST} words, or another choice of {KEYS}.covariates')
    return tuple(cells[1:] if len(cells) == 2 else cells)


def record_of(row: Mapping[str, str], words: Mapping[str, tuple[str, ...]]) -> dict[str, float]:
    """A row's numbers, by the columns' words as `words_of` found them; NaN where they are missing."""
    out = {}
    for name, its in words.items():
        cell = row[name].strip()
        if its:
            out |= {f'{name}={word}': math.nan if cell in MISSING else float(cell == word) for word in its}
        else:
            out[name] = math.nan if cell in MISSING else number_of(cell)
    return out


def number_of(cell: str) -> float | None:
    """The number that a cell holds; None where it is none."""
    try:
        return float(cell)
    except ValueError:
        return None
