"""An ensemble of classifications: the mean of several runs' probabilities."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import uncertainty
from medjax.report.run_files import Run
from medjax.tasks.classification.compare import by_id, check_same_truth
from medjax.tasks.classification.summary import summarise
from medjax.tasks.classification.table import Row, read
from medjax.tasks.family import Combined


def ensemble(runs: Mapping[str, Run]) -> Combined:
    """The mean of the runs' probabilities, case by case, and its scores.

    Args:
      runs: the runs by their paths.

    Raises:
      InputError: where one lacks a test case of another, or they disagree about a case's truth.
    """
    first = next(iter(runs.values()))
    problem, options = first.results['problem'], first.section('evaluate')
    rows = average_tables([run.predictions for run in runs.values()], problem, first.classes)
    found = summarise(rows, problem, first.classes, subgroups=options.get('subgroups') or (),
                      sensitivity=options.get('sensitivity'), coverage=options.get('coverage', 0.9))
    notice = f'The mean of the probabilities of {len(runs)} runs: {", ".join(runs)}.'
    return Combined(rows, {**found.pop('metrics'), 'analysis': found}, notice)


def average_tables(tables: Sequence[Sequence[Row]], problem: str, classes: Sequence[str]) -> list[dict[str, Any]]:
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
        chosen = [by_id(table, split, str(number)) for number, table in enumerate(tables, 1)]
        shared = [case for case in chosen[0] if all(case in of for of in chosen)]
        if split == 'test':
            for case in (case for of in chosen for case in of):
                if any(case not in of for of in chosen):
                    raise InputError(f'predictions, case {case}: not in each table; expected the same test cases')
        members = [read([of[case] for case in shared], problem, classes) for of in chosen]
        for member in members[1:]:
            check_same_truth(members[0], member)
        probs = np.stack([member.probs for member in members])
        mean = probs.mean(0)
        unsure = uncertainty.mutual_information(probs, problem == 'multilabel')
        for row, case in enumerate(shared):
            out.append({**chosen[0][case], **{f'prob_{name}': float(mean[row, k]) for k, name in enumerate(classes)},
                        'uncertainty': float(unsure[row])})
    if not out:
        raise InputError('predictions: no case is in all tables; expected the same ids')
    return out
