"""Detection runs on the same images: differences between average precision, FROC and the operating points."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from medjax.report.run_files import Run
from medjax.tasks.detection import coco_ap, summary
from medjax.tasks.detection.table import TRUTH, Row, Table, read
from medjax.tasks.family import Comparable


class Images(NamedTuple):
    """The images of a run, and its operating point, a score."""

    table: Table
    score: float


def compare(runs: Sequence[Run], rows: Sequence[Sequence[Row]]) -> Comparable:
    """All metrics, at each run's own operating point.

    Args:
      runs: the runs.
      rows: of each run, the same images in the same order.
    """
    classes = runs[0].classes
    tables = [Images(read(part, classes), run.results['analysis']['operating']['score'])
              for run, part in zip(runs, rows)]
    return Comparable(tables, _metrics, _counted, TRUTH.__eq__)


def _metrics(images: Images, draws: np.ndarray | None = None) -> dict[str, np.ndarray]:
    found = summary.metric_values(images.table, images.score, summary.size_limits(images.table), draws)
    if draws is None and images.table.dims == 2:
        found |= coco_ap.coco_metrics(images.table.images, images.table.classes)
    return {name: np.ravel(values)[0] for name, values in found.items()} if draws is None else found


def _counted(images: Images, name: str) -> np.ndarray:
    return summary.counted_images(images.table, name)
