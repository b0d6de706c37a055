"""Additional synthetic training images: their labels, their notice, and files that are refused."""

import numpy as np
import pytest

from medjax.data.datasets.extra_images import with_extra_images
from medjax.data.datasets.images import dataset
from medjax.data.sources import medmnist
from medjax.errors import InputError


def write(path, counts=(20, 6, 8)):
    rng, arrays = np.random.default_rng(0), {}
    for split, count in zip(('train', 'val', 'test'), counts):
        arrays[f'{split}_images'] = rng.integers(0, 256, (count, 28, 28), np.uint8)
        arrays[f'{split}_labels'] = rng.integers(0, 2, (count, 1))
    np.savez(path, **arrays)


def synthetic(path, classes=('normal', 'pneumonia'), labels=(0, 1, 1), shape=(28, 28), kind=np.uint8, **more):
    rng = np.random.default_rng(3)
    arrays = {'train_images': rng.integers(0, 256, (len(labels), *shape)).astype(kind),
              'train_labels': np.array(labels, np.uint8)[:, None], 'classes': np.array(classes, str), **more}
    np.savez(path, **arrays)
    return arrays


def test_synthetic_images_are_added_to_the_training_split_only(tmp_path):
    write(tmp_path / 'pneumoniamnist.npz')
    made = synthetic(tmp_path / 'made.npz', ('pneumonia', 'normal'))  # labels by names, in whatever order
    real = medmnist.source(dataset='pneumoniamnist', dir=str(tmp_path))
    data = dataset(real, size=(28, 28), cache=str(tmp_path / 'cache'), label_fraction=0.5,
                   extra_npz=str(tmp_path / 'made.npz'))
    assert data.counts == {'train': 10 + 3, 'val': 6, 'test': 8}
    last = data.numbers('train')[-3:]
    assert data.targets[last].tolist() == [1, 0, 0]
    np.testing.assert_array_equal(data.arrays[last][..., 0], made['train_images'])
    assert [data.source.cases[k].patient for k in last] == [f'synthetic{k:06d}' for k in range(3)]
    assert '3 synthetic images of a trained generator (made.npz) beside 10 real ones' in data.notice
    assert len({data.fingerprint, dataset(real, size=(28, 28), cache=str(tmp_path / 'cache')).fingerprint}) == 2


@pytest.mark.parametrize('options, message', [
    (dict(classes=('normal', 'cat')), r'classes normal, cat; expected some of: normal, pneumonia'),
    (dict(labels=(0, 2)), r'expected bytes, and for each image a label from 0 to 1'),
    (dict(labels=()), r'train_images \(0, 28, 28\) uint8'),
    (dict(kind=np.float32), r'float32.*expected bytes'),
    (dict(train_labels=np.zeros(3, np.uint8)), r'train_labels \(3,\) uint8; expected bytes'),
    (dict(train_labels=np.zeros((3, 1))), r'train_labels \(3, 1\) float64; expected bytes'),
])
def test_invalid_files_of_synthetic_images_are_refused(options, message, tmp_path):
    write(tmp_path / 'pneumoniamnist.npz')
    real = medmnist.source(dataset='pneumoniamnist', dir=str(tmp_path))
    synthetic(tmp_path / 'made.npz', **options)
    with pytest.raises(InputError, match=message):
        with_extra_images(real, tmp_path / 'made.npz')
    with pytest.raises(InputError, match=r'config\.data\.extra_npz: .*nothing\.npz: no such file'):
        with_extra_images(real, tmp_path / 'nothing.npz')
    with pytest.raises(InputError, match=r'config\.data\.extra_npz: .*train_images, train_labels and classes'):
        with_extra_images(real, tmp_path / 'pneumoniamnist.npz')


def test_a_rewritten_file_of_synthetic_images_is_read_again(tmp_path):
    write(tmp_path / 'pneumoniamnist.npz')
    real = medmnist.source(dataset='pneumoniamnist', dir=str(tmp_path))
    for image in (np.zeros((3, 28, 28), np.uint8), np.full((3, 28, 28), 9, np.uint8)):
        synthetic(tmp_path / 'made.npz', train_images=image)
        found, _ = with_extra_images(real, tmp_path / 'made.npz').cases[-1].read()
        assert (found.array == image[0, 0, 0]).all()
