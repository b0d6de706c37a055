"""Comparison of two classifications on the same cases."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.report.run_files import Run
from medjax.statistics import delong, intervals, proportions
from medjax.tasks.classification.intervals import compute_metrics, counted_cases, metric_entries
from medjax.tasks.classification.table import Cases, Row, read
from medjax.tasks.family import Comparison

SMALLEST_P = 1e-4  # smaller p values are printed as below it


def compare(a: Run, b: Run) -> Comparison:
    """Differences between two runs on the test cases that both have, with intervals and tests.

    Args:
      a: the first run.
      b: the second run.

    Raises:
      InputError: the runs have no case in common, have one twice, or disagree about its truth.
    """
    comparison = compare_tables(a.predictions, b.predictions, a.results['problem'], a.classes)
    lines = []
    for test in ('delong', 'mcnemar'):
        entries = {'': comparison[test]} if 'p' in comparison[test] else comparison[test]
        lines += [f'{test} {label}  {_p_value(entry)}' for label, entry in entries.items()]
    return Comparison(comparison, lines, comparison['warnings'])


def compare_tables(rows_a: Sequence[Row], rows_b: Sequence[Row], problem: str, classes: Sequence[str], *,
                   split: str = 'test', resamples: int = 2000, seed: int = 0) -> dict[str, Any]:
    """Compares two predictions tables on the cases of a split that both have.

    Args:
      rows_a: as for `table.read`, with `split` and `id`.
      rows_b: likewise.
      problem: one of `table.PROBLEMS`.
      classes: names of the classes.
      split: the split whose cases are compared.
      resamples: number of bootstrap resamples of patients, the same for both tables.
      seed: seed of the resamples.

    Returns:
      `split`, `cases`, `patients`; `metrics`: {name: {`a`, `b`, `difference`}}, the difference a - b an entry as in
      `statistics.intervals.entry`; `delong`: `delong.auroc_test` of the positive class, or {class: …}; `mcnemar`:
      `delong.mcnemar_test` of correct decisions, or {label: …}; `warnings`.

    Raises:
      InputError: the tables have no case in common, have one twice, or disagree about its truth.
    """
    split_a, split_b = rows_by_id(rows_a, split, 'a'), rows_by_id(rows_b, split, 'b')
    shared = [case for case in split_a if case in split_b]
    if not shared:
        raise InputError(f'predictions: no {split} case is in both tables, as {next(iter(split_a), "none")} of the '
                         f'first and {next(iter(split_b), "none")} of the second; expected the same ids')
    a = read([split_a[case] for case in shared], problem, classes)
    b = read([split_b[case] for case in shared], problem, classes)
    check_same_truth(a, b)
    draws = intervals.multiplicities(a.patients, resamples, seed)
    values_a, values_b = compute_metrics(a), compute_metrics(b)
    samples_a, samples_b = compute_metrics(a, draws), compute_metrics(b, draws)
    differences = metric_entries(a, {name: values_a[name] - values_b[name] for name in values_a},
                                 {name: samples_a[name] - samples_b[name] for name in values_a}, exact=False)
    if len(np.unique(a.patients)) == len(a.patients):
        for name, limits in _paired_proportions(a, b).items():
            kept = {field: differences[name][field] for field in ('value', 'n', 'cases', 'unit')}
            differences[name] = kept | {'ci95': limits, 'method': 'Agresti–Min'}
    auroc_tests, decision_tests = _significance_tests(a, b)
    patients = len(np.unique(a.patients))
    warnings = [f'{len(rows) - len(shared)} {split} cases of the {name} table are not in the other: left out'
                for name, rows in (('first', split_a), ('second', split_b)) if len(rows) > len(shared)]
    if patients < len(shared):
        warnings.append(f'{len(shared)} cases of {patients} patients: DeLong\'s and McNemar\'s tests assume '
                        'independent cases, so their p values are too small; the intervals are over patients')
    return {'split': split, 'cases': len(shared), 'patients': patients,
            'metrics': {name: {'a': float(values_a[name]), 'b': float(values_b[name]), 'difference': difference}
                        for name, difference in differences.items()},
            'delong': auroc_tests.get('', auroc_tests), 'mcnemar': decision_tests.get('', decision_tests),
            'warnings': warnings}


def _paired_proportions(a: Cases, b: Cases) -> dict[str, list[float]]:
    """Intervals of the differences in accuracy, sensitivity and specificity, whose cases are the same for both."""
    out = {}
    for (label, part_a, _), (_, part_b, _) in zip(a.parts(), b.parts()):
        counted_a, counted_b = (counted_cases(part, part.probs.argmax(1)) for part in (part_a, part_b))
        for name, (counts, hits) in counted_a.items():
            if counts.any() and not name.startswith('precision'):
                key = f'{name}_{label}' if label else name
                out[key] = proportions.paired_difference(hits[counts], counted_b[name][1][counts])
    return out


def rows_by_id(rows: Sequence[Row], split: str, table: str) -> dict[str, Row]:
    """The rows of a split by the id of their case.

    Args:
      rows: of a predictions table.
      split: the split's name.
      table: name of the table, for messages.

    Raises:
      InputError: an id occurs twice.
    """
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


def _significance_tests(a: Cases, b: Cases) -> tuple[dict[str, Any], dict[str, Any]]:
    """DeLong's tests of the AUROC by class or label, and McNemar's tests of correct decisions by label."""
    auroc_tests, decision_tests = {}, {}
    for (label, part_a, _), (_, part_b, _) in zip(a.parts(), b.parts()):
        for k, name in [(1, label)] if part_a.binary else enumerate(part_a.classes):
            auroc_tests[name] = delong.auroc_test(part_a.targets == k, part_a.probs[:, k], part_b.probs[:, k])
        correct = [part.probs.argmax(1) == part.targets for part in (part_a, part_b)]
        decision_tests[label] = delong.mcnemar_test(*correct)
    return auroc_tests, decision_tests


def _p_value(entry: Any) -> str:
    """The p value of a test for the console, or the reason why there is none."""
    if entry['p'] is None:
        return entry['why']
    return f'p < {SMALLEST_P:.4f}' if entry['p'] < SMALLEST_P else f'p = {entry["p"]:.4f}'
