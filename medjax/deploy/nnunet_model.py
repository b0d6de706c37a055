"""A model that nnU-Net version 2 trained, as a predictor with its weights."""

import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from medjax import atomic_files, build, restore
from medjax.core.task import Task
from medjax.data.io import channel_files, nnunet_dataset
from medjax.data.io.nnunet_dataset import Description
from medjax.data.transforms import nnunet_grid
from medjax.errors import InputError
from medjax.models.nnunet import Model
from medjax.tasks.segmentation.nnunet_predictor import NnunetPredictor, logit_windows
from medjax.weights import nnunet

READERS = {'SimpleITKIO': False, 'NibabelIO': False, 'NaturalImage2DIO': False, 'NibabelIOWithReorient': True}


def load(folder: pathlib.Path, folds: Sequence[str] = (), mirror: bool = True) -> restore.Trained:
    """The predictor of a trained nnU-Net; its `variables` are a list, those of each fold.

    Args:
      folder: of the model, such as Dataset001_NAME/nnUNetTrainer__nnUNetPlans__3d_fullres.
      folds: see `weights.nnunet.checkpoint_paths`.
      mirror: whether to average over mirrored images, along the axes that the checkpoint names.

    Raises:
      InputError: files that are missing, damaged or of different models, or a network that medjax has not.
    """
    if not folder.is_dir():
        raise InputError(f'{folder}: no such folder; expected {nnunet.EXPECTED}')
    plans = atomic_files.read_json(folder / 'plans.json', "nnU-Net's plans")
    described = nnunet_dataset.read(folder / nnunet_dataset.NAME)
    found = [nnunet.fold(path) for path in nnunet.checkpoint_paths(folder, folds)]
    name = found[0].configuration
    configured = nnunet.configuration(plans, name, str(folder / 'plans.json'))
    for fold in found:
        _check_same(fold, name, plans, configured, folder)
    predictor, module = _predictor(plans, configured, described, found[0].flips if mirror else (), folder)
    shapes = jax.eval_shape(lambda: module.init(jax.random.key(0), predictor.example()['image'], train=False))
    wanted = flatten_dict(shapes, sep='/')
    variables = [unflatten_dict(nnunet.convert(fold, wanted), sep='/') for fold in found]
    inputs = build.Inputs(channel_files.SUFFIXES, channel_files.files, channel_files.output_name)
    names = ', '.join(f'{fold.path.parent.name} after epoch {fold.epoch}' for fold in found)
    statistics = {'classes': list(described.code.classes), 'channels': len(described.channels)}
    return restore.Trained(predictor, variables, found[0].epoch, _task(module), statistics, inputs,
                           origin=f'weights of {names} of {folder}')


def _predictor(plans: Mapping[str, Any], configured: Mapping[str, Any], described: Description, flips: Sequence[int],
               folder: pathlib.Path) -> tuple[NnunetPredictor, Model]:
    """The predictor of a configuration, and its network."""
    where = str(folder / 'plans.json')
    reader = plans.get('image_reader_writer', 'SimpleITKIO')
    if reader not in READERS:
        raise InputError(f'{where}: image_reader_writer: {reader!r}; expected one of: {", ".join(READERS)}')
    outputs = len(described.regions) or len(described.code.classes)
    module = Model(classes=outputs, deep_supervision=False, **nnunet.network(configured, where))
    flat = 3 - len(configured['patch_size'])  # axes of a volume that the network has not

    def forward(variables: Any, image: jax.Array) -> jax.Array:
        return module.apply(variables, image, train=False)[0]

    inference = logit_windows(forward, (*(1,) * flat, *map(int, configured['patch_size'])),
                              tuple(axis + flat for axis in flips))
    preprocess = nnunet_grid.preprocess(plans, configured, len(described.channels), where)
    return NnunetPredictor(described, preprocess, inference, READERS[reader]), module


def _check_same(fold: nnunet.Fold, name: str, plans: Mapping[str, Any], configured: Mapping[str, Any],
                folder: pathlib.Path) -> None:
    """Checks that a fold was trained with the plans of its folder, and with the configuration of the first fold."""
    if fold.configuration != name:
        raise InputError(f'{fold.path}: of the configuration {fold.configuration!r}; expected {name!r}, as the first '
                         'fold')
    where = str(fold.path)
    theirs = nnunet.configuration(fold.plans, name, where)
    keys = ('patch_size', 'spacing', 'normalization_schemes', 'use_mask_for_norm')
    pairs = {key: (theirs.get(key), configured.get(key)) for key in keys}
    pairs |= {key: (fold.plans.get(key), plans.get(key))
              for key in ('transpose_forward', 'foreground_intensity_properties_per_channel')}
    pairs['architecture'] = (nnunet.network(theirs, where), nnunet.network(configured, str(folder / 'plans.json')))
    for key, (trained, given) in pairs.items():
        if not _equal(trained, given):
            raise InputError(f'{fold.path}: trained with other plans than {folder / "plans.json"}: {key}: '
                             f'{str(trained)[:80]}, there {str(given)[:80]}; expected the files of one model')


def _equal(a: Any, b: Any) -> bool:
    """Whether two values of JSON files are equal, lists and tuples alike, numbers to single precision."""
    if isinstance(a, Mapping) and isinstance(b, Mapping):
        return set(a) == set(b) and all(_equal(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple) and isinstance(b, list | tuple):
        return len(a) == len(b) and all(map(_equal, a, b))
    if isinstance(a, float) and isinstance(b, float):
        return bool(np.isclose(a, b, rtol=1e-6, equal_nan=True))
    return a == b


def _task(module: Model) -> Task:
    """The network as a task that only predicts."""
    def refuse(*_: Any) -> Any:
        raise InputError("a model of nnU-Net only predicts here; expected config.init with name='nnunet' to train it")

    def predict(variables: Any, batch: Mapping[str, Any]) -> dict[str, Any]:
        return {'logits': module.apply(variables, batch['image'], train=False)[0]}

    return Task(refuse, refuse, predict, refuse)
