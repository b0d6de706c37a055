"""Weights of PyTorch's networks, for ours."""

import re
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from medjax.errors import InputError

LEAVES = {'scale': 'weight', 'bias': 'bias', 'mean': 'running_mean', 'var': 'running_var', 'kernel': 'weight'}


def resnet(state: Mapping[str, np.ndarray], variables: Mapping[str, Any]) -> dict[str, Any]:
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
