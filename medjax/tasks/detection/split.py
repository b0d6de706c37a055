"""A split of a detection run for its report: true and found boxes, and the results."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.metrics import detection
from medjax.report import split as report_split
from medjax.report.chapter import split_name
from medjax.report.run_files import Run
from medjax.tasks.detection import table


@dataclasses.dataclass(frozen=True)
class DetectionSplit(report_split.Split[table.Table]):
    """The images of a split."""

    @property
    def operating(self) -> Mapping[str, Any]:
        """The operating point: `score`, `rule`, `split`."""
        return self.run.results['analysis']['operating']

    @property
    def hit_metric(self) -> str:
        """The AP at the IoU threshold of a hit: 'ap50' in 2D, 'ap10' in 3D."""
        return next(iter(detection.reported_thresholds(self.table.dims)))

    @functools.cached_property
    def ranks(self) -> Mapping[str, np.ndarray]:
        """The images ranked by their AP; see `metrics.detection.rank_images`."""
        return detection.rank_images(self.table.images, len(self.table.classes), self.table.dims)

    @property
    def images_name(self) -> str:
        """The name of the images in texts, such as 'test images'."""
        return f'{split_name(self.split).lower()} images'


def read_split(run: Run, split: str) -> DetectionSplit:
    """The images of a split.

    Raises:
      InputError: the predictions table lacks boxes.
    """
    part = report_split.read_split(run, split, lambda rows: table.read(rows, run.classes))
    return DetectionSplit(part.run, part.split, part.rows, part.table)
