"""The participants of a run: how many were found, left out and assigned, and their characteristics by split.

The result is plain JSON that a run keeps as `participants.json`: numbers of groups alone, no name of a patient or case.
"""

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np

from medjax.data.characteristics import Column, hidden_columns, known_columns
from medjax.data.source import Source
from medjax.metrics.covariate_balance import standardised_difference

NAME = 'participants.json'  # of the file in a run's folder


class Described(Protocol):
    """The part of `core.contracts.Dataset` that is described."""

    source: Source
    warnings: Sequence[str]
    case_values: Any


def describe(data: Described) -> dict[str, Any]:
    """The participants of a data set.

    Args:
      data: its source's cases have their final splits.

    Returns:
      - `patients_known`: whether it is known which cases are of the same patient;
      - `images`: whether the cases have images;
      - `found`: numbers of `patients` and `cases`, those that are left out included;
      - `left_out`: for each reason the numbers of `patients` and `cases`;
      - `notes`: further lines of what was left out or assumed in reading;
      - `splits`: the numbers of each split, training first;
      - `shared`: the number of patients who are in training and in another split;
      - `compared`: the two splits of the standardised mean differences, if there are two;
      - `characteristics`: see `characteristics`;
      - `not_shown`: columns of text or of identifiers, which are not summarised.
    """
    source, cases = data.source, data.source.cases
    splits = {split: [case for case in cases if case.split == split] for split in data.counts}
    own = {split: {case.patient for case in part} for split, part in splits.items()}
    others = set().union(*(names for split, names in own.items() if split != 'train'))
    said = {item.line for item in source.left_out}
    compared = _compared(list(splits))
    return {
        'patients_known': patients_known(source),
        'images': any(case.read is not None for case in cases),
        'found': {'patients': len(set().union(*own.values())) + sum(item.patients for item in source.left_out),
                  'cases': len(cases) + sum(item.cases for item in source.left_out)},
        'left_out': [{'reason': item.reason, 'patients': item.patients, 'cases': item.cases}
                     for item in source.left_out],
        'notes': [line for line in (*source.warnings, *data.warnings) if line not in said],
        'splits': {split: {'patients': len(own[split]), 'cases': len(part)} for split, part in splits.items()},
        'shared': len(own.get('train', set()) & others),
        'compared': compared,
        'characteristics': characteristics(data, compared),
        'not_shown': hidden_columns(source),
    }


def patients_known(source: Source) -> bool:
    """Whether it is known which cases are of the same patient; else each case counts as a patient of its own."""
    return source.analysis_unit == 'patient'


def _compared(splits: Sequence[str]) -> list[str]:
    """Training, and the test split that it is compared with, else that of validation; empty where one is missing."""
    held_out = [split for split in splits if split not in ('train', 'val', 'calibrate')]
    other = next((split for split in ('test', *held_out, 'val') if split in splits), '')
    return ['train', other] if other and 'train' in splits else []


def characteristics(data: Described, compared: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Covariates, attributes and outcomes of the participants by split, a row for each, or for each category.

    A value that is the same in all cases of each patient is counted by patient, any other by case.

    Args:
      data: see `describe`.
      compared: two splits, for standardised mean differences.

    Returns:
      For each row `name`; `level`, the category; `of`, 'patients' or 'cases'; `smd`, the standardised mean difference
      of the second compared split from the first one (Austin 2009), None where it is not defined; and `splits`: for
      each split `n`, the number of known values, `missing`, and either `count`, of those that are true, or `median`
      with the quartiles `q1` and `q3`. A reversed Kaplan–Meier estimate has a median alone (Schemper & Smith 1996).
    """
    cases = data.source.cases
    split = np.array([case.split for case in cases])
    patients = np.unique([case.patient for case in cases], return_inverse=True)[1]
    first = {name: np.flatnonzero(split == name)[np.unique(patients[split == name], return_index=True)[1]]
             for name in data.counts}
    every = {name: np.flatnonzero(split == name) for name in data.counts}
    out = []
    for column in known_columns(data.source, data.case_values):
        by_patient = patients_known(data.source) and _is_constant(column, patients)
        groups = first if by_patient else every
        for level, values in column.levels():
            entries = {name: column.summary(values, numbers) for name, numbers in groups.items()}
            out.append({'name': column.name, 'level': level, 'of': 'patients' if by_patient else 'cases',
                        'smd': _difference(values, groups, compared) if column.comparable else None,
                        'splits': entries})
    return out


def _is_constant(column: Column, patients: np.ndarray) -> bool:
    """Whether all cases of each patient have the same value, or all are missing."""
    if patients.max(initial=-1) + 1 == len(patients):
        return True
    values = np.nan_to_num(column.values, nan=np.inf) if column.values.dtype.kind == 'f' else column.values
    pairs = np.stack([patients, np.unique(values, return_inverse=True)[1]], 1)
    return len(np.unique(pairs, axis=0)) == len(np.unique(patients))


def _difference(values: np.ndarray, groups: dict[str, np.ndarray], compared: Sequence[str]) -> float | None:
    """The standardised mean difference of two splits."""
    if not compared or min(len(groups[name]) for name in compared) < 2:
        return None
    parts = [values[groups[name]] for name in compared]
    group = np.repeat([0, 1], [len(part) for part in parts])
    found = float(standardised_difference(np.concatenate(parts)[:, None], group)[0])
    return None if np.isnan(found) else found
