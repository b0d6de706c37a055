"""Two runs against each other on the same cases, and several made one."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import uncertainty
from medjax.statistics import delong, intervals
from medjax.tasks.classification.table import Cases, Row, read


def compare(rows_a: Sequence[Row], rows_b: Sequence[Row], problem: str, classes: Sequence[str], *,
            split: str = 'test', resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compares two predictions tables on the cases that both have in a split.

    Args:
      rows_a: as `cases.read` takes them, with `split` and `id`.
      rows_b: the same.
      problem: a name of `cases.PROBLEMS`.
      classes: their names.
      split: whose cases are compared.
      resamples: bootstrap draws of patients, the same for both tables.
      seed: of the draws.

    Returns:
      `split`, `cases`, `patients`; `metrics`: {name: {`a`, `b`, `difference`}}, the last a minus b as `measure.entry`;
      `delong`: `delong.test` of the positive class, or {class: …}; `mcnemar`: `delong.mcnemar` of right and wrong
      decisions, or {label: …}; `warnings`.

    Raises:
      InputError: where the tables share no case, have one twice, or disagree about its truth.
    """
    chosen_a, chosen_b = _by_id(rows_a, split, 'a'), _by_id(rows_b, split, 'b')
    shared = [case for case in chosen_a if case in chosen_b]
    if not shared:
        raise InputError(f'predictions: no {split} case is in both tables, as {next(iter(chosen_a), "none")} of the '
                         f'first and {next(iter(chosen_b), "none")} of the second; expected the same ids')
    a = read([chosen_a[case] for case in shared], problem, classes)
    b = read([chosen_b[case] for case in shared], problem, classes)
    _same_truth(a, b)
    draws = intervals.multiplicities(a.patients, resamples, seed)
    of_a, of_b = intervals.figures(a), intervals.figures(b)
    sample_a, sample_b = intervals.figures(a, draws), intervals.figures(b, draws)
    differences = intervals.entries(a, {name: of_a[name] - of_b[name] for name in of_a},
                                  {name: sample_a[name] - sample_b[name] for name in of_a})
    ranks, decisions = {}, {}
    for (label, part_a, _), (_, part_b, _) in zip(a.parts(), b.parts()):
        for k, name in [(1, label)] if part_a.binary else enumerate(part_a.classes):
            ranks[name] = delong.test(part_a.targets == k, part_a.probs[:, k], part_b.probs[:, k])
        decisions[label] = delong.mcnemar(*(part.probs.argmax(1) == part.targets for part in (part_a, part_b)))
    patients = len(np.unique(a.patients))
    warnings = [f'{len(of) - len(shared)} {split} cases of the {which} table are not in the other: left out'
                for which, of in (('first', chosen_a), ('second', chosen_b)) if len(of) > len(shared)]
    if patients < len(shared):
        warnings.append(f'{len(shared)} cases of {patients} patients: DeLong\'s and McNemar\'s tests take cases for '
                        'independent, so that their p is too small; the intervals are over patients')
    return {'split': split, 'cases': len(shared), 'patients': patients,
            'metrics': {name: {'a': float(of_a[name]), 'b': float(of_b[name]), 'difference': differences[name]}
                        for name in of_a},
            'delong': ranks.get('', ranks), 'mcnemar': decisions.get('', decisions), 'warnings': warnings}


def ensemble(tables: Sequence[Sequence[Row]], problem: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """Makes one predictions table of several: the mean of the probabilities, case by case.

    Of the test split each table must have the same cases; of others, those that all have are kept.

    Args:
      tables: rows as `cases.read` takes them, with `split` and `id`.
      problem: a name of `cases.PROBLEMS`.
      classes: their names.

    Returns:
      The rows of the first table with the mean `prob_CLASS`, and `uncertainty`: what the members disagree about, in
      nats (`uncertainty.mutual_information`; in a multilabel problem the sum over the labels).

    Raises:
      InputError: where there is no table, one lacks a test case of another, or they disagree about a case's truth.
    """
    if not tables:
        raise InputError('predictions: no table; expected one at least')
    out = []
    for split in dict.fromkeys(row.get('split') for table in tables for row in table):
        chosen = [_by_id(table, split, str(number)) for number, table in enumerate(tables, 1)]
        shared = [case for case in chosen[0] if all(case in of for of in chosen)]
        if split == 'test':
            for case in (case for of in chosen for case in of):
                if any(case not in of for of in chosen):
                    raise InputError(f'predictions, case {case}: not in each table; expected the same test cases')
        members = [read([of[case] for case in shared], problem, classes) for of in chosen]
        for member in members[1:]:
            _same_truth(members[0], member)
        probs = np.stack([member.probs for member in members])
        mean = probs.mean(0)
        unsure = uncertainty.mutual_information(probs, problem == 'multilabel')
        for row, case in enumerate(shared):
            out.append({**chosen[0][case], **{f'prob_{name}': float(mean[row, k]) for k, name in enumerate(classes)},
                        'uncertainty': float(unsure[row])})
    if not out:
        raise InputError('predictions: no case is in all tables; expected the same ids')
    return out


def _by_id(rows: Sequence[Row], split: str, table: str) -> dict[str, Row]:
    out: dict[str, Row] = {}
    for row in rows:
        if row.get('split') == split:
            case = str(row.get('id'))
            if case in out:
                raise InputError(f'predictions {table}, case {case}: twice in {split}; expected each id once')
            out[case] = row
    return out


def _same_truth(a: Cases, b: Cases) -> None:
    differ = a.targets != b.targets
    differ = differ.any(1) if a.multilabel else differ
    if differ.any():
        raise InputError(f'predictions, case {a.ids[int(differ.argmax())]}: the tables disagree about its target; '
                         'expected the same truth in all')
