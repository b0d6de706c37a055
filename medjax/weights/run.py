"""What another run learned: its weights, to begin with, or what its network sees in images."""

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

AT_ONCE = 128  # images whose features are taken at once


def read(path: pathlib.Path, wanted: Mapping[str, Any], reinitialise: Collection[str]) -> dict[str, np.ndarray]:
    """Reads the weights that a run is judged by.

    Args:
      path: the run's folder.
      wanted: 'params/…' or another collection's path -> shape; what the run has besides is left there.
      reinitialise: parts of the network that are not wanted after all.

    Returns:
      An array for each path.

    Raises:
      InputError: the run lacks one, or has it in another shape.
    """
    try:
        have = flatten_dict(restore.restore(path).variables, sep='/')
    except InputError as error:
        raise InputError(f'config.init.path: {error}') from error
    for name, leaf in wanted.items():
        if name not in have or have[name].shape != leaf.shape:
            there = f'has shape {have[name].shape}' if name in have else 'is missing'
            raise InputError(f"config.init.path: {path}: {name} {there}; expected {leaf.shape}, or "
                             f"{name.split('/')[1]!r} in config.init.reinitialise, to begin it anew")
    return {name: np.asarray(have[name]) for name in wanted}


@dataclasses.dataclass(frozen=True)
class Features:
    """What the classifier of a finished run sees in images that files hold in 8 bits.

    Attributes:
      run: the run.
      name: what a report calls it.
    """

    run: restore.Trained
    name: str

    @property
    def classes(self) -> list[str]:
        """Those that it tells."""
        return self.run.predictor.statistics['classes']

    @functools.cached_property
    def _compiled(self) -> Callable[..., Any]:
        task = self.run.predictor.classifier.task
        return jax.jit(lambda variables, image: (task.features(variables, image)[1]['pooled'],
                                                 task.predict(variables, {'image': image})['probs']))

    def __call__(self, images: np.ndarray) -> dict[str, np.ndarray]:
        """Maps `[n, *S, C]` uint8 to 'features' `[n, F]`, what its logits are made of, and 'probs' `[n, K]`."""
        preprocess, known, parts = self.run.predictor.preprocess, self.run.predictor.statistics, []
        for start in range(0, len(images), AT_ONCE):
            some = [preprocess.network_input(_stored(image), known) for image in images[start:start + AT_ONCE]]
            whole = np.stack(some + some[-1:] * (AT_ONCE - len(some)))  # filled up, so that it is compiled once
            parts.append([np.asarray(x, np.float64)[:len(some)] for x in self._compiled(self.run.variables, whole)])
        features, probs = (np.concatenate(some) for some in zip(*parts))
        return {'features': features, 'probs': probs}


def _stored(image: np.ndarray) -> Image:
    """An array `[*S, C]` as a file's image has it: columns of a picture first, and one slice."""
    return Image(image if image.ndim == 4 else image.swapaxes(0, 1)[:, :, None], np.eye(4), 'an image')


def features(path: pathlib.Path) -> Features:
    """What the network of a finished classification run sees in images.

    Raises:
      InputError: another kind of run, or one that takes other than 8 bits.
    """
    try:
        run = restore.restore(path)
    except InputError as error:
        raise InputError(f'config.evaluate.features: {error}') from error
    if not hasattr(run.predictor, 'classifier') or not run.predictor.preprocess.fractions:
        raise InputError(f"config.evaluate.features: {path}: no classification of images in 8 bits; expected the "
                         "folder of a finished run with config.evaluate.name 'images', and intensities unit, fixed or "
                         'training')
    layout = jax.eval_shape(lambda: run.predictor.classifier.task.features(
        run.variables, run.predictor.example()['image'])[1])
    if 'pooled' not in layout:
        raise InputError(f"config.evaluate.features: {path}: its network has no features 'pooled'; expected a ResNet, "
                         'say')
    return Features(run, f'the classifier of the run {path.resolve().name}, step {run.step}')
