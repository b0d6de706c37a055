"""Evaluates segmentation case by case: whole volumes by sliding windows, measured on the grid they were stored on."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from medjax import atomic_files
from medjax.core import contracts
from medjax.core.metrics import column_means
from medjax.core.task import Batch, Task
from medjax.data.datasets.volumes import Volumes
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, restore, spacing, to_canonical
from medjax.data.transforms.volumes import VolumePreprocess, flat_axis, volume_preprocess, with_context
from medjax.errors import InputError
from medjax.ops import sliding_windows
from medjax.tasks.segmentation import mask_metrics


@dataclasses.dataclass(frozen=True)
class Segmenter:
    """Labels whole volumes with a network that sees windows.

    Attributes:
      predict: `(variables, batch) -> {'probs': [B, *S, K]}`.
      patch: the window's voxels along x, y, z.
      overlap: of neighbouring windows, as a share of their extent.
      flips: spatial axes that test-time augmentation mirrors, averaging all combinations.
      batch: windows that go through the network at once.
    """

    predict: Callable[[Any, Batch], Mapping[str, jax.Array]]
    patch: tuple[int, int, int]
    overlap: float
    flips: tuple[int, ...]
    batch: int

    @functools.cached_property
    def _slide(self) -> sliding_windows.SlidingWindowInference:
        return sliding_windows.SlidingWindowInference(lambda variables, image: self.predict(variables, {'image': image})['probs'],
                               window=self.patch, overlap=self.overlap, flips=self.flips, batch=self.batch)

    def __call__(self, variables: Any, image: np.ndarray, air: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Labels `[X, Y, Z]` uint8 of a normalised image `[X, Y, Z, C]`, and the chosen class's probability.

        What a window shows beyond the image is `air [C]`, as in training.
        """
        return self._slide(variables, image, air)


@dataclasses.dataclass(frozen=True)
class VolumeEvaluator(contracts.Evaluator):
    """Predicts, restores and measures the cases of a split; see `evaluator`."""

    data: Volumes
    segmenter: Segmenter
    tolerance_mm: float
    surface: str
    lesions: bool
    postprocess: mask_metrics.Postprocess


    @property
    def metrics(self) -> tuple[str, ...]:
        """What goes to the table of results, in its order."""
        names = ('dice', 'iou', 'sensitivity', 'precision', 'hd95', 'assd', 'nsd', 'volume_error_ml',
                 *(['lesion_f1'] if self.lesions else []))
        return ('dice_mean', *(f'{name}_{c}' for c in self.data.source.classes[1:] for name in names))

    @property
    def conventions(self) -> str:
        """What the numbers mean where a class is empty, and what distances are between."""
        return f'{mask_metrics.CONVENTIONS} {mask_metrics.SURFACES[self.surface][1]}'

    def __call__(self, variables: Any, split: str, *, quick: bool = False,
                 snapshots: pathlib.Path | None = None) -> list[dict[str, Any]]:
        """A row per case of the split: id, patient, columns and metrics.

        Args:
          variables: the network's.
          split: which cases.
          quick: measure overlap alone, on the network's grid; what validation while training wants.
          snapshots: folder for each case's image, truth and prediction, which the report draws.
        """
        rows = []
        for prepared in self.data.cases(split):
            label, confidence = self.segmenter(variables, self.data.volume(prepared), self.data.air(prepared))
            if quick:
                truth, voxel, shown = np.asarray(prepared.label), spacing(prepared.affine), None
            else:
                image, truth = map(to_canonical, prepared.case.read())
                label = self.postprocess(restore(Image(label, prepared.affine), image, kind='label').array)
                truth, voxel, shown = truth.array, spacing(image.affine), image
            measured = mask_metrics.case_metrics(label, truth, voxel, self.data.source.classes,
                                          tolerance_mm=self.tolerance_mm, surfaces=None if quick else self.surface,
                                          lesions=self.lesions and not quick)
            dice = [measured[f'dice_{name}'] for name in self.data.source.classes[1:]]
            counted = [value for value in dice if value == value]
            measured = {'dice_mean': float(np.mean(counted)) if counted else float('nan'), **measured}
            rows.append({'split': split, 'id': prepared.case.id, 'patient': prepared.case.patient,
                         **prepared.case.columns, **measured})
            if shown is not None and snapshots is not None:
                confidence = restore(Image(confidence, prepared.affine), shown, kind='linear').array
                keep_snapshot(snapshots / f'{prepared.case.id}.npz', shown, truth, label, confidence)
        return rows

    def validation_metrics(self, rows: Sequence[Mapping[str, Any]]) -> dict[str, float]:
        """Means over the cases of what is measured."""
        return column_means(rows)


@dataclasses.dataclass(frozen=True)
class VolumePredictor(contracts.Predictor):
    """Labels images that are no cases of the data set; see `predictor`."""

    preprocess: VolumePreprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    segmenter: Segmenter
    postprocess: mask_metrics.Postprocess

    file_per_input = True  # a file for each image, of its name

    @property
    def _channels(self) -> int:
        return self.statistics['channels'] * (2 * self.preprocess.context + 1)

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shape that the network sees."""
        extents = [n for n in self.segmenter.patch if n > 1]
        return {'image': np.zeros((1, *extents, self._channels), np.float32)}

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Labels an image and writes the label, on the image's own grid, into a folder.

        Args:
          variables: the network's.
          path: of a file, or of a folder with a DICOM series.
          folder: gets NAME.nii.gz, or NAME.png for a picture.

        Returns:
          A line on what was found, for the person who waits.

        Raises:
          InputError: where the image is not such as the network was trained on, or the label cannot be written.
        """
        image = self.read(path)
        image_files.check_finite(image)
        grid, _, case = self.preprocess.to_grid(image)
        array = grid.array
        if array.shape[-1] != self.statistics['channels']:
            raise InputError(f'{path}: {array.shape[-1]} channels; expected {self.statistics["channels"]} channels, as '
                             'in training')
        array, air = (self.preprocess.normalise(a, case, self.statistics['intensities'])
                      for a in (array, np.array(case['min'])))
        context = self.preprocess.context
        label, _ = self.segmenter(variables, with_context(array, context, flat_axis(self.segmenter.patch) or 0),
                                  np.tile(air, 2 * context + 1))
        label = self.postprocess(restore(Image(label, grid.affine), image, kind='label').array)
        out = folder / image_files.output_name(path)
        image_files.write(out, label, image.affine)
        millilitres = np.prod(spacing(image.affine)) / 1000
        found = [f'{name} {np.count_nonzero(label == number) * millilitres:.4g} ml'
                 for number, name in enumerate(self.statistics['classes'][1:], 1)]
        return f'{path} → {out}   {"   ".join(found)}'


def keep_snapshot(path: pathlib.Path, image: Image, truth: np.ndarray, label: np.ndarray,
                  confidence: np.ndarray) -> None:
    """Writes what the report draws of a case; a 2D image has one slice and is drawn as a photograph."""
    array = image.array if image.array.ndim == 3 else image.array[..., 0]
    kind = 'image' if array.shape[2] == 1 else 'volume'
    atomic_files.write_arrays(path, image=array.astype(np.float32), label=truth.astype(np.uint8),
                              pred=label.astype(np.uint8), confidence=confidence.astype(np.float16),
                              spacing=np.array(spacing(image.affine)), kind=kind)


def evaluator(*, data: Volumes, task: Task, overlap: float = 0.5, flips: Sequence[int] = (), batch: int = 4,
              tolerance_mm: float = 1.0, surface: str = 'voxels', lesions: bool = False,
              largest_component: bool = False, fill_holes: bool = False) -> VolumeEvaluator:
    """Makes the evaluator of volumes.

    Args:
      data: the data set.
      task: the problem.
      overlap: of neighbouring windows, 0 to below 1.
      flips: axes of test-time mirroring; none by default.
      batch: windows at once.
      tolerance_mm: of the normalised surface distance.
      surface: what hd95, assd and nsd are measured between: 'voxels' (as MONAI) or 'area' (as surface-distance).
      lesions: measure lesion-wise F1 too.
      largest_component: keep each class's largest connected component only.
      fill_holes: fill holes within each class.
    """
    if surface not in mask_metrics.SURFACES:
        raise InputError(f'config.evaluate.surface: {surface!r} is not one of: {", ".join(mask_metrics.SURFACES)}')
    segmenter = Segmenter(task.predict, data.patch, overlap, tuple(flips), batch)
    return VolumeEvaluator(data, segmenter, tolerance_mm, surface, lesions,
                           mask_metrics.Postprocess(largest_component, fill_holes))


def predictor(*, task: Task, data: Mapping[str, Any], statistics: Mapping[str, Any],
              read: Callable[[pathlib.Path], Image], overlap: float = 0.5, flips: Sequence[int] = (), batch: int = 4,
              tolerance_mm: float = 1.0, surface: str = 'voxels', lesions: bool = False,
              largest_component: bool = False, fill_holes: bool = False) -> VolumePredictor:
    """Makes what labels new images as the evaluator labels its cases.

    Args:
      task: the problem.
      data: the options of `data.datasets.volumes.dataset`.
      statistics: of the training cases, as stored with the checkpoint.
      read: reads an image.
      overlap: see `evaluator`, as for flips, batch, largest_component and fill_holes.
      flips: …
      batch: …
      tolerance_mm: the evaluator's, as are surface and lesions; of no use here.
      surface: …
      lesions: …
      largest_component: …
      fill_holes: …
    """
    segmenter = Segmenter(task.predict, tuple(data['patch']), overlap, tuple(flips), batch)
    return VolumePredictor(volume_preprocess(**data), statistics, read, segmenter,
                           mask_metrics.Postprocess(largest_component, fill_holes))
