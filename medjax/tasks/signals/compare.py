"""Signal runs on the same recordings: differences between means over patients of per-recording metrics."""

from collections.abc import Mapping, Sequence
from typing import Any

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable, compare_means
from medjax.tasks.signals.table import METRICS, TRUE


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Mapping[str, Any]]]) -> Comparable:
    """The metrics of the network; those of the baseline detector are the same in all runs.

    Args:
      runs: the runs.
      rows: of each run, the same recordings in the same order.
    """
    return compare_means(rows, METRICS, [TRUE])
