"""Pairs: simulated ones whose truth is known, files in any orientation, and what is refused."""

import dataclasses
import functools

import numpy as np
import pytest

from medjax.data.datasets import registration
from medjax.data.simulated import registration as simulated_registration
from medjax.errors import InputError

SMALL = dict(cases=(3, 1, 2), shape=(32, 40), spacing=5.0, template='synthetic', points=200)
@functools.cache
def simulated_pairs(**changes):
    return registration.dataset(simulated_registration.source(**{**SMALL, **changes}), size=(32, 40))


def test_an_item_equals_its_row():
    data = simulated_pairs()
    item = data.item(1, np.random.default_rng(0))
    resident = data.resident()
    kept = resident.pick(resident.load(), np.array([1]))
    assert item.pop('id') == 'train0001' and item.keys() == kept.keys()
    assert all((item[name] == kept[name]).all() for name in item)


def test_other_sources_and_sizes_are_refused():
    source = simulated_registration.source(**SMALL)
    for size, message in (((32, 40, 8), r'train0000: 1 slices; expected config\.data\.size of two numbers'),
                          ((32, 2), r'config\.data\.size: \(32, 2\); expected')):
        with pytest.raises(InputError, match=message):
            registration.dataset(source, size=size)
    with pytest.raises(InputError, match='registration needs a source of image pairs'):
        registration.dataset(dataclasses.replace(source, problem='binary', classes=('a', 'b')), size=(32, 40))


def test_classes_of_no_training_pair_are_reported():
    data = simulated_pairs()
    assert data.labelled and not data.warnings
    train = data.numbers('train')
    labels = data.rows.fixed_label.copy()
    labels[train] = np.where(labels[train] == 2, 0, labels[train])
    fewer = dataclasses.replace(data, rows=data.rows._replace(fixed_label=labels))
    name = data.source.classes[2]
    assert fewer.warnings == [f'{name}: in none of the 3 training cases; in other splits: val 1, test 2.']
