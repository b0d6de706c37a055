"""Segmentation of new images with a trained run."""

import dataclasses
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from medjax.core import contracts
from medjax.data.io import image_files
from medjax.data.io.geometry import Image, restore, spacing
from medjax.data.transforms.volumes import VolumePreprocess, flat_axis
from medjax.ops.labels import region_matrix
from medjax.ops.sliding_windows import SlidingWindowInference
from medjax.report.tables import format_significant
from medjax.tasks.segmentation.mask_metrics import Postprocess

CERTAIN = 0.9  # probability from which background is certain
SMALL = 6  # voxels along each axis of a small copy


@dataclasses.dataclass(frozen=True)
class SegmentationPredictor(contracts.Predictor):
    """Segments new images; see `evaluator.predictor`.

    Attributes:
      preprocess: brings images to the network's grid.
      statistics: statistics of the training data.
      read: reads an image.
      encode: turns class numbers into the values or colours of the training labels.
      inference: segments whole volumes by sliding windows.
      postprocess: applied to the labels.
      output_name: the name of the labels' file of an input.
    """

    preprocess: VolumePreprocess
    statistics: Mapping[str, Any]
    read: Callable[[pathlib.Path], Image]
    encode: Callable[[np.ndarray], np.ndarray]
    inference: SlidingWindowInference
    postprocess: Postprocess
    output_name: Callable[[pathlib.Path], str] = image_files.output_name

    finds = 'labels'

    def outputs(self, path: pathlib.Path) -> tuple[str]:
        """The label's name."""
        return (self.output_name(path),)

    @property
    def _channels(self) -> int:
        return self.statistics['channels'] * (2 * self.preprocess.context + 1)

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        extents = [n for n in self.inference.window if n > 1]
        return {'image': np.zeros((1, *extents, self._channels), np.float32)}

    def uncertainty_and_features(self, variables: Any, path: pathlib.Path) -> tuple[float, np.ndarray]:
        """The mean uncertainty of structures and borders of an image, and a small copy of it with its classes' shares.

        The uncertainty is 1 minus the probability of the most probable class. Its mean is over voxels that are not
        background, or background with a probability below `CERTAIN`; 0 where there are none.
        """
        volume = self.preprocess.network_input(self.read(path), self.statistics, flat_axis(self.inference.window) or 0)
        label, confidence = self.inference(variables, volume.image, volume.background)
        counted = (label > 0) | (confidence < CERTAIN)
        uncertainty = float((1 - confidence[counted]).mean()) if counted.any() else 0.0
        shares = np.bincount(label.ravel(), minlength=len(self.statistics['classes'])) / label.size
        grid = [np.linspace(0, extent - 1, SMALL).round().astype(int) for extent in label.shape]
        return uncertainty, np.concatenate([volume.image[np.ix_(*grid)].mean(-1).ravel(), shares])

    def warm(self, variables: Any) -> None:
        """Compiles the prediction of a batch of windows; see `contracts.Predictor`."""
        self.inference(variables, np.zeros((*self.inference.window, self._channels), np.float32))

    def __call__(self, variables: Any, path: pathlib.Path, folder: pathlib.Path) -> str:
        """Segments an image and writes the labels on its own grid, with the values or colours of the training labels.

        Args:
          variables: the network's variables.
          path: a file, or a folder with a DICOM series.
          folder: the output folder, for NAME.nii.gz, or NAME.png for a 2D image.

        Returns:
          A line with the volume of each class.

        Raises:
          InputError: the image does not fit the network, or the labels cannot be written.
        """
        image = self.read(path)
        label = self.labels(variables, image)
        output = folder / self.output_name(path)
        image_files.write(output, self.encode(label), image.affine, like=image.path)
        return f'{path} → {output}   {self._volumes(label, image.affine)}'

    def findings(self, variables: Any, path: pathlib.Path, probs: bool = False) -> contracts.Findings:
        """The labels of an image on its own grid, and the probabilities of all classes where asked for.

        Outside of the network's grid, which may be cropped, the background has the probability 1. Beside regions, its
        probability is one minus the largest of theirs.
        """
        image = self.read(path)
        label = self.labels(variables, image)
        found = self.probabilities(variables, image) if probs else None
        return contracts.Findings(self.statistics['classes'], self._volumes(label, image.affine), label, found)

    def probabilities(self, variables: Any, image: Image) -> np.ndarray:
        """The probabilities of all classes on an image's own grid, `[X, Y, Z, K]` float32; see `findings`.

        Args:
          variables: the network's variables.
          image: as read.
        """
        volume = self.preprocess.network_input(image, self.statistics, flat_axis(self.inference.window) or 0)
        found = self.inference.probabilities(variables, volume.image, volume.background)
        found = restore(Image(found, volume.affine), image, kind='linear').array
        if self.inference.regions:
            return np.concatenate([1 - found.max(-1, keepdims=True), found], -1)
        found[..., 0] += 1 - found.sum(-1)
        return found

    def labels(self, variables: Any, image: Image) -> np.ndarray:
        """The class numbers of an image on its own grid, `[X, Y, Z]`.

        Args:
          variables: the network's variables.
          image: as read.
        """
        volume = self.preprocess.network_input(image, self.statistics, flat_axis(self.inference.window) or 0)
        label, _ = self.inference(variables, volume.image, volume.background)
        return self.postprocess(restore(Image(label, volume.affine), image, kind='label').array)

    def _volumes(self, label: np.ndarray, affine: np.ndarray) -> str:
        """The volume of each class or region as text."""
        millilitres, classes = np.prod(spacing(affine)) / 1000, self.statistics['classes']
        members = map(np.flatnonzero, region_matrix(classes, self.statistics.get('regions') or {}))
        return '   '.join(f'{name} {format_significant(np.count_nonzero(np.isin(label, inside)) * millilitres, 4)} ml'
                          for name, inside in zip(classes[1:], members))
