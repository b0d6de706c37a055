"""Weights of another run: of what it was trained on first, a larger set or another task."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np
from flax.traverse_util import flatten_dict

from medjax import trained
from medjax.errors import InputError


def read(path: pathlib.Path, wanted: Mapping[str, Any], anew: Collection[str]) -> dict[str, np.ndarray]:
    """Reads the weights that a run is judged by.

    Args:
      path: the run's folder.
      wanted: 'params/…' or another collection's path -> shape; what the run has besides is left there.
      anew: parts of the network that are not wanted after all.

    Returns:
      An array for each path.

    Raises:
      InputError: the run lacks one, or has it in another shape.
    """
    have = flatten_dict(trained.restore(path).variables, sep='/')
    for name, leaf in wanted.items():
        if name not in have or have[name].shape != leaf.shape:
            there = f'has shape {have[name].shape}' if name in have else 'is missing'
            raise InputError(f"config.init.path: {path}: {name} {there}; expected {leaf.shape}, or "
                             f"{name.split('/')[1]!r} in config.init.anew, to begin it anew")
    return {name: np.asarray(have[name]) for name in wanted}
