"""Runs of anomaly detection on the same cases: differences between their primary scores."""

import dataclasses
from collections.abc import Sequence

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.anomaly import summary
from medjax.tasks.anomaly.table import Row, Table, read
from medjax.tasks.family import Comparable


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of each run's primary score at its own threshold; without anomalies the means of all scores.

    Args:
      runs: the runs.
      rows: of each run, the same cases in the same order.
    """
    tables, warnings = [], []
    for run, part in zip(runs, rows):
        normal, score = (run.results['analysis'][key] for key in ('normal', 'score'))
        threshold = summary.normal_threshold(run.predictions, normal, score)
        table = read([{**row, 'threshold': threshold} for row in part], normal, score)
        tables.append(dataclasses.replace(table, scores={'': table.scores['']}) if normal else table)
        warnings.append(f'{run.folder}: the primary score is {score}')
    different = len({run.results['analysis']['score'] for run in runs}) > 1
    return Comparable(tables, summary.metric_values, _counted, 'target'.__eq__,
                      warnings=warnings if different else ())


def _counted(table: Table, name: str) -> np.ndarray:
    """The cases that count for a metric, `[n]` bool."""
    if name in table.voxels:
        return np.isfinite(table.voxels[name])
    if name in ('sensitivity', 'specificity'):
        return table.positive == (name == 'sensitivity')
    return np.ones(len(table.patients), bool)
