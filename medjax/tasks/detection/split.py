"""A split of a detection run as its report draws it: true and found boxes, and the results."""

import dataclasses
import functools
from collections.abc import Mapping
from typing import Any

import numpy as np

from medjax.errors import InputError
from medjax.metrics import detection
from medjax.report.run_files import Run
from medjax.report.split import Split
from medjax.tasks.detection import table


@dataclasses.dataclass(frozen=True)
class Detected(Split[table.Table]):
    """A split's images."""

    @property
    def operating(self) -> Mapping[str, Any]:
        """The operating point: `score`, `rule`, `split`."""
        return self.run.results['analysis']['operating']

    @property
    def lead(self) -> str:
        """The AP whose threshold makes a hit, 'ap50' or 'ap10'."""
        return next(iter(detection.reported_thresholds(self.table.dims)))

    @functools.cached_property
    def ranked(self) -> Mapping[str, np.ndarray]:
        """See `detections.ranked`."""
        return detection.rank_images(self.table.images, len(self.table.classes), self.table.dims)


def detect(run: Run, split: str) -> Detected:
    """The images of a split.

    Raises:
      InputError: where the table of predictions lacks boxes.
    """
    rows = run.rows(split)
    try:
        return Detected(run, split, rows, table.read(rows, run.classes))
    except InputError as error:
        raise InputError(f'{run.folder / "predictions.csv"}: {error}') from None
