"""Weights of PyTorch networks with torchvision's names and layout.

PyTorch's own files contain code and can only be read by PyTorch. Convert them where PyTorch is installed:

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
    """The weights of a residual network.

    Args:
      path: a state dict as .npz; see the module.
      wanted: 'params/…' or 'batch_stats/…' -> shape.
      reinitialise: parts of the network that keep their new initial weights; the file's weights for them are ignored.

    Returns:
      An array for each path.

    Raises:
      InputError: the file cannot be read; see also `resnet_variables`.
    """
    try:
        with open(path, 'rb') as content, np.load(content, allow_pickle=False) as file:
            state = {name: file[name] for name in file.files}
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise InputError(f'config.init.path: {path}: {error}; expected a state dict as .npz, as numpy.savez writes '
                         '{name: value.numpy()}') from error
    kept = {name: value for name, value in state.items() if _part(name) not in reinitialise}
    try:
        return flatten_dict(resnet_variables(kept, unflatten_dict(dict(wanted), sep='/')), sep='/')
    except InputError as error:
        raise InputError(f'config.init.path: {path}: {error}; config.init.reinitialise lists parts that keep their new '
                         'initial weights') from error


def _part(name: str) -> str:
    """The part of the network to which a weight with torchvision's name belongs; '' for none."""
    module, *inner = name.split('.')
    block = re.fullmatch(r'layer(\d+)', module)
    if block:
        return f'stage{int(block[1]) - 1}_{inner[0]}'
    return {'fc': 'logits', 'conv1': 'stem', 'bn1': 'stem'}.get(module, '')


def resnet_variables(state: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> dict[str, Any]:
    """The variables of a residual network, from the state dict of the same network in torchvision.

    Args:
      state: the state dict: 'conv1.weight', 'bn1.running_mean', 'layer1.0.conv1.weight', 'layer2.0.downsample.0.weight'
        and so on. For another number of classes replace 'fc.weight' and 'fc.bias'.
      variables: those of `medjax.models.resnet.Model`, or their shapes, with batch norm, without `preactivation` and
        attention; 'params' and 'batch_stats'.

    Returns:
      Variables of the same structure, float32.

    Raises:
      InputError: a key of the state is missing, unknown or of another shape, or torchvision's network has no
        counterpart of a weight.
    """
    remaining = {key: value for key, value in state.items() if not key.endswith('.num_batches_tracked')}

    def weight(path: Any, leaf: Any) -> jax.Array:
        key = _torchvision_name([part.key for part in path[1:]])
        if key not in remaining:
            raise InputError(f'state: {key} is missing; expected an array for {jax.tree_util.keystr(path)}')
        value = np.asarray(remaining.pop(key), np.float32)
        if path[-1].key == 'kernel':  # [*K, in, out] here; PyTorch's is [out, in, *K]
            value = np.moveaxis(value, (1, 0), (-2, -1))
        if value.shape != leaf.shape:
            raise InputError(f'state.{key}: shape {value.shape}; expected {leaf.shape} (channels last)')
        return jnp.asarray(value)

    filled = jax.tree_util.tree_map_with_path(weight, dict(variables))
    if remaining:
        raise InputError(f'state.{min(remaining)}: not known; expected only weights of the network')
    return filled


def _torchvision_name(path: list[str]) -> str:
    """The name of a weight in torchvision, from its path in this network."""
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
