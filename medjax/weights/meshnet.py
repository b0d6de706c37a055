"""Published weights of MeshNet, as brainchop's `model.safetensors` has them."""

import pathlib
from collections.abc import Collection, Mapping
from typing import Any

import numpy as np

from medjax.errors import InputError

LEAVES = {'kernel': 'weight', 'bias': 'bias'}  # of a norm there is none


def read(path: pathlib.Path, wanted: Mapping[str, Any], reinitialise: Collection[str]) -> dict[str, np.ndarray]:
    """The weights of `models.meshnet`.

    Args:
      path: a safetensors file with `model.N.weight` `[F, C, *K]` and `model.N.bias` `[F]` of float32; N counts the
        convolutions by twos.
      wanted: 'params/…' -> shape.
      reinitialise: parts of the network that keep their new initial weights; the file's weights for them are ignored.

    Returns:
      An array for each path.

    Raises:
      InputError: the file cannot be read, or does not fit the network.
    """
    state = _state(path)
    last = len([name for name in state if name.endswith('.weight')]) - 1
    out = {}
    for name, leaf in wanted.items():
        _, part, kind = name.split('/')
        number = last if part == 'logits' else int(part.removeprefix('layer'))
        there = f'model.{2 * number}.{LEAVES[kind]}'
        if there not in state:
            raise InputError(f'config.init.path: {path}: no {there}; expected it for {name}')
        value = np.moveaxis(state[there], (0, 1), (-1, -2)) if kind == 'kernel' else state[there]
        if value.shape != leaf.shape:
            raise InputError(f'config.init.path: {path}: {there} has shape {value.shape} as {name}; expected '
                             f'{leaf.shape}')
        out[name] = np.ascontiguousarray(value)
    layers = {name.split('/')[1] for name in wanted} | set(reinitialise)
    if len(layers) != last + 1:
        raise InputError(f'config.init.path: {path}: {last + 1} convolutions; expected {len(layers)}, as in '
                         'config.model')
    return out


def _state(path: pathlib.Path) -> dict[str, np.ndarray]:
    """The arrays of a safetensors file, a format without code."""
    try:
        import safetensors
        import safetensors.numpy
    except ImportError as error:
        raise InputError("safetensors is not installed; expected it: pip install 'medjax[pretrained]'") from error
    try:
        state = safetensors.numpy.load(path.read_bytes())
    except (OSError, ValueError, KeyError, TypeError, safetensors.SafetensorError) as error:
        raise InputError(f'{path}: {error}; expected weights in a safetensors file: damaged or cut short?') from error
    wrong = [name for name, value in state.items() if value.dtype != np.float32 or not np.isfinite(value).all()]
    if wrong:
        raise InputError(f'{path}: {wrong[0]}: {state[wrong[0]].dtype}, or values that are not finite; expected finite '
                         'float32')
    return state
