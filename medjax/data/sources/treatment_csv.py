"""A trial or a treated cohort from a CSV table: a row for each patient, with a treatment, an outcome and covariates.

    id,arm,age,cd4,cd4_20w,split
    p01,2,48,422,477,train

Numeric and categorical columns are read as in `survival_csv`.
"""

from collections.abc import Mapping, Sequence

import numpy as np

from medjax.data.io.tables import check_columns, check_fields, read_table
from medjax.data.source import Case, Source, TreatmentOutcome, data_dir, stratum_of
from medjax.data.sources.survival_csv import categories, parse_covariates, parse_number
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError


def source(*, table: str, outcome: str, covariates: Sequence[str], treatment: str = 'treatment',
           groups: Sequence[str] = ('control', 'treated'), values: Sequence[Sequence[str]] = (('0',), ('1',)),
           sign: int = 1, patient: str = 'id', dir: str = '', columns: Sequence[str] = (),
           splitting: Splitting = Splitting(val=0.2, test=0.3), notice: str = '') -> Source:
    """A treatment source from a table of patients.

    Args:
      table: a CSV file within dir.
      outcome: the column of the outcome, a number.
      covariates: columns that were known before the treatment.
      treatment: the column of the treatment.
      groups: names, the untreated group first.
      values: the values of the treatment column for each of the two groups; patients with any other are left out.
      sign: 1 where a higher outcome is better, -1 where a lower one is: the outcome is multiplied by it.
      patient: the column of the patients' names, each of which occurs once.
      dir: folder of the table; see `data_dir`.
      columns: that only go to the predictions table.
      splitting: how patients are assigned to splits; stratified by group.
      notice: text on the data for the report.

    Raises:
      InputError: a file, column or cell that is not valid; a patient twice.
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
    included: list[dict[str, str]] = []
    targets: list[TreatmentOutcome] = []
    names: set[str] = set()
    for number, row in enumerate(rows, 2):
        check_fields(path, number, row, there)
        if row[treatment].strip() not in (*values[0], *values[1]):
            continue
        name, target = _parse_row(row, patient, treatment, outcome, values[1], sign, f'{path}: row {number}')
        if not name or name in names:
            raise InputError(f'{path}: row {number}: {patient} is {name!r}; expected a name that no row before has')
        names.add(name)
        included.append({**row, 'patient': name})
        targets.append(target)
    if not included:
        raise InputError(f'{path}: no row with {treatment} among {values}; expected some of both groups')
    split = splitting.divide([{'patient': row['patient']} for row in included], path, root,
                             strata=[stratum_of(target) for target in targets])
    levels = {name: categories(included, name, path) for name in covariates}
    cases = tuple(Case(id=row['patient'], patient=row['patient'], split=split[row['patient']], read=None,
                       files=(str(path),), target=target, record=parse_covariates(row, levels),
                       columns={name: row[name] for name in columns}) for row, target in zip(included, targets))
    return Source(cases=cases, classes=tuple(groups), problem='treatment', notice=notice)


def _parse_row(row: Mapping[str, str], patient: str, treatment: str, outcome: str, treated: Sequence[str], sign: int,
               where: str) -> tuple[str, TreatmentOutcome]:
    """The patient's name, and the treatment and outcome of a row."""
    value = parse_number(row[outcome])
    if value is None or not np.isfinite(value):
        raise InputError(f'{where}: {outcome} is {row[outcome]!r}; expected a number')
    return row[patient].strip(), TreatmentOutcome(int(row[treatment].strip() in treated), sign * value)
