"""Segmentation of new images as nnU-Net does it: its windows, its mirroring, and the mean over folds."""

import dataclasses
import functools
import itertools
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from scipy import ndimage

from medjax.core import contracts
from medjax.data.io import channel_files, image_files
from medjax.data.io.geometry import Image, restore, spacing, to_canonical
from medjax.data.io.nnunet_dataset import Description
from medjax.data.transforms.nnunet_grid import NnunetPreprocess
from medjax.ops.labels import region_matrix
from medjax.ops.sliding_windows import SlidingWindowInference
from medjax.report.tables import format_significant


def window_starts(size: int, window: int, overlap: float) -> list[int]:
    """Start positions of nnU-Net's windows along an axis: evenly spaced, at most `window * (1 - overlap)` apart."""
    count = int(np.ceil((size - window) / (window * (1 - overlap)))) + 1
    return [round(number * (size - window) / max(count - 1, 1)) for number in range(count)]


def window_weights(window: Sequence[int]) -> np.ndarray:
    """nnU-Net's weights of a window's voxels, `[*window]` float32: a Gaussian in half precision, nowhere 0."""
    extents = [n for n in window if n > 1]
    point = np.zeros(extents)
    point[tuple(n // 2 for n in extents)] = 1
    weights = ndimage.gaussian_filter(point, [n / 8 for n in extents], mode='constant')
    weights = (weights * (10 / weights.max())).astype(np.float16)
    weights[weights == 0] = weights[weights > 0].min()
    return weights.astype(np.float32).reshape(window)


def logit_windows(forward: Callable[[Any, Any], Any], window: Sequence[int], flips: Sequence[int],
                  batch: int = 1) -> SlidingWindowInference:
    """Sliding windows over whole images whose outputs are logits, as nnU-Net averages them.

    Args:
      forward: `(variables, image) -> logits`; see `SlidingWindowInference`.
      window: extents, three numbers.
      flips: axes of the image that test-time mirroring flips.
      batch: windows per forward pass.
    """
    axes = [axis + 1 - list(window[:axis]).count(1) for axis in flips]  # of what `forward` takes
    return SlidingWindowInference(functools.partial(_mirrored, forward, axes), window=window, overlap=0.5, batch=batch,
                                  starts=window_starts, weights=window_weights)


def _mirrored(forward: Callable[[Any, Any], Any], axes: Sequence[int], variables: Any, image: jax.Array) -> jax.Array:
    """The mean of a network's outputs over all mirror images along some axes; the network is compiled once."""
    def add(total: jax.Array, chosen: jax.Array) -> tuple[jax.Array, None]:
        return total + _flipped(forward(variables, _flipped(image, axes, chosen)), axes, chosen), None

    choices = np.array(list(itertools.product((False, True), repeat=len(axes))))
    out = jax.eval_shape(forward, variables, image)
    total, _ = jax.lax.scan(add, jnp.zeros(out.shape, out.dtype), choices)
    return total / len(choices)


def _flipped(array: jax.Array, axes: Sequence[int], chosen: jax.Array) -> jax.Array:
    """An array that is flipped along the chosen ones of some axes."""
    for number, axis in enumerate(axes):
        array = jnp.where(chosen[number], jnp.flip(array, axis), array)
    return array


@dataclasses.dataclass(frozen=True)
class NnunetPredictor(contracts.Predictor):
    """Segments new cases by a trained nnU-Net.

    Attributes:
      described: channels and labels of the data set it was trained with.
      preprocess: brings images to the network's grid.
      inference: the sliding windows.
      reorient: whether images are reoriented to RAS+ before all else.
    """

    described: Description
    preprocess: NnunetPreprocess
    inference: SlidingWindowInference
    reorient: bool = False

    @property
    def classes(self) -> tuple[str, ...]:
        """Names, background first."""
        return self.described.code.classes

    def outputs(self, path: pathlib.Path) -> tuple[str]:
        """The label's name."""
        return (channel_files.output_name(path),)

    def example(self) -> dict[str, np.ndarray]:
        """A batch of the shapes that the network takes."""
        extents = [n for n in self.inference.window if n > 1]
        return {'image': np.zeros((1, *extents, len(self.described.channels)), np.float32)}

    def label(self, variables: Sequence[Any], image: Image) -> np.ndarray:
        """Class numbers of an image on its own grid, `[X, Y, Z]` uint8.

        Args:
          variables: those of each fold.
          image: as stored.
        """
        stored, image = image, to_canonical(image) if self.reorient else image
        array, grid = self.preprocess(image)
        fill = np.zeros(array.shape[-1], np.float32)
        axes, folds = zip(*(self.inference.planes(of_fold, array, fill) for of_fold in variables))
        planes = (sum(of_folds[1:], of_folds[0]) for of_folds in zip(*folds))  # a mean has the same largest one
        label = self.preprocess.labels(axes[0], planes, array.shape[axes[0]], grid, bool(self.described.regions))
        return restore(Image(label, image.affine), stored, 'label').array if self.reorient else label

    def __call__(self, variables: Sequence[Any], path: pathlib.Path, folder: pathlib.Path) -> str:
        """Segments a case and writes its labels with the values of `dataset.json`.

        Args:
          variables: those of each fold.
          path: the file of the case's first channel.
          folder: the output folder, for CASE.nii.gz.

        Returns:
          A line with the volume of each class or region.

        Raises:
          InputError: a channel is missing, or the image does not fit the network.
        """
        image = channel_files.read_case(path, self.described.channels)
        label = self.label(variables, image)
        output = folder / channel_files.output_name(path)
        image_files.write(output, self.described.code.encode(label), image.affine, like=image.path)
        millilitres = np.prod(spacing(image.affine)) / 1000
        members: Mapping[str, Any] = dict(zip(self.classes[1:], region_matrix(self.classes, self.described.regions)))
        volumes = [f'{name} {format_significant(np.isin(label, np.flatnonzero(inside)).sum() * millilitres, 4)} ml'
                   for name, inside in members.items()]
        return f'{path} → {output}   {"   ".join(volumes)}'
