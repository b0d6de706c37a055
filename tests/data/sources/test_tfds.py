"""A set of TensorFlow Datasets, written and read without TensorFlow."""

import io

import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image as Picture

from medjax.data.datasets.images import dataset
from medjax.data.sources.tfds import source
from medjax.data.splits import Resplitting
from medjax.errors import InputError

COUNTS = {'train': 12, 'test': 4}


class Toy(tfds.core.GeneratorBasedBuilder):
    """Pictures whose grey value is 10 × their number + their class."""

    VERSION = tfds.core.Version('1.0.0')

    def _info(self):
        return tfds.core.DatasetInfo(builder=self, features=tfds.features.FeaturesDict({
            'image': tfds.features.Image(shape=(4, 6, 1)), 'label': tfds.features.ClassLabel(names=['no', 'yes'])}))

    def _split_generators(self, dl_manager):
        return {split: self._generate_examples(count) for split, count in COUNTS.items()}

    def _generate_examples(self, count):
        for number in range(count):
            image = np.zeros((4, 6, 1), np.uint8)
            image[0, :] = 10 * number + number % 2
            file = io.BytesIO()
            Picture.fromarray(image[..., 0]).save(file, 'png')
            file.seek(0)
            yield number, {'image': file, 'label': number % 2}


@pytest.fixture(scope='module')
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp('tfds')
    Toy(data_dir=folder, file_format='array_record').download_and_prepare()
    return folder


def test_a_data_set_by_name(folder, tmp_path):
    found = source(dataset='toy', dir=str(folder), splitting=Resplitting(val=0.25))
    assert found.classes == ('no', 'yes') and found.problem == 'binary'
    data = dataset(found, size=(4, 6), cache=str(tmp_path))
    assert data.counts == {'train': 9, 'val': 3, 'test': 4} or data.counts == {'val': 3, 'train': 9, 'test': 4}
    np.testing.assert_array_equal(data.arrays[:, 0, 0, 0] % 10, data.targets)  # each picture came with its own class
    assert (data.arrays[:, 1:] == 0).all()


def test_folds_are_of_training_cases(folder):
    held = [{c.id for c in source(dataset='toy', dir=str(folder), splitting=Resplitting(val=0.1, fold=k, folds=3)).cases
             if c.split == 'val'} for k in range(3)]
    assert sum(map(len, held)) == len(set().union(*held)) == 12


@pytest.mark.parametrize('options, message', [
    (dict(dataset='no_such_set'), "'no_such_set' cannot be read by tfds"),
    (dict(dataset='toy', label='grade'), "has the features image, label; expected .* and a class 'grade'")])
def test_missing_data_is_refused(options, message, folder):
    with pytest.raises(InputError, match=message):
        source(dir=str(folder), **options)
