"""A trial or a treated cohort as a CSV table: a row a patient, with a treatment, an outcome and covariates.

    id,arm,age,cd4,cd4_20w,split
    p01,2,48,422,477,train

Numbers and words are read as `cohort` reads them.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import Case, Source, Treated, data_dir
from medjax.data.sources.survival_csv import number_of, record_of, words_of
from medjax.data.splits import KEYS, divide
from medjax.errors import InputError


def source(*, table: str, outcome: str, covariates: Sequence[str], treatment: str = 'treatment',
           groups: Sequence[str] = ('control', 'treated'), values: Sequence[Sequence[str]] = (('0',), ('1',)),
           sign: int = 1, patient: str = 'id', dir: str = '', columns: Sequence[str] = (), val: float = 0.2,
           test: float = 0.3, fold: int | Sequence[int] = 0, folds: int | Sequence[int] = 0, split_seed: int = 0,
           splits: Mapping[str, str] | None = None, split_file: str = '', notice: str = '') -> Source:
    """Reads a trial.

    Args:
      table: a CSV file within dir.
      outcome: the column of a number.
      covariates: columns that were known before the treatment.
      treatment: the column that says what was done.
      groups: names, the untreated first.
      values: what the column holds for each of the two; patients with anything else are left out.
      sign: 1 where a higher outcome is better, -1 where a lower one is: the outcome is multiplied by it.
      patient: the column of the patients' names, each once.
      dir: see `data_dir`.
      columns: that go to the predictions table alone.
      val: see `splits.split_by_patient`, as for test, fold, folds and split_seed; both groups in equal shares.
      test: …
      fold: …
      folds: …
      split_seed: …
      splits: the split of some or all patients by name.
      split_file: a run's `splits.json`, within dir or absolute.
      notice: what the report must say of the data.

    Raises:
      InputError: a file, column or cell that is not such; a patient twice.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    check_columns(path, there, (patient, treatment, outcome, *covariates, *columns))
    if {outcome, treatment} & set(covariates):
        raise InputError(f'{KEYS}.covariates: {tuple(covariates)}; expected neither the outcome nor the treatment')
    if len(values) != 2 or set(values[0]) & set(values[1]) or sign not in (1, -1):
        raise InputError(f'{KEYS}.values: {values}, sign: {sign}; expected different ones for each of two groups, and '
                         '1 or -1')
    kept, lines, seen = [], [], set()
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        given, what, who = row[treatment].strip(), number_of(row[outcome]), row[patient].strip()
        if given not in (*values[0], *values[1]):
            continue
        if what is None or not np.isfinite(what):
            raise InputError(f'{path}: row {number}: {outcome} is {row[outcome]!r}; expected a number')
        if not who or who in seen:
            raise InputError(f'{path}: row {number}: {patient} is {who!r}; expected a name that no row before has')
        seen.add(who)
        kept.append({**row, 'patient': who})
        lines.append(Treated(int(given in values[1]), sign * what))
    if not kept:
        raise InputError(f'{path}: no row with {treatment} among {values}; expected some of both groups')
    split = divide([{'patient': row['patient']} for row in kept], path, dict(splits or {}),
                   root / split_file if split_file else None, classes=list(map(str, lines)), val=val, test=test,
                   fold=fold, folds=folds, seed=split_seed)
    words = {name: words_of(kept, name, path) for name in covariates}
    cases = tuple(Case(id=row['patient'], patient=row['patient'], split=split[row['patient']], read=None,
                       files=(str(path),), target=target, record=record_of(row, words),
                       columns={name: row[name] for name in columns}) for row, target in zip(kept, lines))
    return Source(cases=cases, classes=tuple(groups), problem='treatment', notice=notice)
