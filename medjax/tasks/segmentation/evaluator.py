"""Evaluation of segmentation: whole volumes by sliding windows, with metrics on the grid on which they are stored."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from medjax.core import contracts, distributed
from medjax.core.metrics import column_means
from medjax.core.task import Task
from medjax.data.datasets.prepared_volumes import PreparedVolume
from medjax.data.datasets.volumes import VolumeDataset
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, restore, spacing, to_canonical
from medjax.data.transforms.volumes import volume_preprocess
from medjax.errors import InputError
from medjax.ops.labels import region_matrix
from medjax.ops.sliding_windows import SlidingWindowInference
from medjax.options import Count, FractionBelowOne, NonNegativeInt, Positive
from medjax.tasks.segmentation import mask_metrics, snapshot, table
from medjax.tasks.segmentation.contrast import CONTRAST_CASES, highest_contrast
from medjax.tasks.segmentation.predictor import SegmentationPredictor


@dataclasses.dataclass(frozen=True)
class SegmentationEvaluator(contracts.Evaluator):
    """Segments the volumes of a split and computes their metrics; see `evaluator`."""

    snapshots_by_case = True

    data: VolumeDataset
    inference: SlidingWindowInference
    tolerances: tuple[float, ...]
    surface: str
    lesion_metrics: bool
    postprocess: mask_metrics.Postprocess
    channel: str = ''

    @property
    def metrics(self) -> tuple[str, ...]:
        """The columns that are summarised, in the order of the results."""
        return table.metric_columns(self.data.source.classes, self.lesion_metrics, self.grid.size_error)

    @property
    def grid(self) -> mask_metrics.Grid:
        """How distances and sizes are measured."""
        return mask_metrics.GRIDS[self.data.source.grid]

    @property
    def conventions(self) -> str:
        """The conventions of the metrics: empty classes, the definition of a surface, tolerances and units."""
        unit = {'mm': 'in mm', 'px': 'in pixels, since the images have no pixel size'}[self.grid.length]
        tolerances = ', '.join(f'{name} {value:g} {self.grid.length}'
                               for name, value in zip(self.data.source.classes[1:], self.tolerances, strict=True))
        return (f'{mask_metrics.CONVENTIONS} {mask_metrics.SURFACES[self.surface][1]}, {unit}. '
                f'Tolerance of NSD: {tolerances}.')

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """Returns a row for each case of a split: id, patient, columns and metrics.

        Args:
          variables: the network's variables.
          split: the split's name.
          quick: whether to compute overlap metrics only, on the network's grid, for validation during training.
          snapshots: folder for snapshots of all cases, which the report shows.
        """
        def row(volume: PreparedVolume) -> dict[str, Any]:
            label, confidence = self.inference(variables, self.data.network_input(volume),
                                               self.data.background(volume))
            if quick:
                truth = np.asarray(volume.label)
                metrics = mask_metrics.case_metrics(label, truth, spacing(volume.affine), self.data.source.classes,
                                                    surfaces=None, grid=self.data.source.grid,
                                                    regions=self.data.source.regions)
            else:
                image, reference = map(to_canonical, volume.case.read())
                label = self.postprocess(restore(Image(label, volume.affine), image, kind='label').array)
                if snapshots is not None:
                    confidence = restore(Image(confidence, volume.affine), image, kind='linear').array
                return self.measured(volume, split, image, reference.array, label, confidence, snapshots)
            return self._row(volume, split, metrics)

        return distributed.mapped(row, self.data.cases(split))

    def measured(self, volume: PreparedVolume, split: str, image: Image, truth: np.ndarray, label: np.ndarray,
                 confidence: np.ndarray, snapshots: pathlib.Path | None) -> dict[str, Any]:
        """The row of a case whose labels are given.

        Args:
          volume: the case.
          split: the split's name.
          image: as stored, in RAS+.
          truth: the reference `[X, Y, Z]`.
          label: the labels after post-processing, of the same shape.
          confidence: the probability of the predicted class; read for a snapshot only, and then of the same shape.
          snapshots: folder for the snapshot of the case; None for none.
        """
        source = self.data.source
        metrics = mask_metrics.case_metrics(
            label, truth, spacing(image.affine), source.classes, tolerances=self.tolerances, surfaces=self.surface,
            lesions=self.lesion_metrics, grid=source.grid, regions=source.regions)
        if snapshots is not None:
            name = self.shown_channel
            number = source.channels.index(name) if name else 0
            snapshot.save(snapshots / f'{volume.case.id}.npz', image, truth, label, confidence,
                          region_matrix(source.classes, source.regions), number, name)
        return self._row(volume, split, metrics)

    def show_channel(self, name: str) -> 'SegmentationEvaluator':
        """The evaluator with another channel for the report; see `contracts.Evaluator`."""
        names = self.data.source.channels
        if name not in names:
            raise InputError(f'config.report.channel: {name!r}; expected one of: {", ".join(names)}')
        return dataclasses.replace(self, channel=name)

    @functools.cached_property
    def shown_channel(self) -> str:
        """The name of the channel that the report shows; '' where there is a single one."""
        names = self.data.source.channels
        if self.channel or len(names) < 2:
            return self.channel
        cases = self.data.training[:CONTRAST_CASES]
        return names[highest_contrast((volume.image[..., :len(names)], volume.label) for volume in cases)]

    def _row(self, volume: PreparedVolume, split: str, metrics: Mapping[str, float]) -> dict[str, Any]:
        return {'split': split, 'id': volume.case.id, 'patient': volume.case.patient, **volume.case.columns,
                **table.case_columns(metrics, self.data.source.classes)}

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means of the metrics over the cases."""
        return column_means(rows)


def evaluator(*, data: VolumeDataset, task: Task, overlap: FractionBelowOne = 0.5, flips: Sequence[NonNegativeInt] = (),
              batch: Count = 4, tolerance_mm: Positive | Mapping[str, Positive] = 1.0, surface: str = 'voxels',
              lesion_metrics: bool = False, largest_component: bool = False,
              fill_holes: bool = False) -> SegmentationEvaluator:
    """The evaluator of segmentation.

    Args:
      data: the data set.
      task: the task.
      overlap: fraction of a window that it shares with the next, in [0, 1).
      flips: axes of test-time mirroring; none by default.
      batch: windows per batch.
      tolerance_mm: tolerance of the normalised surface distance, for all classes or by the class's name; in pixels
        where the images have no pixel size.
      surface: definition of a surface for hd95, assd and nsd: 'voxels' (as MONAI) or 'area' (as surface-distance).
      lesion_metrics: compute lesion-wise F1, and the numbers of merged and split lesions.
      largest_component: keep the largest connected component of each class only.
      fill_holes: fill holes within each class.

    Raises:
      InputError: an option is out of range.
    """
    if surface not in mask_metrics.SURFACES:
        raise InputError(f'config.evaluate.surface: {surface!r}; expected one of: {", ".join(mask_metrics.SURFACES)}')
    inference = _sliding_windows(task, data.patch, overlap, flips, batch, bool(data.source.regions))
    return SegmentationEvaluator(data, inference, _tolerances(tolerance_mm, data.source.classes[1:]), surface,
                                 lesion_metrics, _postprocess(largest_component, fill_holes, data.source.regions))


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], encode: Callable[[np.ndarray], np.ndarray],
              overlap: FractionBelowOne = 0.5, flips: Sequence[NonNegativeInt] = (), batch: Count = 4,
              tolerance_mm: Positive | Mapping[str, Positive] = 1.0, surface: str = 'voxels',
              lesion_metrics: bool = False, largest_component: bool = False, fill_holes: bool = False,
              output_name: Callable[[pathlib.Path], str] = image_files.output_name) -> SegmentationPredictor:
    """The predictor of new images, which segments as the evaluator does.

    Args:
      task: the task.
      data: the options of `data.datasets.volumes.dataset`.
      statistics: statistics of the training data, as stored with the checkpoint.
      read: reads an image.
      encode: turns class numbers into the values or colours of the training labels.
      overlap: see `evaluator`, also for flips, batch, largest_component and fill_holes.
      flips: …
      batch: …
      tolerance_mm: an option of the evaluator that is ignored, as are surface and lesion_metrics.
      surface: …
      lesion_metrics: …
      largest_component: …
      fill_holes: …
      output_name: the name of the labels' file of an input.

    Raises:
      InputError: an option is out of range.
    """
    regions = statistics.get('regions') or {}
    inference = _sliding_windows(task, data['patch'], overlap, flips, batch, bool(regions))
    preprocess = volume_preprocess(**data, classes=len(statistics['classes']))
    return SegmentationPredictor(preprocess, statistics, read, encode, inference,
                                 _postprocess(largest_component, fill_holes, regions), output_name)


def _postprocess(largest_component: bool, fill_holes: bool,
                 regions: Mapping[str, Sequence[int]]) -> mask_metrics.Postprocess:
    """The postprocessing of labels, which is not defined for regions: a part of one may be all of another."""
    if regions and (largest_component or fill_holes):
        raise InputError(f'config.evaluate: largest_component={largest_component}, fill_holes={fill_holes}; expected '
                         'False for classes that are regions')
    return mask_metrics.Postprocess(largest_component, fill_holes)


def _tolerances(given: float | Mapping[str, float], classes: Sequence[str]) -> tuple[float, ...]:
    """The tolerance of each class.

    Raises:
      InputError: a class is missing or unknown, or a number is not above 0.
    """
    by_class = dict(given) if isinstance(given, Mapping) else dict.fromkeys(classes, given)
    if set(by_class) != set(classes) or not all(0 < value < float('inf') for value in by_class.values()):
        raise InputError(f'config.evaluate.tolerance_mm: {by_class}; expected a number above 0 for each of '
                         f'{", ".join(classes)}')
    return tuple(float(by_class[name]) for name in classes)


def _sliding_windows(task: Task, patch: Sequence[int], overlap: float, flips: Sequence[int],
                     batch: int, regions: bool) -> SlidingWindowInference:
    """Sliding-window inference with the task's network."""
    return SlidingWindowInference(lambda variables, image: task.predict(variables, {'image': image})['probs'],
                                  window=patch, overlap=overlap, flips=flips, batch=batch, regions=regions)
