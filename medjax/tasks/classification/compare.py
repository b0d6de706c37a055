"""Two classifications compared on the same cases."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.report.run_files import Run
from medjax.statistics import delong, intervals
from medjax.tasks.classification.intervals import compute_metrics, metric_entries
from medjax.tasks.classification.table import Cases, Row, read
from medjax.tasks.family import Comparison


def compare(a: Run, b: Run) -> Comparison:
    """Differences between two runs on the test cases that both have, with intervals and tests.

    Args:
      a: the first run.
      b: the second run.

    Raises:
      InputError: where the runs share no case, have one twice, or disagree about its truth.
    """
    found = compare_tables(a.predictions, b.predictions, a.results['problem'], a.classes)
    tests = []
    for test in ('delong', 'mcnemar'):
        several = {'': found[test]} if 'p' in found[test] else found[test]
        tests += [f'{test} {label}  ' + (entry['why'] if entry['p'] is None else f'p = {entry["p"]:.4g}')
                  for label, entry in several.items()]
    return Comparison(found, tests, found['warnings'])


def compare_tables(rows_a: Sequence[Row], rows_b: Sequence[Row], problem: str, classes: Sequence[str], *,
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
    chosen_a, chosen_b = by_id(rows_a, split, 'a'), by_id(rows_b, split, 'b')
    shared = [case for case in chosen_a if case in chosen_b]
    if not shared:
        raise InputError(f'predictions: no {split} case is in both tables, as {next(iter(chosen_a), "none")} of the '
                         f'first and {next(iter(chosen_b), "none")} of the second; expected the same ids')
    a = read([chosen_a[case] for case in shared], problem, classes)
    b = read([chosen_b[case] for case in shared], problem, classes)
    check_same_truth(a, b)
    draws = intervals.multiplicities(a.patients, resamples, seed)
    of_a, of_b = compute_metrics(a), compute_metrics(b)
    sample_a, sample_b = compute_metrics(a, draws), compute_metrics(b, draws)
    differences = metric_entries(a, {name: of_a[name] - of_b[name] for name in of_a},
                                  {name: sample_a[name] - sample_b[name] for name in of_a})
    ranks, decisions = {}, {}
    for (label, part_a, _), (_, part_b, _) in zip(a.parts(), b.parts()):
        for k, name in [(1, label)] if part_a.binary else enumerate(part_a.classes):
            ranks[name] = delong.auroc_test(part_a.targets == k, part_a.probs[:, k], part_b.probs[:, k])
        decisions[label] = delong.mcnemar_test(*(part.probs.argmax(1) == part.targets for part in (part_a, part_b)))
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


def by_id(rows: Sequence[Row], split: str, table: str) -> dict[str, Row]:
    """The rows of a split by their case's id; `table` names the table in the message where an id occurs twice."""
    out: dict[str, Row] = {}
    for row in rows:
        if row.get('split') == split:
            case = str(row.get('id'))
            if case in out:
                raise InputError(f'predictions {table}, case {case}: twice in {split}; expected each id once')
            out[case] = row
    return out


def check_same_truth(a: Cases, b: Cases) -> None:
    """Refuses two tables of the same cases that disagree about a target."""
    differ = a.targets != b.targets
    differ = differ.any(1) if a.multilabel else differ
    if differ.any():
        raise InputError(f'predictions, case {a.ids[int(differ.argmax())]}: the tables disagree about its target; '
                         'expected the same truth in all')
