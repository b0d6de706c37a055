"""Ensembles of classifications: the mean of several runs' probabilities."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import uncertainty
from medjax.report.run_files import Run
from medjax.statistics.paired import rows_by_id
from medjax.tasks.classification.probability_analysis import DECISION_THRESHOLDS, named_prevalence
from medjax.tasks.classification.summary import summarise
from medjax.tasks.classification.table import UNCERTAINTY, Cases, Row, prob_columns, read
from medjax.tasks.family import Combined, Members


def ensemble(runs: Sequence[Run], paths: Sequence[str], members: Members, out: pathlib.Path, choose: bool = False,
             chosen: Mapping[str, Any] | None = None, labels: bool = False) -> Combined:
    """The mean of the runs' probabilities for each case, and its metrics.

    Args:
      runs: the runs.
      paths: their folders.
      members: not used: the probabilities are in the runs' tables, as for out and chosen.
      out: …
      choose: refused.
      chosen: …
      labels: refused.

    Raises:
      InputError: a run lacks a test case of another, or they disagree about a case's truth; `choose`.
    """
    if choose or labels:
        raise InputError('--best, --labels: runs of classification; expected runs of segmentation, or --ensemble alone')
    first = runs[0]
    problem, options = first.results['problem'], first.section('evaluate')
    rows = average_tables([run.predictions for run in runs], problem, first.classes)
    analysis = summarise(rows, problem, first.classes, subgroups=options.get('subgroups') or (),
                         sensitivity=options.get('sensitivity'), coverage=options.get('conformal_coverage', 0.9),
                         decision_thresholds=tuple(options.get('decision_thresholds') or DECISION_THRESHOLDS),
                         prevalence=named_prevalence(options.get('prevalence'), problem, first.classes))
    notice = f'The mean of the probabilities of {len(runs)} runs: {", ".join(paths)}.'
    return Combined(rows, {**analysis.pop('metrics'), 'analysis': analysis}, notice)


def average_tables(tables: Sequence[Sequence[Row]], problem: str, classes: Sequence[str]) -> list[dict[str, Any]]:
    """One predictions table from several: the mean of the probabilities for each case.

    All tables must have the same test cases. Of other splits the cases that all tables have are kept.

    Args:
      tables: rows as for `table.read`, with `split` and `id`.
      problem: one of `table.PROBLEMS`.
      classes: names of the classes.

    Returns:
      The rows of the first table with the mean `prob_CLASS`, and `uncertainty`, the disagreement of the members in nats
      (`metrics.uncertainty.mutual_information`; for a multilabel problem the sum over the labels).

    Raises:
      InputError: there is no table, one lacks a test case of another, or they disagree about a case's truth.
    """
    if not tables:
        raise InputError('predictions: no table; expected at least one')
    out = []
    for split in dict.fromkeys(row.get('split') for table in tables for row in table):
        members = [rows_by_id(table, split, f'predictions {number}') for number, table in enumerate(tables, 1)]
        shared = [case for case in members[0] if all(case in member for member in members)]
        if split == 'test':
            for case in (case for member in members for case in member):
                if any(case not in member for member in members):
                    raise InputError(f'predictions, case {case}: not in each table; expected the same test cases')
        cases = [read([member[case] for case in shared], problem, classes) for member in members]
        for other in cases[1:]:
            _check_same_truth(cases[0], other)
        probs = np.stack([part.probs for part in cases])
        mean = probs.mean(0)
        unsure = uncertainty.mutual_information(probs, problem == 'multilabel')
        out += [{**members[0][case], **prob_columns(mean[place], classes), UNCERTAINTY: float(unsure[place])}
                for place, case in enumerate(shared)]
    if not out:
        raise InputError('predictions: no case is in all tables; expected the same ids')
    return out


def _check_same_truth(a: Cases, b: Cases) -> None:
    """Refuses two tables of the same cases that disagree about a target."""
    differ = a.targets != b.targets
    differ = differ.any(1) if a.multilabel else differ
    if differ.any():
        raise InputError(f'predictions, case {a.ids[int(differ.argmax())]}: the tables disagree about its target; '
                         'expected the same truth in all')
