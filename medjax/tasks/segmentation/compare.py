"""Segmentation runs on the same cases: differences between means over patients of per-case metrics."""

from collections.abc import Sequence

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable, compare_means
from medjax.tasks.segmentation.table import Row


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of each class; masks are not in the table, so that the runs' true masks are not compared.

    Args:
      runs: the runs.
      rows: of each run, the same cases in the same order.
    """
    split = rows[0][0]['split']
    return compare_means(rows, list(dict.fromkeys(name for run in runs for name in run.results.get(split, ()))))
