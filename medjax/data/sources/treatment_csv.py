"""A trial or a treated cohort from a CSV table: a row for each patient, with a treatment, an outcome and covariates.

    id,arm,age,cd4,cd4_20w,split
    p01,2,48,422,477,train

Numeric and categorical columns are read as in `survival_csv`.
"""

import collections
from collections.abc import Mapping, Sequence
from typing import Literal

from medjax.data import covariates as encoding
from medjax.data.covariates import CovariateOptions, Row
from medjax.data.io.tables import check_columns, check_near_names, code, filled, parse_number, read_table
from medjax.data.source import Case, LeftOut, Source, TreatmentOutcome, data_dir, stratum_of
from medjax.data.splits import KEYS, Splitting
from medjax.errors import InputError


def source(*, table: str, outcome: str, covariates: Sequence[str], treatment: str = 'treatment',
           groups: Sequence[str] = ('control', 'treated'),
           group_values: Sequence[Sequence[str | int]] = (('0',), ('1',)),
           outcome_sign: Literal[-1, 1] = 1, patient: str = 'id', dir: str = '', extra_columns: Sequence[str] = (),
           options: CovariateOptions = CovariateOptions(), splitting: Splitting = Splitting(val=0.2, test=0.3),
           notice: str = '') -> Source:
    """A treatment source from a table of patients.

    Args:
      table: a CSV file within dir.
      outcome: the column of the outcome, a number.
      covariates: columns that were known before the treatment.
      treatment: the column of the treatment.
      groups: names, the untreated group first.
      group_values: the values of the treatment column for each of the two groups; patients with any other, or with
        none, are left out and counted.
      outcome_sign: 1 where a higher outcome is better, -1 where a lower one is: the outcome is multiplied by it.
      patient: the column of the patients' names, each of which occurs once.
      dir: folder of the table; see `data_dir`.
      extra_columns: that only go to the predictions table.
      options: how cells become covariates.
      splitting: how patients are assigned to splits where the table has no column `split`; stratified by group.
      notice: text on the data for the report.

    Raises:
      InputError: a file, column or cell that is not valid; a patient twice.
    """
    root = data_dir(dir)
    path = root / table
    rows, there = read_table(path)
    required = (patient, treatment, outcome, *covariates, *extra_columns)
    check_near_names(path, there, ('split', patient, treatment, outcome), required, patient='')
    check_columns(path, there, required)
    if {outcome, treatment} & set(covariates):
        raise InputError(f'{KEYS}.covariates: {tuple(covariates)}; expected neither the outcome nor the treatment')
    codes = [{code(str(value)) for value in group} for group in group_values]
    if len(codes) != 2 or codes[0] & codes[1] or outcome_sign not in (1, -1):
        raise InputError(f'{KEYS}.group_values: {group_values}, outcome_sign: {outcome_sign}; expected different ones '
                         'for each of two groups, and '
                         '1 or -1')
    included: list[tuple[int, str, Mapping[str, str]]] = []
    targets: list[TreatmentOutcome] = []
    left_out: collections.Counter[str] = collections.Counter()
    names: set[str] = set()
    for number, row in enumerate(rows, 2):
        given = code(row[treatment])
        if given not in codes[0] | codes[1]:
            left_out[filled(row[treatment]) or 'nothing'] += 1
            continue
        where, name, value = f'{path}: row {number}', filled(row[patient]), parse_number(row[outcome])
        if value is None:
            raise InputError(f'{where}: {outcome} is {row[outcome]!r}; expected a number')
        if not name or name in names:
            raise InputError(f'{where}: {patient} is {name!r}; expected a name that no row before has')
        names.add(name)
        included.append((number, name, row))
        targets.append(TreatmentOutcome(int(given in codes[1]), outcome_sign * value))
    if not included:
        raise InputError(f'{path}: no row with {treatment} among {group_values}; expected some of both groups')
    split = splitting.divide([{'patient': name, 'split': filled(row.get('split'))} for _, name, row in included], path,
                             root, strata=[stratum_of(target) for target in targets])
    table_rows = [Row(number, row, split[name] == 'train') for number, name, row in included]
    encoded = encoding.fit(table_rows, covariates, path, options)
    cases = tuple(Case(id=name, patient=name, split=split[name], read=None, files=(str(path),), target=target,
                       record=encoded.accepting().record(row, f'{path}: row {number}'),
                       columns={column: row[column] for column in extra_columns})
                  for (number, name, row), target in zip(included, targets))
    excluded: tuple[LeftOut, ...] = ()
    if left_out:
        counts = ', '.join(f'{value} {count}' for value, count in left_out.most_common(9))
        line = f'Rows that are left out, of neither group by {treatment}: {left_out.total()} ({counts}).'
        others = {filled(row[patient]) for row in rows} - names - {''}
        excluded = (LeftOut(f'of neither group by {treatment}', len(others), left_out.total(), line),)
    return Source(cases=cases, classes=tuple(groups), problem='treatment', notice=notice,
                  warnings=tuple(item.line for item in excluded), left_out=excluded,
                  encoding=encoded.to_json(), summary=f'{path.name}: {encoding.describe(table_rows, encoded, {})}')
