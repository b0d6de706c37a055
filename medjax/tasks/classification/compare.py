"""Classifications of the same cases: differences between their metrics, with DeLong's and McNemar's tests."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from medjax.report.run_files import Run
from medjax.statistics import delong
from medjax.tasks.classification import operating_point
from medjax.tasks.classification.intervals import all_metrics, counted_cases
from medjax.tasks.classification.table import TARGET, Cases, Row, read, target_column
from medjax.tasks.family import Comparable


class Decided(NamedTuple):
    """The cases of a run, and its operating points by label, '' of a problem of two classes."""

    cases: Cases
    thresholds: Mapping[str, float]


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of the probabilities, of the most probable classes, and of decisions at each run's operating point.

    Args:
      runs: the runs.
      rows: of each run, the same cases in the same order.
    """
    problem, classes = runs[0].results['problem'], runs[0].classes
    tables = [Decided(read(part, problem, classes), _thresholds(run)) for run, part in zip(runs, rows)]
    cases, patients = len(tables[0].cases), len(np.unique(tables[0].cases.patients))
    warnings = []
    if patients < cases:
        warnings.append(f'{cases} cases of {patients} patients: DeLong\'s and McNemar\'s tests assume independent '
                        'cases, so their p values are too small; the intervals and the other p values are by patient')
    known = (TARGET, *map(target_column, classes)) if problem == 'multilabel' else (TARGET,)
    return Comparable(tables, _metrics, _counted, known.__contains__,
                      lambda a, b: significance_tests(a.cases, b.cases), _hits, warnings)


def _thresholds(run: Run) -> dict[str, float]:
    """The operating points of a run's results; none where no case could set one."""
    found = run.results.get('analysis', {}).get('operating') or {}
    by_label = {'': found} if 'threshold' in found else found
    return {label: point['threshold'] for label, point in by_label.items()}


def _metrics(run: Decided, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    return all_metrics(run.cases, draws) | operating_point.metrics_at(run.cases, run.thresholds, draws)


def significance_tests(a: Cases, b: Cases) -> dict[str, dict[str, Any]]:
    """`delong`: DeLong's tests of the AUROC by class or label; `mcnemar`: McNemar's of correct decisions by label.

    Args:
      a: the cases of a run.
      b: the same cases of another run.

    Returns:
      {test: {class or label, '' where there is one only: `delong.auroc_test` or `delong.mcnemar_test`}}.
    """
    auroc_tests, decision_tests = {}, {}
    for (label, part_a, _), (_, part_b, _) in zip(a.parts(), b.parts()):
        for k, name in [(1, label)] if part_a.binary else enumerate(part_a.classes):
            auroc_tests[name] = delong.auroc_test(part_a.targets == k, part_a.probs[:, k], part_b.probs[:, k])
        correct = [part.probs.argmax(1) == part.targets for part in (part_a, part_b)]
        decision_tests[label] = delong.mcnemar_test(*correct)
    return {'delong': auroc_tests, 'mcnemar': decision_tests}


def _hits(a: Decided, b: Decided) -> dict[str, tuple[np.ndarray, np.ndarray]]:
    """The correct decisions of both runs among the cases that accuracy, sensitivity and specificity count."""
    out = {}
    for (label, part_a, _), (_, part_b, _) in zip(a.cases.parts(), b.cases.parts()):
        decisions = {'': [part.probs.argmax(1) for part in (part_a, part_b)]}
        if label in a.thresholds and label in b.thresholds:
            decisions[operating_point.SUFFIX] = [
                (part.probs[:, 1] >= run.thresholds[label]).astype(int) for run, part in ((a, part_a), (b, part_b))]
        for suffix, predicted in decisions.items():
            counted_a, counted_b = (counted_cases(*pair) for pair in zip((part_a, part_b), predicted))
            for name, (counts, hits) in counted_a.items():
                if counts.any() and not name.startswith('precision'):
                    key = '_'.join(filter(None, (name + suffix, label)))
                    out[key] = hits[counts], counted_b[name][1][counts]
    return out


def _counted(run: Decided, name: str) -> np.ndarray:
    """The cases with a known target, of a metric of one label those for which the label is known, `[n]` bool."""
    labels = [(label, mask) for label, _, mask in run.cases.parts() if label and name.endswith(f'_{label}')]
    return max(labels, key=lambda pair: len(pair[0]))[1] if labels else run.cases.known
