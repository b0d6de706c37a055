"""Predictions for new images are written with the values of the training labels."""

import numpy as np
import pytest
from PIL import Image as Picture

from medjax import build
from medjax.data.io import image_files
from medjax.data.transforms.volumes import volume_preprocess
from medjax.tasks.segmentation.mask_metrics import Postprocess
from medjax.tasks.segmentation.predictor import SegmentationPredictor

GREY = np.random.default_rng(0).integers(0, 256, (12, 16)).astype(np.uint8)


class Threshold:
    """Segments what is brighter than 128."""

    window = (8, 8, 1)

    def __call__(self, variables, image, background):
        return (image[..., 0] > 128).astype(np.uint8), None


@pytest.mark.parametrize('options, stored', [
    ({}, (0, 1)), (dict(label_values=(0, 255)), (0, 255)),
    (dict(colours=dict(background=(0, 0, 0), organ=(0, 255, 0))), ((0, 0, 0), (0, 255, 0)))])
def test_a_label_has_the_values_of_the_training_labels(tmp_path, options, stored):
    Picture.fromarray(GREY).save(tmp_path / 'new.png')
    section = dict(source=dict(name='segmentation_folder', classes=('background', 'organ'), **options))
    predict = SegmentationPredictor(
        volume_preprocess(patch=(8, 8, 1), crop=False, intensity=dict(name='none')),
        dict(channels=1, intensities={}, classes=['background', 'organ']), image_files.read,
        build.label_encoder(section), Threshold(), Postprocess(False, False))
    line = predict(None, tmp_path / 'new.png', tmp_path / 'out')
    with Picture.open(tmp_path / 'out' / 'new.png') as file:
        np.testing.assert_array_equal(np.asarray(file), np.array(stored, np.uint8)[(GREY > 128).astype(int)])
    assert f'organ {(GREY > 128).sum() / 1000:.4g}' in line  # the volume is that of the class, whatever its value
