"""Published networks by name, for `medjax predict --pretrained=NAME`. Nothing is downloaded: files have to be there."""

import dataclasses
import hashlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax.traverse_util import flatten_dict, unflatten_dict

from medjax import build
from medjax.core.config import bind
from medjax.data.io import image_files
from medjax.data.source import data_root
from medjax.data.transforms.conform import SIZE, Conform
from medjax.errors import InputError
from medjax.ops.sliding_windows import SlidingWindowInference
from medjax.restore import Trained
from medjax.tasks.segmentation.mask_metrics import Postprocess
from medjax.tasks.segmentation.predictor import SegmentationPredictor
from medjax.weights import meshnet

SEGMENTATION = {'name': 'segmentation', 'loss': {'cross_entropy': 1.0}}
REPOSITORY = 'https://github.com/neuroneural/brainchop-models'


@dataclasses.dataclass(frozen=True)
class Published:
    """A published network.

    Attributes:
      title: what it does.
      path: of its weights within MEDJAX_DATA_DIR.
      sha256: of that file.
      source: where the file is from.
      licence: of the weights, in words.
      training: the data that it was trained with, in words.
      model: `config.model` of the network.
      classes: names, background first.
    """

    title: str
    path: str
    sha256: str
    source: str
    licence: str
    training: str
    model: Mapping[str, Any]
    classes: tuple[str, ...]


_BRAINCHOP: dict[str, Any] = dict(
    source=f'{REPOSITORY}, commit 3d81b598', licence='none stated in the repository: ask its authors before sharing',
    training='T1-weighted MR of adult brains, conformed to 256³ voxels of 1 mm, with labels by FreeSurfer')
NETWORKS = {
    'meshnet_gwm': Published(
        title='Grey and white matter in T1-weighted MR (MeshNet, 5598 weights)',
        path='brainchop/model5_gw_ae/model.safetensors',
        sha256='8b83b35b971305b9baeef9f927a5f0d4432c7beea60743f54e8d960031298ba3',
        model=dict(name='meshnet', variant='gwm', classes=3), classes=('background', 'white matter', 'grey matter'),
        **_BRAINCHOP),
    'meshnet_subcortical': Published(
        title='Tissues and subcortical structures in T1-weighted MR (MeshNet, 96 408 weights)',
        path='brainchop/model18cls/model.safetensors',
        sha256='0798b61d58626010708284cab719f2674c817c789acb84e8eec5265a46e8fbbc',
        model=dict(name='meshnet', variant='subcortical', classes=18),
        classes=('background', 'cerebral white matter', 'cerebral cortex', 'lateral ventricle',
                 'inferior lateral ventricle', 'cerebellum white matter', 'cerebellum cortex', 'thalamus', 'caudate',
                 'putamen', 'pallidum', '3rd ventricle', '4th ventricle', 'brain stem', 'hippocampus', 'amygdala',
                 'accumbens area', 'ventral diencephalon'),
        **_BRAINCHOP),
}


def restore(name: str, **options: Any) -> tuple[Trained, pathlib.Path]:
    """A published network with its predictor, and the folder of its weights.

    Args:
      name: of `NETWORKS`.
      **options: largest_component and fill_holes, as of the segmentation predictor.

    Raises:
      InputError: the name is unknown, the weights are not there, or they are others than those published.
    """
    if name not in NETWORKS:
        raise InputError(f'--pretrained={name}: not known; expected one of: {", ".join(NETWORKS)}')
    network = NETWORKS[name]
    path = _weights(name, network)
    module = build.network(network.model, 'float32')
    statistics = {'classes': list(network.classes), 'channels': 1}
    task = build.task_of(SEGMENTATION, module, statistics)
    shapes = flatten_dict(jax.eval_shape(lambda: module.init(jax.random.key(0), jnp.zeros((1, 4, 4, 4, 1)),
                                                             train=False)), sep='/')
    variables = unflatten_dict({key: jnp.asarray(value) for key, value in meshnet.read(path, shapes, ()).items()},
                               sep='/')
    inference = SlidingWindowInference(lambda variables, image: task.predict(variables, {'image': image})['probs'],
                                       window=(SIZE,) * 3, overlap=0.0)
    predictor = SegmentationPredictor(Conform(2, 98), statistics, image_files.read, _as_stored, inference,
                                      bind(Postprocess, options, '--'))
    origin = f'{name}: {network.title}; {network.source}; licence: {network.licence}'
    config = {'model': network.model, 'task': SEGMENTATION, 'evaluate': {'name': 'segmentation'}}
    return Trained(predictor, variables, 0, task, statistics, config=config, origin=origin), path.parent


def _as_stored(label: np.ndarray) -> np.ndarray:
    """Labels hold the numbers of the classes."""
    return label


def _weights(name: str, network: Published) -> pathlib.Path:
    """The file with the weights, after a check of its sha256."""
    path = data_root() / network.path
    if not path.is_file():
        raise InputError(f'--pretrained={name}: no weights at {path}; expected {path.name} there, of '
                         f'{path.parent.name} in {network.source}')
    found = hashlib.sha256(path.read_bytes()).hexdigest()
    if found != network.sha256:
        raise InputError(f'--pretrained={name}: {path}: sha256 {found}; expected {network.sha256}: another version, or '
                         'damaged?')
    return path
