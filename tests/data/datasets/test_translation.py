"""Two contrasts: what a spin echo gives, slabs without mirror images, pairs and draws of their own, own folders."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from medjax.data.datasets import translation
from medjax.data.datasets.translation import PAIR, Contrasts, dataset
from medjax.data.io.geometry import Image
from medjax.data.source import Case, Source
from medjax.errors import InputError

OPTIONS = dict(patch=(6, 8, 1))


def views(number, sides=PAIR):
    """A volume whose target is 3 - 2 times itself, in a cleared box; each voxel has a value of its own."""
    box = np.zeros((8, 10, 4), np.uint8)
    box[1:7, 1:9] = 1
    image = (number + np.arange(box.size, dtype=np.float32).reshape(box.shape) / box.size) * box
    both = Image(image, np.eye(4), f'{number}'), Image((3 - 2 * image) * box, np.eye(4), f'{number}t')
    return Contrasts(*(part if there else None for part, there in zip(both, sides)), Image(box, np.eye(4)))


def source(*given):
    """Cases as (split, what is there), and two that validate and test."""
    given = given or (('train', PAIR),) * 3
    cases = [*given, ('val', PAIR), ('test', PAIR)]
    return Source(tuple(Case(f'c{k}', f'p{k}', split, lambda k=k, sides=sides: views(k + 1, sides), target=sides,
                             how=str((k, sides))) for k, (split, sides) in enumerate(cases)), ('T1', 'T2'),
                  problem='translation')


def test_pairs_are_cut_from_one_place(tmp_path):
    data = dataset(source(), cache=str(tmp_path), **OPTIONS)
    assert data.counts == {'train': 3, 'val': 1, 'test': 1} and data.statistics['channels'] == [1, 1]
    np.testing.assert_allclose(data.limits['image']['low'], 0)
    for number in range(len(data)):
        item = data.item(number, np.random.default_rng(number))
        image, target = (translation.unscale_from_range(item[side], data.limits[side]) for side in translation.SIDES)
        np.testing.assert_allclose(target, np.where(image > 0, 3 - 2 * image, 0), atol=1e-4)
        assert item['image'].shape == (6, 8, 1) and item['image'].dtype == np.float32 and item['image'].max() <= 1.01


def test_without_pairs_each_contrast_is_drawn_by_itself(tmp_path):
    data = dataset(source(('train', (1, 0)), ('train', (0, 1)), ('train', (0, 1))), paired=False, cache=str(tmp_path),
                   **OPTIONS)
    # Of the first case there is an image, of the others a target: nothing they could share.
    drawn = [data.place(number % len(data), np.random.default_rng(number)) for number in range(40)]
    assert {place[0] for place in drawn} == {0} and {place[4] for place in drawn} == {0, 1}
    assert len({place[1:4] == place[5:] for place in drawn}) == 2
    assert data.place(0, np.random.default_rng(5)) == data.place(0, np.random.default_rng(5))
    assert any('no pair is used' in line for line in data.warnings)


@pytest.mark.parametrize('paired', [True, False])
def test_host_and_device_have_the_same_items(paired, tmp_path):
    data = dataset(source(), paired=paired, cache=str(tmp_path), **OPTIONS)
    resident = data.resident()
    arrays, pick = jax.tree.map(jnp.asarray, resident.load()), jax.jit(resident.pick)
    for number in (0, 5):
        want = data.item(number, np.random.default_rng(3))
        found = pick(arrays, jnp.array(resident.place(number, lambda: np.random.default_rng(3))))
        assert set(found) == set(want) - {'id'}
        for name, value in found.items():
            np.testing.assert_allclose(value, want[name], atol=1e-6)


def test_ranges_may_be_given(tmp_path):
    data = dataset(source(), ranges={'target': (-5, 3)}, cache=str(tmp_path), **OPTIONS)
    assert data.limits['target'] == {'low': [-5.0], 'high': [3.0]}
    scaled = translation.scale_to_range(np.array([[-5.0], [3.0]]), data.limits['target'])
    np.testing.assert_allclose(scaled.ravel(), [-1, 1])


@pytest.mark.parametrize('given, options, message', [
    ((('train', (1, 0)), ('train', PAIR)), {}, r'c0: no T2 image; expected a partner for every training case'),
    ((('train', (0, 1)), ('train', PAIR)), {}, r'c0: no T1 image; expected a partner'),
    ((('train', (1, 0)),), dict(paired=False), r'config\.data\.source: no T2 image in training'),
    ((), dict(ranges={'image': (3, 3)}), r'config\.data\.ranges\.image: \[3\.0\] to \[3\.0\]; expected a range'),
    ((), dict(ranges={'out': (0, 1)}), r'config\.data\.ranges\.out: not a contrast; expected some of: image, target'),
])
def test_invalid_input_is_refused(given, options, message, tmp_path):
    with pytest.raises(InputError, match=message):
        dataset(source(*given), cache=str(tmp_path), **OPTIONS, **options)


def test_other_sources_are_refused(tmp_path):
    with pytest.raises(InputError, match=r'config\.data: translation needs a source of two contrasts'):
        dataset(dataclasses.replace(source(), problem=''), cache=str(tmp_path), **OPTIONS)


def test_the_head_is_what_was_not_cleared_or_is_bright():
    box = np.zeros((12, 12, 3), np.float32)
    box[2:9, 3:10] = 1
    np.testing.assert_array_equal(translation.head_mask(Image(box * 7, np.eye(4))).array, box)
    rng, shown = np.random.default_rng(0), box.copy()
    shown[4:6, 5:7, 1], shown[0, 0] = 0.1, 1  # a hole in a plane, and a speck outside
    noisy = shown + 0.05 * rng.random(box.shape).astype(np.float32)
    np.testing.assert_array_equal(translation.head_mask(Image(noisy, np.eye(4))).array, box)
