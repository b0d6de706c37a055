"""Weights of nnU-Net version 2: folders of trained models, as nnU-Net wrote them or as `medjax.convert` did.

    NAME__nnUNetPlans__3d_fullres/
      plans.json  dataset.json
      fold_0/checkpoint_final.pth      or checkpoint_final.npz, after `python -m medjax.convert`
"""

import dataclasses
import json
import pathlib
import re
import zipfile
from collections.abc import Collection, Mapping, Sequence
from typing import Any

import numpy as np

from medjax import atomic_files
from medjax.errors import InputError, few
from medjax.weights import torch_checkpoint

CHECKPOINTS = ('checkpoint_final.pth', 'checkpoint_final.npz')
EXPECTED = "nnU-Net's folder of a trained model, with plans.json, dataset.json and fold_0/checkpoint_final.pth"
NETWORKS = {'PlainConvUNet': False, 'ResidualEncoderUNet': True}  # whether the encoder has residual blocks
CONVERTED = 'medjax'  # the array of a converted file that holds its description as JSON text


@dataclasses.dataclass(frozen=True)
class Fold:
    """The weights of a fold.

    Attributes:
      path: of the file.
      arrays: by PyTorch's names, without duplicates.
      configuration: such as '3d_fullres'.
      flips: axes of the patch that test-time mirroring flips.
      epoch: after which the weights were saved.
      plans: those that the network was trained with.
    """

    path: pathlib.Path
    arrays: Mapping[str, np.ndarray]
    configuration: str
    flips: tuple[int, ...]
    epoch: int
    plans: Mapping[str, Any]


def checkpoint_paths(folder: pathlib.Path, folds: Sequence[str] = ()) -> list[pathlib.Path]:
    """The final checkpoints of the folds of a folder, in order.

    Args:
      folder: of a trained model.
      folds: such as '0' or 'all'; by default those with a final checkpoint, without 'all' where there are others.

    Raises:
      InputError: there are none, or a fold has none.
    """
    there = {path.parent.name.removeprefix('fold_'): path for name in CHECKPOINTS
             for path in sorted(folder.glob(f'fold_*/{name}'))}
    missing = [fold for fold in folds if fold not in there]
    if missing or not there:
        what = f'no fold_{missing[0]}' if missing else 'no folder of a fold'
        raise InputError(f'{folder}: {what} with {" or ".join(CHECKPOINTS)} there; expected {EXPECTED}')
    chosen = list(folds) or sorted(fold for fold in there if fold != 'all') or ['all']
    return [there[fold] for fold in chosen]


def fold(path: pathlib.Path) -> Fold:
    """The weights of a fold, from a checkpoint of nnU-Net or a converted one.

    Raises:
      InputError: another kind of file, or a damaged one; see `torch_checkpoint`.
    """
    if path.suffix == '.npz':
        return _converted(path)
    checkpoint = torch_checkpoint.load(path)
    content = checkpoint.content
    try:
        weights, given = dict(content['network_weights']), content['init_args']
        described = {'configuration': given['configuration'], 'plans': given['plans'],
                     'epoch': content['current_epoch'],
                     'flips': list(content.get('inference_allowed_mirroring_axes') or ())}
    except (TypeError, KeyError, ValueError, AttributeError) as error:
        raise InputError(f'{path}: {error} is missing; expected a checkpoint of nnU-Net version 2, with '
                         'network_weights, init_args and current_epoch') from error
    return _fold(path, checkpoint.arrays(_without_duplicates(weights)), described)


def _without_duplicates(weights: Mapping[str, Any]) -> dict[str, Any]:
    """Weights by names that have each once: nnU-Net's modules also register them under other names."""
    plain = {re.sub(r'^(module\.|_orig_mod\.)+', '', str(name)): value for name, value in weights.items()}
    return {name: value for name, value in plain.items()
            if '.all_modules.' not in name and not name.startswith('decoder.encoder.')}


def _converted(path: pathlib.Path) -> Fold:
    try:
        with open(path, 'rb') as content, np.load(content, allow_pickle=False) as file:
            arrays = {name: file[name] for name in file.files}
        described = json.loads(str(arrays.pop(CONVERTED)))
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        raise InputError(f'{path}: {error}; expected a file that python -m medjax.convert wrote') from error
    return _fold(path, arrays, described)


def _fold(path: pathlib.Path, arrays: Mapping[str, np.ndarray], described: Mapping[str, Any]) -> Fold:
    return Fold(path, {name: np.asarray(value, np.float32) for name, value in arrays.items()},
                str(described['configuration']), tuple(described['flips']), int(described['epoch']), described['plans'])


def write(path: pathlib.Path, of: Fold) -> None:
    """Writes the weights of a fold as .npz, which is read without a pickle."""
    described = {'configuration': of.configuration, 'flips': list(of.flips), 'epoch': of.epoch, 'plans': of.plans}
    atomic_files.write_arrays(path, **of.arrays, **{CONVERTED: np.array(json.dumps(described))})


def configuration(plans: Mapping[str, Any], name: str, where: str) -> dict[str, Any]:
    """A configuration of a plans file, with what it inherits, and its network in the terms of version 2.2 and later.

    Raises:
      InputError: it does not exist, is a cascade, or has a network that medjax has not.
    """
    known = plans.get('configurations') or {}
    if name not in known:
        raise InputError(f'{where}: configurations: no {name!r}; expected one of: {", ".join(known)}')
    out, parent, seen = dict(known[name]), known[name].get('inherits_from'), {name}
    while parent:
        if parent in seen or parent not in known:
            raise InputError(f'{where}: {name}: inherits_from: {parent!r}; expected one of: {", ".join(known)}')
        seen.add(parent)
        out, parent = {**known[parent], **out}, known[parent].get('inherits_from')
    if out.get('previous_stage'):
        raise InputError(f'{where}: {name}: the second stage of a cascade, after {out["previous_stage"]}; expected a '
                         'configuration of one stage, such as 3d_fullres')
    return out


def network(configured: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The fields of `models.nnunet.Model` that a configuration describes, but for `classes`.

    Raises:
      InputError: another network, norm, activation or dropout, which medjax' network has not.
    """
    architecture = configured.get('architecture') or _old_architecture(configured, where)
    name = str(architecture.get('network_class_name', '')).split('.')[-1]
    if name not in NETWORKS:
        raise InputError(f'{where}: network_class_name: {name!r}; expected one of: {", ".join(NETWORKS)}')
    given = architecture['arch_kwargs']
    levels = int(given['n_stages'])
    for key, allowed in (('norm_op', ('InstanceNorm2d', 'InstanceNorm3d')), ('nonlin', ('LeakyReLU',)),
                         ('dropout_op', ('None',))):
        if str(given.get(key)).split('.')[-1] not in allowed:
            raise InputError(f'{where}: {key}: {given.get(key)!r}; expected {" or ".join(allowed)}')
    for key, allowed in (('norm_op_kwargs', {'eps': 1e-5, 'affine': True}), ('nonlin_kwargs', {'inplace': True})):
        if (given.get(key) or allowed) != allowed:
            raise InputError(f'{where}: {key}: {given[key]}; expected {allowed}')
    if given.get('nonlin_first'):
        raise InputError(f'{where}: nonlin_first: True; expected a norm before the activation')
    blocks = 'n_blocks_per_stage' if NETWORKS[name] else 'n_conv_per_stage'
    if NETWORKS[name] and (given.get('stem_channels') not in (None, given['features_per_stage'][0])
                           or given.get('bottleneck_channels') or 'Bottleneck' in str(given.get('block', ''))):
        raise InputError(f'{where}: arch_kwargs: a stem or blocks of another kind; expected those that nnU-Net plans')

    def each(value: Any, count: int) -> tuple[int, ...]:
        return tuple(map(int, value)) if isinstance(value, Sequence) else (int(value),) * count

    kernels, strides = ([each(one, len(configured['patch_size'])) for one in given[key]]
                        for key in ('kernel_sizes', 'strides'))
    return {'dims': len(configured['patch_size']), 'features': each(given['features_per_stage'], levels),
            'kernels': tuple(kernels), 'strides': tuple(strides), 'convs': each(given[blocks], levels),
            'decoder_convs': each(given['n_conv_per_stage_decoder'], levels - 1), 'residual': NETWORKS[name]}


def _old_architecture(configured: Mapping[str, Any], where: str) -> dict[str, Any]:
    """The network of a plans file of nnU-Net 2.0 or 2.1, in the terms of later ones."""
    if 'UNet_class_name' not in configured:
        raise InputError(f'{where}: architecture is missing; expected a plans.json of nnU-Net version 2')
    name, levels = configured['UNet_class_name'], len(configured['n_conv_per_stage_encoder'])
    blocks = 'n_blocks_per_stage' if name == 'ResidualEncoderUNet' else 'n_conv_per_stage'
    features = [min(configured['UNet_base_num_features'] * 2**level, configured['unet_max_num_features'])
                for level in range(levels)]
    return {'network_class_name': name, 'arch_kwargs': {
        'n_stages': levels, 'features_per_stage': features, 'kernel_sizes': configured['conv_kernel_sizes'],
        'strides': configured['pool_op_kernel_sizes'], blocks: configured['n_conv_per_stage_encoder'],
        'n_conv_per_stage_decoder': configured['n_conv_per_stage_decoder'],
        'norm_op': 'InstanceNorm3d', 'nonlin': 'LeakyReLU', 'dropout_op': None}}


def read(path: pathlib.Path, wanted: Mapping[str, Any], reinitialise: Collection[str]) -> dict[str, np.ndarray]:
    """The weights of a trained nnU-Net, for a network `models.nnunet` with the same levels.

    Kernels are turned from nnU-Net's order of axes, z, y, x and the plans' transposition, to x, y, z, in which medjax
    trains. They are not mirrored where files are stored in other directions than RAS+.

    Args:
      path: the folder of the model, of which the first fold is taken; or a checkpoint.
      wanted: 'params/…' -> shape.
      reinitialise: parts of the network that keep their new initial weights; the file's weights for them are ignored.

    Returns:
      An array for each path.

    Raises:
      InputError: the file cannot be read, or has not these weights.
    """
    try:
        file = path if path.suffix in ('.pth', '.npz') else checkpoint_paths(path)[0]
        of = fold(file)
        axes = [2 - axis for axis in of.plans.get('transpose_forward', (0, 1, 2))]
        turned = {name: _turned(array, axes) for name, array in of.arrays.items()}
        return convert(dataclasses.replace(of, arrays=turned), wanted, reinitialise)
    except InputError as error:
        raise InputError(f'config.init.path: {error}') from error


def _turned(array: np.ndarray, axes: Sequence[int]) -> np.ndarray:
    """A kernel of PyTorch, `[F, C, *K]`, with its spatial axes in the order x, y, z; other arrays as they are."""
    dims = array.ndim - 2
    if dims < 2:
        return array
    order = np.argsort(axes[len(axes) - dims:])  # a 2D network has the last axes of the plans
    return np.transpose(array, (0, 1, *(2 + order)))


def convert(of: Fold, wanted: Mapping[str, Any], reinitialise: Collection[str] = ()) -> dict[str, np.ndarray]:
    """The weights of a fold by the paths of `models.nnunet.Model`.

    Args:
      of: the fold.
      wanted: 'params/…' -> shape.
      reinitialise: see `read`.

    Raises:
      InputError: a weight is missing, of another shape, or has no counterpart.
    """
    have, unknown = _renamed(of.arrays, sum(name.endswith('_up/kernel') for name in wanted))
    if unknown:
        raise InputError(f'{of.path}: {few(unknown)}: not known; expected weights of PlainConvUNet or '
                         'ResidualEncoderUNet')
    for name, leaf in wanted.items():
        if name not in have or have[name].shape != leaf.shape:
            there = f'has shape {have[name].shape}' if name in have else 'is missing'
            raise InputError(f'{of.path}: {name} {there}; expected {leaf.shape}, or {name.split("/")[1]!r} in '
                             'config.init.reinitialise, for new initial weights')
    extra = sorted({name.split('/')[1] for name in set(have) - set(wanted)} - set(reinitialise))
    extra = [name for name in extra if not name.startswith('logits')]  # of deep supervision, which is optional
    if extra:
        raise InputError(f'{of.path}: weights of {few(extra)}, which the network has not; expected config.model as '
                         'in its plans.json')
    return {name: have[name] for name in wanted}


def _renamed(arrays: Mapping[str, np.ndarray], levels: int) -> tuple[dict[str, np.ndarray], list[str]]:
    """Arrays by the paths of this network, and the names without a counterpart; `levels` are the decoder's."""
    out, unknown = {}, []
    for name, value in arrays.items():
        place = _place(name, levels)
        if place is None:
            unknown.append(name)
            continue
        if place == '':
            continue
        if value.ndim > 1:  # [*K, in, out] here; PyTorch has [out, in, *K], transposed convolutions [in, out, *K]
            order = (0, 1) if '_up/' in place else (1, 0)
            value = np.moveaxis(value, order, (-2, -1))
        out[f'params/{place}'] = value
    return out, unknown


def _place(name: str, levels: int) -> str | None:
    """The path of a weight in this network: '' for a bias that a norm cancels, None where there is no counterpart."""
    leaf = {'conv.weight': 'conv/kernel', 'norm.weight': 'norm/scale', 'norm.bias': 'norm/bias', 'conv.bias': ''}
    block = r'encoder\.stages\.(\d+)\.blocks\.(\d+)\.'
    patterns = (
        (r'encoder\.stages\.(\d+)\.0\.convs\.(\d+)\.(conv|norm)\.(weight|bias)', lambda s, i: f'enc{s}_{i}'),
        (r'encoder\.stem\.convs\.(0)\.(conv|norm)\.(weight|bias)', lambda _: 'stem'),
        (block + r'conv1\.(conv|norm)\.(weight|bias)', lambda s, i: f'enc{s}_{i}/first'),
        (block + r'conv2\.(conv|norm)\.(weight|bias)', lambda s, i: f'enc{s}_{i}/second'),
        (block + r'skip\.\d\.(conv|norm)\.(weight|bias)', lambda s, i: f'enc{s}_{i}/skip'),
        (r'decoder\.stages\.(\d+)\.convs\.(\d+)\.(conv|norm)\.(weight|bias)',
         lambda s, i: f'dec{levels - 1 - int(s)}_{i}'))
    for pattern, part in patterns:
        found = re.fullmatch(pattern, name)
        if found:
            *numbers, module, kind = found.groups()
            inner = leaf[f'{module}.{kind}']
            return f'{part(*numbers)}/{inner}' if inner else ''
    found = re.fullmatch(r'decoder\.(transpconvs|seg_layers)\.(\d+)\.(weight|bias)', name)
    if not found:
        return None
    level, inner = levels - 1 - int(found[2]), 'kernel' if found[3] == 'weight' else 'bias'
    return f'dec{level}_up/{inner}' if found[1] == 'transpconvs' else f'logits{level}/{inner}'
