"""Files in the layout of MedMNIST: labels and images that are none are one line each."""

import numpy as np
import pytest

from medjax.data.io import medmnist_files
from medjax.errors import InputError


def write(folder, labels, images=None):
    path = folder / f'{np.random.default_rng().integers(2**60)}.npz'
    np.savez(path, train_labels=labels, train_images=np.zeros((3, 4, 4), np.uint8) if images is None else images)
    return str(path)


def test_labels_as_whole_numbers(tmp_path):
    for labels in ([[0], [2], [1]], [0, 2, 1], [0.0, 2.0, 1.0], np.array([0, 2, 1], np.uint8)):
        found = medmnist_files.read_labels(write(tmp_path, np.array(labels)), 'train', 1, 2)
        assert found.dtype == np.int64 and found.tolist() == [[0], [2], [1]]


@pytest.mark.parametrize('labels, said', [
    ([[0.0], [np.nan], [1.0]], r'train_labels \(3, 1\): nan; expected \[3, 1\], 0 to 2, whole numbers'),
    ([[0.5], [0], [1]], r'train_labels \(3, 1\): 0.5; expected'), ([[0], [1], [3]], r'\(3, 1\), 0 to 3; expected'),
    ([[0], [-1], [1]], r'\(3, 1\), -1 to 1; expected'), ([[np.inf], [0], [1]], r'\(3, 1\), 0 to inf; expected'),
    ([['a'], ['b'], ['c']], r'train_labels \(3, 1\) of type <U1'), ([[0j], [1], [1]], 'of type complex128'),
    (np.zeros((0, 1)), r'train_labels \(0, 1\) of type float64; expected \[N, 1\]'), (np.zeros(0), r'labels \(0,\) of'),
    (1, r'train_labels \(\) of type int64'), ([[0, 1]] * 3, r'train_labels \(3, 2\) of type int64; expected \[3, 1\]')])
def test_labels_that_are_none(labels, said, tmp_path):
    with pytest.raises(InputError, match=said):
        medmnist_files.read_labels(write(tmp_path, np.array(labels)), 'train', 1, 2)


@pytest.mark.parametrize('images, said', [
    (np.zeros((2, 4, 4)), '2 train_images; expected as many as train_labels, 3'),
    (np.zeros((4, 4, 4)), '4 train_images; expected as many as train_labels, 3'),
    (np.zeros((3, 4)), r'train_images are float64, \(3, 4\); expected numbers'),
    (np.full((3, 4, 4), 'a'), 'train_images are <U1'), (np.zeros((3, 4, 4), complex), 'train_images are complex128'),
    (np.zeros((3, 0, 4)), r'train_images are float64, \(3, 0, 4\)')])
def test_images_that_are_none(images, said, tmp_path):
    with pytest.raises(InputError, match=said):
        medmnist_files.read_image(write(tmp_path, np.zeros((3, 1)), images), 'train', 0)
