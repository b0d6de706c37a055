"""What is compiled before the service is ready: after it no prediction compiles anything."""

import contextlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.core.task import Task
from medjax.data.io import image_files
from medjax.data.io.geometry import Image
from medjax.serve.service import COMPILED
from medjax.tasks.detection.evaluator import predictor as detection
from medjax.tasks.segmentation.evaluator import predictor as segmentation

DETECTED = {'intensities': {'maximum': 255.0}, 'classes': ['cell'], 'channels': 1}
SEGMENTED = {'intensities': {}, 'classes': ['background', 'lesion'], 'channels': 1}


@contextlib.contextmanager
def compilations():
    """A list with an entry for each program that is compiled."""
    found = []

    def on_event(name, *_, **__):
        if name == COMPILED:
            found.append(name)
    jax.monitoring.register_event_duration_secs_listener(on_event)
    try:
        yield found
    finally:
        jax.monitoring.unregister_event_duration_listener(on_event)


def detect(variables, batch):
    """A box about the brightest half of each image."""
    count, dims = len(batch['image']), batch['image'].ndim - 2
    bright = batch['image'].reshape(count, -1).max(1, keepdims=True)
    return {'boxes': jnp.broadcast_to(jnp.arange(2.0 * dims), (count, 1, 2 * dims)), 'scores': bright / 255,
            'labels': jnp.zeros((count, 1), jnp.int32), 'valid': jnp.ones((count, 1))}


def images(count, size):
    return [Image(np.full((*size, 1)[:3], 30 * n + 9, np.uint8), np.eye(4), '') for n in range(count)]


def compiled_for(made, *given):
    """How many programs are compiled for a prediction."""
    with compilations() as found:
        detected = made.predict_together({}, [made._prepare(image) for image in given])
    assert len(detected) == len(given) and all(len(one.scores) for one in detected)
    return len(found)


@pytest.mark.parametrize('size, patch', [((6, 8), None), ((6, 8, 4), None), ((12, 16), (6, 8)),
                                         ((9, 12, 8), (6, 8, 4))])
def test_detection_compiles_every_size_of_a_batch_or_its_usual_image(tmp_path, size, patch):
    made = detection(task=Task(None, None, detect, None), statistics=DETECTED, read=image_files.read, folder=tmp_path,
                     data=dict(size=size, intensity={'name': 'unit'}, **({'patch': patch} if patch else {})))
    assert made.together == (1 if patch else 8)
    with compilations() as first:
        made.warm({})
    assert first
    for count in range(1, made.together + 1):
        assert compiled_for(made, *images(count, size)) == 0


@pytest.mark.parametrize('patch', [(8, 8, 1), (8, 8, 4)])
def test_segmentation_compiles_its_window_for_images_of_all_sizes(tmp_path, patch):
    def predict(variables, batch):
        return {'probs': jax.nn.softmax(jnp.concatenate([batch['image'], -batch['image']], -1))}
    made = segmentation(task=Task(None, None, predict, None), statistics=SEGMENTED, read=image_files.read,
                        encode=lambda numbers: numbers, batch=4,
                        data=dict(patch=patch, intensity={'name': 'zscore'}, spacing=None, crop=False))
    with compilations() as first:
        made.warm({})
    assert first
    with compilations() as later:
        for size in ((8, 8, 4), (17, 9, 5), (6, 5, 2), (30, 24, 9)):
            image = Image(np.random.default_rng(0).normal(size=size).astype(np.float32), np.eye(4), 'a.nii')
            path = tmp_path / 'a.nii'
            image_files.write(path, image.array, image.affine, '')
            assert made.findings({}, path).labels.shape == size
    assert not later
