"""The weights of a finished run: as initial weights of another run, or to compute features of images."""

import dataclasses
import functools
import pathlib
from collections.abc import Callable, Collection, Mapping
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict

from medjax import restore
from medjax.data.io.geometry import Image
from medjax.errors import InputError

BATCH = 128  # number of images in a batch of the feature extractor


def read(path: pathlib.Path, wanted: Mapping[str, Any], reinitialise: Collection[str]) -> dict[str, np.ndarray]:
    """The weights of a finished run, of the checkpoint with which it is evaluated.

    Args:
      path: the run's folder.
      wanted: 'params/…' or another collection's path -> shape; further weights of the run are ignored.
      reinitialise: parts of the network that keep their new initial weights; not in `wanted`.

    Returns:
      An array for each path.

    Raises:
      InputError: the run does not have one of them, or has it in another shape.
    """
    try:
        have = flatten_dict(restore.restore(path).variables, sep='/')
    except InputError as error:
        raise InputError(f'config.init.path: {error}') from error
    for name, leaf in wanted.items():
        if name not in have or have[name].shape != leaf.shape:
            there = f'has shape {have[name].shape}' if name in have else 'is missing'
            raise InputError(f'config.init.path: {path}: {name} {there}; expected {leaf.shape}, or '
                             f'{name.split("/")[1]!r} in config.init.reinitialise, for new initial weights')
    return {name: np.asarray(have[name]) for name in wanted}


@dataclasses.dataclass(frozen=True)
class FeatureExtractor:
    """Features of 8-bit images by the classifier of a finished run.

    Attributes:
      run: the run.
      name: its name in a report.
    """

    run: restore.Trained
    name: str

    @property
    def classes(self) -> list[str]:
        """The classes of the classifier."""
        return self.run.predictor.statistics['classes']

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        task = self.run.predictor.classifier.task
        return jax.jit(lambda variables, image: (task.features(variables, image)[1]['pooled'],
                                                 task.predict(variables, {'image': image})['probs']))

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """The features and class probabilities of images.

        Args:
          images: `[n, *S, C]` uint8.

        Returns:
          'features' `[n, F]`, the inputs of the logits, and 'probs' `[n, K]`; float64.
        """
        preprocess, known, parts = self.run.predictor.preprocess, self.run.predictor.statistics, []
        for start in range(0, len(images), BATCH):
            inputs = [preprocess.network_input(_as_stored(image), known) for image in images[start:start + BATCH]]
            batch = np.stack(inputs + inputs[-1:] * (BATCH - len(inputs)))  # padded, so that it is compiled once
            outputs = self._compiled(self.run.variables, batch)
            parts.append([np.asarray(output, np.float64)[:len(inputs)] for output in outputs])
        features, probs = (np.concatenate(arrays) for arrays in zip(*parts))
        return {'features': features, 'probs': probs}


def _as_stored(image: np.ndarray) -> Image:
    """An array `[*S, C]` in the layout of an image file: 2D images have columns first, and a single slice."""
    return Image(image if image.ndim == 4 else image.swapaxes(0, 1)[:, :, None], np.eye(4), 'an image')


def feature_extractor(path: pathlib.Path) -> FeatureExtractor:
    """The feature extractor of a finished classification run.

    Args:
      path: the run's folder.

    Raises:
      InputError: the run is of another kind, does not take 8-bit images, or its network has no pooled features.
    """
    try:
        run = restore.restore(path)
    except InputError as error:
        raise InputError(f'config.evaluate.features: {error}') from error
    if not hasattr(run.predictor, 'classifier') or not run.predictor.preprocess.fractions:
        raise InputError(f'config.evaluate.features: {path}: not a classification of 8-bit images; expected the folder '
                         "of a finished run with config.evaluate.name 'classification', and config.data.intensity "
                         'unit, fixed or training')
    layout = jax.eval_shape(lambda: run.predictor.classifier.task.features(
        run.variables, run.predictor.example()['image'])[1])
    if 'pooled' not in layout:
        raise InputError(f"config.evaluate.features: {path}: its network has no features 'pooled'; expected a network "
                         'that has them, such as a ResNet')
    return FeatureExtractor(run, f'the classifier of the run {path.resolve().name}, step {run.step}')
