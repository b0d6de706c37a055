"""Simulated detection images: balls fill their boxes, and folds."""

import numpy as np
import pytest

from medjax.data.datasets.detection import dataset
from medjax.data.simulated import detection
from medjax.data.splits import CrossValidation


@pytest.mark.parametrize('shape', [(48, 40), (24, 20, 16)])
def test_balls_fill_their_boxes(shape, tmp_path):
    """Inside of a box it is brighter than about it by what a ball adds, but for the corners."""
    found = detection.source(cases=(12, 4, 4), shape=shape)
    assert 'Simulated' in found.notice and found.problem == 'detection'
    data, sizes = dataset(found, size=shape, intensity=dict(name='unit'), cache=str(tmp_path)), [[], []]
    for number in data.numbers('train'):
        image, (boxes, labels) = data.images([number])[0, ..., 0] * 255, data.truth(number)
        for box, label in zip(boxes.astype(int), labels):
            low, high = np.split(box, 2)
            sizes[label].append((high - low).mean())
            inner, outer = (image[tuple(slice(a, b) for a, b in zip(np.maximum(low + out, 0), high - out))].mean()
                            for out in ((high - low) // 4, np.array([-2] * len(shape))))
            assert inner > outer + 10
    assert min(map(len, sizes)) > 3 and max(sizes[0]) < min(sizes[1])


def test_folds_reassign_the_validation_images():
    made = [detection.source(cases=(9, 3, 4), shape=(32, 32),
                             cross_validation=CrossValidation(fold=fold, folds=3)) for fold in range(3)]
    held = [{c.id for c in its.cases if c.split == 'val'} for its in made]
    assert [len(its) for its in held] == [4, 4, 4] and not held[0] & held[1]
