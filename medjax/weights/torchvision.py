"""Weights of PyTorch's networks, in torchvision's layout and by its names.

PyTorch's own files are programs, and to read them takes PyTorch, wherever that is installed:

    import numpy, torch
    numpy.savez('resnet18.npz', **{name: value.numpy() for name, value in torch.load('resnet18.pth').items()})
"""

import pathlib
import re
import zipfile
from collections.abc import Collection, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from medjax.errors import InputError

LEAVES = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var', 'kernel': 'weight'}


def read(path: pathlib.Path, wanted: Mapping[str, Any], reinitialise: Collection[str]) -> dict[str, np.ndarray]:
    """Reads the weights of a residual network.

    Args:
      path: a state dict as .npz; see the module.
      wanted: 'params/…' or 'batch_stats/…' -> shape.
      reinitialise: parts of the network that are not wanted, whatever the file has for them.

    Returns:
      An array for each path.

    Raises:
      InputError: the file cannot be read, or see `resnet`.
    """
    try:
        with np.load(path, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f'config.init.path: {path}: {error}; expected a state dict as .npz, as numpy.savez writes '
                         '{name: value.numpy()}') from error
    kept = {name: value for name, value in state.items() if not _belongs(name, reinitialise)}
    try:
        return flatten_dict(resnet_variables(kept, unflatten_dict(dict(wanted), sep='/')), sep='/')
    except InputError as error:
        raise InputError(f'config.init.path: {path}: {error}; config.init.reinitialise names parts that begin anew') from error


def _belongs(name: str, parts: Collection[str]) -> bool:
    """Whether torchvision's weight is of one of our parts."""
    module, *inner = name.split('.')
    block = re.fullmatch(r'layer(\d+)', module)
    others = {'fc': 'logits', 'conv1': 'stem', 'bn1': 'stem'}
    return (f'stage{int(block[1]) - 1}_{inner[0]}' if block else others.get(module)) in parts


def resnet_variables(state: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> dict[str, Any]:
    """Fills a residual network with the weights of one as in torchvision.

    Args:
      state: the state dict: 'conv1.weight', 'bn1.running_mean', 'layer1.0.conv1.weight', 'layer2.0.downsample.0.weight'
        and so on. For another number of classes put 'fc.weight' and 'fc.bias' of your own into it.
      variables: those of `medjax.models.resnet.Model`, or their shapes, with batch norm, without `preactivation` and
        attention; 'params' and 'batch_stats'.

    Returns:
      Variables of the same structure, float32.

    Raises:
      InputError: state lacks a key, has one that is not known or another shape, or the network has a weight that
        torchvision's have not.
    """
    left = {key: value for key, value in state.items() if not key.endswith('.num_batches_tracked')}

    def weight(path: Any, leaf: Any) -> jax.Array:
        key = _key([part.key for part in path[1:]])
        if key not in left:
            raise InputError(f'state: {key} is missing; expected an array for {jax.tree_util.keystr(path)}')
        value = np.asarray(left.pop(key), np.float32)
        if path[-1].key == 'kernel':  # [*K, in, out] here; PyTorch's is [out, in, *K]
            value = np.moveaxis(value, (1, 0), (-2, -1))
        if value.shape != leaf.shape:
            raise InputError(f'state.{key}: shape {value.shape}; expected {leaf.shape} (channels last)')
        return jnp.asarray(value)

    filled = jax.tree_util.tree_map_with_path(weight, dict(variables))
    if left:
        raise InputError(f'state.{min(left)}: not known; expected only what the network has')
    return filled


def _key(path: list[str]) -> str:
    """The name that torchvision has for a weight, from ours."""
    *parts, last = path
    where = '/'.join(parts)
    for pattern, name in (('logits', 'fc'), ('stem/conv', 'conv1'), ('stem/norm', 'bn1')):
        if where == pattern:
            return f'{name}.{LEAVES[last]}'
    found = re.fullmatch(r'stage(\d+)_(\d+)/(conv(\d+)|skip)/(conv|norm)', where)
    if not found:
        raise InputError(f'config.model: {where} has no counterpart in torchvision; expected a ResNet without it')
    stage, block, part, number, kind = found.groups()
    if part == 'skip':
        name = f'downsample.{0 if kind == "conv" else 1}'
    else:
        name = f'{"conv" if kind == "conv" else "bn"}{int(number) + 1}'
    return f'layer{int(stage) + 1}.{block}.{name}.{LEAVES[last]}'
