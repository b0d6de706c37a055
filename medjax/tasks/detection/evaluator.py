"""Evaluation of detection: a row of the predictions table for each image, with its true and found boxes."""

import dataclasses
import json
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.core import contracts
from medjax.core.task import Task
from medjax.data.datasets.detection import DetectionDataset, check_patch
from medjax.data.io.geometry import Image, spacing
from medjax.data.source import Objects
from medjax.data.transforms.images import image_preprocess
from medjax.errors import InputError
from medjax.metrics import box_matching, detection
from medjax.metrics.box_matching import IgnoredRegions, ImageBoxes, no_regions
from medjax.options import Count, FractionBelowOne, NonNegativeInt, Probability
from medjax.tasks.detection import snapshot, summary, table
from medjax.tasks.detection.inference import BatchedDetector, Detections
from medjax.tasks.detection.predictor import DetectionPredictor

DEFAULT_SCORE = 0.5  # score threshold of new images where the run has no operating point


@dataclasses.dataclass(frozen=True)
class DetectionEvaluator(contracts.Evaluator):
    """Detects the objects in the images of a split; see `evaluator`."""

    data: DetectionDataset
    detector: BatchedDetector
    examples: int

    @property
    def _dims(self) -> int:
        return len(self.data.preprocess.size)

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Returns a row for each image of a split: id, patient, columns, and its boxes in the stored image's voxels.

        Args:
          variables: the network's variables.
          split: the split's name.
          quick: makes no difference.
          snapshots: folder for snapshots of a few images, which the report shows.
        """
        source, numbers, rows, found = self.data.source, self.data.numbers(split), [], []

        def inputs(places: np.ndarray) -> dict[str, np.ndarray]:
            targets = self.data.targets(numbers[places]) if self.data.proposals else {}
            proposals = {name: array for name, array in targets.items() if name.startswith('proposal')}
            return {'image': self.data.images(numbers[places]), **proposals}

        for number, detections in zip(numbers, self.detector(variables, inputs, len(numbers))):
            case = source.cases[number]
            boxes = ImageBoxes(case.target.boxes, case.target.labels, self.data.to_stored(number, detections.boxes),
                               detections.labels, detections.scores, self._ignored(case.target))
            voxel = spacing(self.data.affines[number]) if self._dims == 3 else None
            rows.append({'split': split, 'id': case.id, 'patient': case.patient, **case.columns,
                         **table.image_columns(source.classes, self.data.grid(number).shape, voxel, boxes)})
            found.append(detections)
        if snapshots is not None:
            self._save_snapshots(numbers, found, rows, snapshots)
        return rows

    def _ignored(self, target: Objects) -> IgnoredRegions | None:
        """The ignored regions of a case; None where the data set has none."""
        return target.ignored or (no_regions(self._dims) if self.data.max_ignored else None)

    def complete(self, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
        """Adds the counts of each image at the operating point; see `summary`."""
        return summary.add_counts(rows, self.data.source.classes)

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """The metrics of a table, those of a class as NAME_CLASS; NaN where one is not defined."""
        classes = self.data.source.classes
        images = [table.read_boxes(row, classes, self._dims) for row in rows]
        matches = box_matching.match_classes(images, len(classes), detection.iou_thresholds(self._dims))
        metrics = summary.named_metrics(matches, classes, self._dims, np.ones((1, len(images))))
        return {name: float(value[0]) for name, value in metrics.items()}

    def _save_snapshots(self, numbers: np.ndarray, found: Sequence[Detections], rows: Sequence[Mapping[str, Any]],
                        folder: pathlib.Path) -> None:
        """Saves snapshots of the best, the median and the worst images, and removes earlier ones."""
        classes = self.data.source.classes
        images = [table.read_boxes(row, classes, self._dims) for row in rows]
        ranks = detection.rank_images(images, len(classes), self._dims)
        for earlier in folder.glob('*.npz'):
            earlier.unlink()
        for place in dict.fromkeys(int(place) for order in ranks.values() for place in order[:self.examples]):
            number = numbers[place]
            voxel = spacing(self.data.affines[number]) if self._dims == 3 else (1.0, 1.0)
            snapshot.save(folder / f'{self.data.source.cases[number].id}.npz', np.asarray(self.data.arrays[number]),
                          ImageBoxes(*self.data.truth(number), *found[place], self.data.ignored(number)),
                          self.data.grid(number), voxel)


def evaluator(*, data: DetectionDataset, task: Task, batch: Count = 8, examples: NonNegativeInt = 2,
              score_threshold: Probability | None = None, overlap: FractionBelowOne = 0.5,
              nms_threshold: Probability = 0.5) -> DetectionEvaluator:
    """The evaluator of detection.

    Args:
      data: the data set.
      task: the task.
      batch: images per batch.
      examples: number of images of each kind, best, median and worst, that the report shows.
      score_threshold: for `predictor`: smallest score of a box in new images; by default the operating point, which is
        chosen on the split `calibrate`, or without one on validation cases. The evaluation itself uses all detections.
      overlap: for a network trained on patches: fraction of a window that it shares with the next.
      nms_threshold: for a network trained on patches: IoU threshold of the non-maximum suppression over all windows.

    Raises:
      InputError: an option is out of range.
    """
    _check_score(score_threshold or 0.0)
    return DetectionEvaluator(data, BatchedDetector(task, batch, data.patch, overlap, nms_threshold), examples)


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], folder: pathlib.Path, score_threshold: Probability | None = None,
              overlap: FractionBelowOne = 0.5, nms_threshold: Probability = 0.5, **_: Any) -> DetectionPredictor:
    """The predictor of new images, which detects as the evaluator does.

    Args:
      task: the task.
      data: the options of `data.datasets.detection.dataset`.
      statistics: statistics of the training data, as stored with the checkpoint.
      read: reads an image.
      folder: of the run.
      score_threshold: smallest score of the boxes that are written and drawn; by default the run's operating point.
      overlap: as in `evaluator`, also for nms_threshold.
      nms_threshold: …
      **_: the evaluator's other options, which are ignored.

    Raises:
      InputError: an option is out of range.
    """
    score = _operating_point(folder) if score_threshold is None else score_threshold
    _check_score(score)
    preprocess, proposals = image_preprocess(**data), data.get('proposals', 0)
    window = check_patch(data.get('patch', ()), preprocess.size, proposals)
    detector = BatchedDetector(task, 1, window, overlap, nms_threshold)
    return DetectionPredictor(preprocess, statistics, read, detector, proposals, score)


def _operating_point(folder: pathlib.Path) -> float:
    """The score threshold that the run's evaluation chose; a default where it was not evaluated."""
    try:
        return float(json.loads((folder / 'results.json').read_text())['analysis']['operating']['score'])
    except (OSError, ValueError, KeyError, TypeError):
        return DEFAULT_SCORE


def _check_score(score: float) -> None:
    if not 0 <= score <= 1:
        raise InputError(f'config.evaluate.score_threshold: {score}; expected a number from 0 to 1')
