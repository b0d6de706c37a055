"""Translation runs on the same images: differences between means over patients of image fidelity."""

from collections.abc import Sequence

from medjax.report.run_files import Run
from medjax.tasks.family import Comparable, compare_means
from medjax.tasks.translation.table import CYCLE, METRICS, Row


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """The metrics of the network; differences between gains over a baseline would be the same as those of PSNR.

    Args:
      runs: the runs.
      rows: of each run, the same cases in the same order.
    """
    return compare_means(rows, [*METRICS, CYCLE])
